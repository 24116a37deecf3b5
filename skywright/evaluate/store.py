"""The score store: what a model lost on each document of a set, kept once and for all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skywright.engine.files import (
    atomic_folder,
    atomic_open,
    disk_errors_at,
    sweep_temporary,
    write_json,
)
from skywright.errors import UserError

POSITIONS_BYTES = (0, 1024, 4096, 16_384, 65_536)
"""Where the ranges of `position_nll_nats` begin; the last one has no end.

Bytes of the text, not tokens: the same places for every model and reference tokenizer. At about
four bytes a token, in Chinese as in English, they are 256, 1k, 4k and 16k tokens."""


def _list(kind: pa.DataType) -> pa.DataType:
    """A list named as Parquet names it, so that a table read and written again has its bytes."""
    return pa.list_(pa.field("element", kind))


SCORES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("domain", pa.string()),
        ("nll_nats", pa.float64()),
        ("first_token_nll_nats", pa.float64()),
        ("tokens", pa.int64()),
        ("scored_tokens", pa.int64()),
        ("reference_tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("chars", pa.int64()),
        ("windows", pa.int64()),
        ("flags", _list(pa.string())),
        ("position_nll_nats", _list(pa.float64())),
    ]
)
"""One row a document: loss of all tokens that the protocol scores, loss of the text's first token
alone (null if it is not scored), sizes of the text, windows that score a part of it, flags
(`prepare.FLAGS`), and the loss by place in the text (POSITIONS_BYTES)."""

TOKENS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("ids", _list(pa.int32())),
        ("logp", _list(pa.float32())),
        ("byte_ends", _list(pa.int64())),
    ]
)
"""One row a document: its tokens, ln p of each (NaN where the protocol scores none), and the byte
of the text where each ends (`alignment.Encoding`)."""


def _read(path: Path, schema: pa.Schema, remedy: str) -> pa.Table | None:
    """A Parquet file, or None if there is none; `UserError` if it is damaged or another table."""
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: damaged ({error}); {remedy}") from None
    if not table.schema.equals(schema):
        raise UserError(f"{path}: not a table of scores; {remedy}")
    return table


def _write(path: Path, table: pa.Table) -> None:
    with disk_errors_at(path), atomic_open(path) as stream:
        pq.write_table(table, stream, compression="zstd")


@dataclass(frozen=True)
class Parts:
    """What is scored of an entry that is not complete yet, in files of some documents each."""

    folder: Path

    def _path(self, number: int, tokens: bool) -> Path:
        return self.folder / f"{number:05}{'-tokens' if tokens else ''}.parquet"

    def read(self, number: int, doc_ids: Sequence[str], tokens: bool) -> pa.Table | None:
        """The part with these documents, or None if it is not there."""
        path = self._path(number, tokens)
        schema = pa.schema([*SCORES, *list(TOKENS)[1:]]) if tokens else SCORES
        table = _read(path, schema, "remove it and score again")
        if table is None or table["doc_id"].to_pylist() != list(doc_ids):
            return None  # of a version that divided the set otherwise
        return table

    def write(self, number: int, table: pa.Table) -> None:
        """Keep a part, whole or not at all."""
        _write(self._path(number, "logp" in table.column_names), table)


@dataclass(frozen=True)
class Entry:
    """The scores of one model, set and protocol: `docs.parquet`, `protocol.json`, `tokens.parquet`.

    Added whole, never changed; the losses of single tokens may be added later. Until it is whole
    its parts stand in a folder beside it, named `<protocol>.parts`.
    """

    folder: Path

    @property
    def parts(self) -> Parts:
        """What is scored of it so far."""
        return Parts(self.folder.with_name(self.folder.name + ".parts"))

    def read(self, doc_ids: Sequence[str], tokens: bool = False) -> pa.Table | None:
        """The scores of these documents (with tokens: `TOKENS` too), or None if not there yet."""
        remedy = "remove its folder and score again"
        table = _read(self.folder / "docs.parquet", SCORES, remedy)
        if table is None:
            return None
        if table["doc_id"].to_pylist() != list(doc_ids):
            raise UserError(f"{self.folder}: its documents are not those of the set; {remedy}")
        if not tokens:
            return table
        more = _read(self.folder / "tokens.parquet", TOKENS, remedy)
        if more is None:
            return None
        if not more["doc_id"].equals(table["doc_id"]):
            raise UserError(f"{self.folder}/tokens.parquet: is of other documents; {remedy}")
        for name in TOKENS.names[1:]:
            table = table.append_column(TOKENS.field(name), more[name])
        return table

    def write(self, table: pa.Table, record: dict[str, Any]) -> None:
        """Add a table (with the columns of `TOKENS` or without); record: the protocol in words."""
        with disk_errors_at(self.folder), atomic_folder(self.folder) as folder:
            _write(folder / "docs.parquet", table.select(SCORES.names))
            write_json(folder / "protocol.json", record)
        if "logp" in table.column_names and not (self.folder / "tokens.parquet").is_file():
            _write(self.folder / "tokens.parquet", table.select(TOKENS.names))

    def tidy(self) -> None:
        """Once it is whole: remove its parts, and what writers left that were killed."""
        shutil.rmtree(self.parts.folder, ignore_errors=True)
        for folder in (self.folder.parent, self.folder):
            sweep_temporary(folder)


@dataclass(frozen=True)
class Store:
    """Folders `<root>/<model>/<set>/<protocol>/`, an `Entry` each.

    The names are the model's fingerprint, the set's content hash and the protocol's hash, each
    its first 32 hex digits; so scores of other dtypes, devices or library versions never meet.
    """

    root: Path

    def entry(self, model: str, evaluation_set: str, protocol: str) -> Entry:
        """The place of this model, set and protocol, whether it is filled or not."""
        return Entry(Path(self.root) / model[:32] / evaluation_set[:32] / protocol[:32])
