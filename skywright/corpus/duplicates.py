"""The steps that find copies among the documents that stay: exact, then near and verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from skywright.config import Config
from skywright.corpus.config import CorpusConfig
from skywright.corpus.dedup.columns import fixed_bytes, fixed_column, group_starts, words
from skywright.corpus.measure import KEPT_SCHEMA
from skywright.corpus.pages import read_whole
from skywright.corpus.schemas import DROP_SCHEMA
from skywright.engine.stage import ExchangeStage, MapStage, Tables


class ExactParams(Config):
    """Which view of the text makes two documents one: `measure` (equal to a reader) or `raw`
    (byte for byte), and the group of each source within which copies are sought (none: one group).
    """

    view: Literal["measure", "raw"] = "measure"
    scopes: dict[str, str] = {}


def scopes_of(config: CorpusConfig) -> dict[str, str]:
    """The group of each source within which copies are sought; empty: all are one group."""
    if config.duplicates.scope == "global":
        return {}
    return {item.source: item.snapshot or item.source for item in config.inputs}


def exact_params(config: CorpusConfig) -> ExactParams:
    """What the recipe says about exact copies."""
    return ExactParams(view=config.duplicates.exact, scopes=scopes_of(config))


# ---------------------------------------------------------------- exact copies


def _salts(records: pa.ChunkedArray, scopes: Mapping[str, str]) -> np.ndarray:
    """A number for the group of each record; a record's name begins with its source."""
    if not scopes:
        return np.zeros(len(records), np.uint64)
    sources = pc.list_element(pc.split_pattern(records, "/", max_splits=1), 0).to_pylist()
    salt = {name: xxhash.xxh3_64_intdigest(scope.encode()) for name, scope in scopes.items()}
    return np.array([salt[source] for source in sources], np.uint64)


def _hashes(table: pa.Table, params: ExactParams) -> np.ndarray:
    return fixed_bytes(table["content_hash" if params.view == "measure" else "raw_hash"])


def content_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The first 8 bytes of the hash that copies share."""
    params = cast(ExactParams, params)
    first = np.ascontiguousarray(_hashes(table, params)[:, :8]).view(np.uint64).ravel()
    return first ^ _salts(table["record"], params.scopes)


def content_order(table: pa.Table, params: Config) -> pa.Array:
    """Bytes by which the copies of a document come together, the best one first."""
    params = cast(ExactParams, params)
    salts = _salts(table["record"], params.scopes).astype(">u8").view(np.uint8).reshape(-1, 8)
    return fixed_column(np.hstack([salts, _hashes(table, params), fixed_bytes(table["rank"])]))


def exact_copies(rows: Iterator[pa.Table], params: Config, side: Tables) -> Iterator[Tables]:
    """Of documents with one hash the best stays. The rule tells equal bytes (`exact_copy`) from
    texts that differ in case, width, spacing or line breaks alone (`same_view`).

    Of what has passed only the best of the last hash is held, so that a page of which a crawl has
    millions fills no memory.
    """
    params = cast(ExactParams, params)
    best: pa.Table | None = None
    for table in rows:
        if not table.num_rows:
            continue
        table = pa.concat_tables([best, table] if best is not None else [table]).combine_chunks()
        hashes = [_salts(table["record"], params.scopes), *words(_hashes(table, params))]
        starts = group_starts(hashes)
        first = np.repeat(starts[:-1], np.diff(starts))
        copies = np.flatnonzero(first != np.arange(table.num_rows))
        gone, kept = (table.take(pa.array(at)) for at in (copies, first[copies]))
        yield {"dropped": _dropped(gone, kept)}
        best = table.slice(int(starts[-2]), 1)


def _dropped(gone: pa.Table, kept: pa.Table) -> pa.Table:
    """Rows of `DROP_SCHEMA`: each of `gone` in favour of its row of `kept`."""
    n = gone.num_rows
    columns = {name: pa.nulls(n, DROP_SCHEMA.field(name).type) for name in DROP_SCHEMA.names}
    columns |= {
        "record": gone["record"],
        "step": pa.repeat(pa.scalar("exact_duplicates"), n),
        "rule": pc.if_else(pc.equal(gone["raw_hash"], kept["raw_hash"]), "exact_copy", "same_view"),
        "kept_id": kept["id"],
        "similarity": pa.repeat(pa.scalar(1.0), n),
    }
    return pa.table(columns, schema=DROP_SCHEMA)


EXACT = ExchangeStage(
    "exact_duplicates", "3", content_keys, exact_copies, {"dropped": DROP_SCHEMA}, ("xxhash",),
    order=content_order, stream=True,
)  # fmt: skip


def without_copies(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The kept documents of a shard less its exact copies."""
    gone = pc.is_in(table["record"], value_set=side["dropped"]["record"].combine_chunks())
    return {"unique": table.filter(pc.invert(gone))}


UNIQUE = MapStage(
    "unique", "2", without_copies, {"unique": KEPT_SCHEMA}, read_whole, rowwise=False,
    narrow="record",
)  # fmt: skip
