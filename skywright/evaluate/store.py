"""The score store: what a model lost on each document of a set, kept once and for all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skywright.engine.files import atomic_folder, write_json
from skywright.errors import UserError

SCORES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("domain", pa.string()),
        ("nll_nats", pa.float64()),
        ("first_token_nll_nats", pa.float64()),
        ("tokens", pa.int64()),
        ("reference_tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("chars", pa.int64()),
    ]
)
"""One row a document: loss of all its tokens, loss of the first alone, and sizes of its text."""


@dataclass(frozen=True)
class Store:
    """Folder `<root>/<model>/<set>/<protocol>/` with `docs.parquet` and `protocol.json`.

    The names are the model's fingerprint, the set's content hash and the protocol's hash, each
    its first 32 hex digits. Entries are added, never changed.
    """

    root: Path

    def folder(self, model: str, evaluation_set: str, protocol: str) -> Path:
        """Where the scores of this model, set and protocol stand or would stand."""
        return Path(self.root) / model[:32] / evaluation_set[:32] / protocol[:32]

    def read(self, model: str, evaluation_set: str, protocol: str) -> pa.Table | None:
        """The scores, or None if this has not been scored yet."""
        path = self.folder(model, evaluation_set, protocol) / "docs.parquet"
        if not path.is_file():
            return None
        try:
            table = pq.read_table(path, partitioning=None)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{path}: damaged ({error}); remove its folder and score again") from (
                None
            )
        if not table.schema.equals(SCORES):
            raise UserError(f"{path}: not a table of scores; remove its folder and score again")
        return table

    def write(
        self,
        model: str,
        evaluation_set: str,
        protocol: str,
        table: pa.Table,
        record: dict[str, Any],
    ) -> None:
        """Add a whole table; `record` says in words what the protocol's hash stands for."""
        with atomic_folder(self.folder(model, evaluation_set, protocol)) as folder:
            pq.write_table(table, folder / "docs.parquet", compression="zstd")
            write_json(folder / "protocol.json", record)
