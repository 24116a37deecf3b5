"""One document with several models' losses, character by character, as its page shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skywright.evaluate.alignment import losses_by_byte
from skywright.evaluate.compare.documents import DocumentLine
from skywright.evaluate.compare.scores import Scores
from skywright.evaluate.protocols import ScoringProtocol
from skywright.sets import EvaluationDocument


def character_bytes(text: str) -> np.ndarray:
    """UTF-8 bytes of every code point, int64 (characters,)."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    return 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)


def losses_by_character(text: str, losses: np.ndarray, byte_ends: np.ndarray) -> np.ndarray:
    """Losses of a text's tokens laid on its code points: float64 (characters,), same sum.

    A code point's loss is that of its bytes (`alignment.losses_by_byte`), so a token that holds
    a part of a character counts in that character. Raises ValueError if the tokens do not end
    where the text does.
    """
    sizes = character_bytes(text)
    if int(sizes.sum()) != int(byte_ends[-1]):
        raise ValueError(f"a text of {sizes.sum()} bytes, but tokens end at {byte_ends[-1]}")
    return np.add.reduceat(losses_by_byte(losses, byte_ends), np.cumsum(sizes) - sizes)


@dataclass(frozen=True, eq=False)
class TokenLosses:
    """One model's tokens of a document.

    byte_ends, nats (tokens,): as `store.TOKENS` has them, a loss NaN where none is scored;
    by_character (characters,): nats of every code point.
    """

    byte_ends: np.ndarray
    nats: np.ndarray
    by_character: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """`{"widths", "nats", "characters"}`: bytes of each token, and losses to four digits."""
        return {
            "widths": np.diff(self.byte_ends, prepend=0).tolist(),
            "nats": [None if np.isnan(loss) else _short(loss) for loss in self.nats.tolist()],
            "characters": [_short(loss) for loss in self.by_character.tolist()],
        }


@dataclass(frozen=True, eq=False)
class ShownDocument:
    """A document's line, the text that was scored, and every model's losses in it."""

    line: DocumentLine
    text: str
    losses: Mapping[str, TokenLosses]

    def as_json(self) -> dict[str, Any]:
        """What the page's script draws; `losses` in the order of models."""
        return {
            "id": self.line.doc_id,
            "domain": self.line.domain,
            "url": self.line.url,
            "published": self.line.published,
            "opening": self.line.opening,
            "bytes": self.line.bytes,
            "bpb": list(self.line.bpb.values()),
            "flags": [list(found) for found in self.line.flags.values()],
            "text": self.text,
            "losses": [losses.as_json() for losses in self.losses.values()],
        }


def shown_documents(
    scores: Scores,
    lines: Iterable[DocumentLine],
    documents: Mapping[tuple[str, str], EvaluationDocument],
    protocol: ScoringProtocol,
) -> tuple[ShownDocument, ...]:
    """These documents with the losses of all their tokens; scores must hold `store.TOKENS`."""
    return tuple(_shown(scores, line, protocol.cut(documents[line.key].text)) for line in lines)


def _shown(scores: Scores, line: DocumentLine, text: str) -> ShownDocument:
    row = scores.rows[line.key]
    found = {}
    for model, table in scores.tables.items():
        nats = -np.asarray(table["logp"][row].as_py(), dtype=np.float64)
        ends = np.asarray(table["byte_ends"][row].as_py(), dtype=np.int64)
        found[model] = TokenLosses(ends, nats, losses_by_character(text, nats, ends))
    return ShownDocument(line, text, found)


def _short(number: float) -> float:
    return float(f"{number:.4g}")
