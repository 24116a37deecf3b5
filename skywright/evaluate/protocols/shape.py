"""What every protocol is: a way from a text to windows, and from losses to one number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from skywright.evaluate.backends import Backend


class Window(NamedTuple):
    """What a model reads at once, and what of it counts.

    ids: the window's tokens; first_scored: place in it of the first token that is scored, as all
    behind it are; at: place of that token among all the tokens of the text.
    """

    ids: np.ndarray
    first_scored: int
    at: int


class Ratio(NamedTuple):
    """A number as sum(numerators) / sum(denominators), one of each a document, float64."""

    numerators: np.ndarray
    denominators: np.ndarray


@dataclass(frozen=True)
class ModelTerms:
    """What a protocol has to know of a model; see `Backend` for the words."""

    context_tokens: int
    start_token_id: int
    frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    @classmethod
    def of(cls, backend: Backend) -> ModelTerms:
        """The terms of a back-end."""
        return cls(backend.context_tokens, backend.start_token_id, backend.frame)


class ScoringProtocol(Protocol):
    """One convention for the loss of documents, as a configuration object.

    unit: of the headline; follows_frame: tokens that the tokenizer puts around a text stay there
    and count as its tokens; joins_documents: the tokens of all documents are one text.
    """

    unit: ClassVar[str]
    follows_frame: ClassVar[bool]
    joins_documents: ClassVar[bool]

    @property
    def name(self) -> str: ...

    def cut(self, text: str) -> str:
        """The part of a document that is scored; never empty if the document is not."""
        ...

    def windows(self, ids: np.ndarray, terms: ModelTerms) -> list[Window]:
        """Windows over the tokens of a text, int (tokens,); no token is scored twice.

        Raises `UserError` if the model cannot read windows of the size that the protocol asks.
        """
        ...

    def ratio(self, table: pa.Table) -> Ratio:
        """The number that the protocol reports of a domain; columns as `store.SCORES`."""
        ...

    def model_dump(self) -> dict[str, Any]: ...


def bits_over(table: pa.Table, sizes: str) -> Ratio:
    """Losses in bits over a column of sizes."""
    bits, over = (table[name].to_numpy().astype(np.float64) for name in ("nll_nats", sizes))
    return Ratio(bits / math.log(2), over)
