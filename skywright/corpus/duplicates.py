"""The steps that find copies among the documents that stay: exact, then near and verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from skywright.config import Config
from skywright.corpus.config import CorpusConfig
from skywright.corpus.dedup.columns import fixed_bytes, group_starts, order_by, words
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


def exact_copies(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Of documents with one hash the best stays. The rule tells equal bytes (`exact_copy`) from
    texts that differ in case, width, spacing or line breaks alone (`same_view`).
    """
    params = cast(ExactParams, params)
    hashes = [_salts(table["record"], params.scopes), *words(_hashes(table, params))]
    order = order_by(hashes, words(fixed_bytes(table["rank"])))
    starts = group_starts([word[order] for word in hashes])
    best = np.repeat(order[starts[:-1]], np.diff(starts))
    copies = order != best
    gone, kept = table.take(pa.array(order[copies])), table.take(pa.array(best[copies]))
    same = pc.equal(gone["raw_hash"], kept["raw_hash"])
    n = gone.num_rows
    columns = {name: pa.nulls(n, DROP_SCHEMA.field(name).type) for name in DROP_SCHEMA.names}
    columns |= {
        "record": gone["record"],
        "step": pa.repeat(pa.scalar("exact_duplicates"), n),
        "rule": pc.if_else(same, "exact_copy", "same_view"),
        "kept_id": kept["id"],
        "similarity": pa.repeat(pa.scalar(1.0), n),
    }
    return {"dropped": pa.table(columns, schema=DROP_SCHEMA).sort_by("record")}


EXACT = ExchangeStage(
    "exact_duplicates", "2", content_keys, exact_copies, {"dropped": DROP_SCHEMA}, ("xxhash",)
)


def without_copies(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The kept documents of a shard less its exact copies."""
    gone = pc.is_in(table["record"], value_set=side["dropped"]["record"].combine_chunks())
    return {"unique": table.filter(pc.invert(gone))}


UNIQUE = MapStage(
    "unique", "2", without_copies, {"unique": KEPT_SCHEMA}, read_whole, rowwise=False,
    narrow="record",
)  # fmt: skip
