"""The score tables of several models, side by side over the same documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from skywright.errors import UserError
from skywright.evaluate.summary import UNITS, column

RANKED = "nats_per_reference_token"
"""The unit of `summary.UNITS` in which models are ranked and told apart."""

_TEXT_COLUMNS = ("doc_id", "bytes", "chars", "reference_tokens")


@dataclass(frozen=True, eq=False)
class Scores:
    """Documents of all domains, domain after domain; the same rows for every model.

    tables: by model, the columns of `store.SCORES` (and `store.TOKENS`, if they were asked for).
    domains: in the order of the sets; domain_of (documents,): each document's.
    """

    tables: Mapping[str, pa.Table]
    domains: tuple[str, ...]
    domain_of: np.ndarray

    @property
    def models(self) -> tuple[str, ...]:
        """Names, in the order given."""
        return tuple(self.tables)

    @cached_property
    def nats(self) -> dict[str, np.ndarray]:
        """By model: the loss of every document, float64 (documents,)."""
        return {model: column(table, "nll_nats") for model, table in self.tables.items()}

    def losses(self, unit: str) -> dict[str, np.ndarray]:
        """By model: the loss of every document in the numerator's unit (`summary.UNITS`)."""
        return {model: nats / UNITS[unit][1] for model, nats in self.nats.items()}

    def sizes(self, unit: str) -> np.ndarray:
        """What a document's loss is divided by in a unit; of the text, so the same for all."""
        return column(self._any, UNITS[unit][0])

    @cached_property
    def bpb(self) -> dict[str, np.ndarray]:
        """By model: bits per byte of every document."""
        return {model: bits / self.sizes("bpb") for model, bits in self.losses("bpb").items()}

    @cached_property
    def rows(self) -> dict[tuple[str, str], int]:
        """The row of a document, by its domain and id."""
        keys = zip(self.domain_of.tolist(), self._any["doc_id"].to_pylist(), strict=True)
        return {key: row for row, key in enumerate(keys)}

    @property
    def _any(self) -> pa.Table:
        return next(iter(self.tables.values()))


def gather(tables: Mapping[str, Mapping[str, pa.Table]]) -> Scores:
    """Lay {model: {domain: scores}} side by side.

    Raises `UserError` if there are fewer than two models or they were not scored on the same
    documents, cut alike and counted by the same reference tokenizer.
    """
    if len(tables) < 2:
        raise UserError(f"compare: {', '.join(tables) or 'no model'}; name at least two models")
    first_name, first = next(iter(tables.items()))
    for name, own in tables.items():
        if list(own) != list(first):
            raise UserError(
                f"model {name}: scored on {', '.join(own)}, but {first_name} on"
                f" {', '.join(first)}; score both on the same sets"
            )
        for domain, table in own.items():
            for wanted in _TEXT_COLUMNS:
                if not table[wanted].equals(first[domain][wanted]):
                    raise UserError(
                        f"model {name}, domain {domain}, {wanted}: not as for {first_name}; score"
                        " both on the same set, with the same protocol and reference tokenizer"
                    )
    counts = [table.num_rows for table in first.values()]
    return Scores(
        tables={name: pa.concat_tables(list(own.values())) for name, own in tables.items()},
        domains=tuple(first),
        domain_of=np.repeat(np.asarray(list(first)), counts),
    )
