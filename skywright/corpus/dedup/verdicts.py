"""Near copies over shards, second half: pairs are compared exactly, and documents judged.

asks (exchange by shard) -> shingle sets (map over documents) -> similarities (exchange by meeting
place) -> who goes (exchange by document) -> clusters (exchange by kept document). Shingle hashes
move, four bytes each; text does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.dedup import rule, shingles
from skywright.corpus.dedup.best import ID_AT
from skywright.corpus.dedup.columns import fixed_bytes, fixed_column, group_starts, order_by, words
from skywright.corpus.dedup.proposals import (
    ASK_SCHEMA,
    BAND_SCHEMA,
    CLAIM_SCHEMA,
    RANK,
    id_words,
    rank_keys,
    ranked_groups,
    read_group,
    shard_number,
)
from skywright.corpus.dedup.shingles import flatten
from skywright.corpus.schemas import DROP_SCHEMA, ID
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

SET_SCHEMA = pa.schema(
    [
        ("meet", pa.uint64()),
        ("rank", RANK),
        ("better", RANK),
        ("record", pa.string()),
        ("set", pa.large_list(pa.uint32())),
    ]
)
"""The shingles of a document, to be compared with those of `better`; null: to be compared with."""

GOING_SCHEMA = pa.schema(
    [
        ("node", RANK),
        ("id", ID),
        ("similarity", pa.float64()),
        ("record", pa.string()),
    ]
)
"""A document that goes, filed under (`node`) the kept one; and once under itself, `id` null.

Filed by rank, not id: a page that was crawled twice has one id in two generations."""

REMOVAL_SCHEMA = pa.schema([*DROP_SCHEMA, ("id", ID), ("cluster_size", pa.int64())])
"""A drop with its cluster: `kept_id` names it, `cluster_size` counts it, the kept one included."""


class SetParams(Config):
    """Tokens of a shingle."""

    ngram: int


class JudgeParams(Config):
    """The Jaccard similarity at which a document goes."""

    jaccard: float


class DropParams(Config):
    """Step, rule and threshold that a drop is filed under."""

    step: str
    rule: str
    jaccard: float


# ---------------------------------------------------------------- sets


def shard_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The number of the shard in which each document lies."""
    return table["shard"].to_numpy().astype(np.uint64)


def pass_on(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The asks, unchanged: they are now with their shard."""
    return {"asks": table}


ROUTE = ExchangeStage("near_asks", "1", shard_keys, pass_on, {"asks": ASK_SCHEMA})


def read_sets(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks, asks): the shingles of the documents that are asked for."""
    width = cast(SetParams, params).ngram
    asks = _asks_of(shard)
    asked = asks["rank"].combine_chunks()
    yield SET_SCHEMA.empty_table()
    if not asks.num_rows:
        return
    documents = joined.paths(shard)[0]
    with pq.ParquetFile(documents) as file:
        for group, begin, rows, ranks in ranked_groups(shard, ()):
            wanted = pc.is_in(ranks, value_set=asked)
            if not pc.any(wanted).as_py():
                continue
            whole = read_group(file, group, ("text",), shard.key, begin)
            names, ranks = rows["record"].filter(wanted).combine_chunks(), ranks.filter(wanted)
            at = pc.index_in(names, value_set=whole["record"].combine_chunks())
            sets = shingles.half_shingles(whole["text"].take(at), width)
            yield _answers(asks, ranks, names, sets)


def read_stored(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (an index's sets, asks): the sets that are asked for.

    They are sorted by `slot`, so only row groups are read that may hold one.
    """
    asks = _asks_of(shard)
    asked = asks["rank"].combine_chunks()
    wanted = np.sort(id_words(fixed_bytes(asked)))
    yield SET_SCHEMA.empty_table()
    with pq.ParquetFile(joined.paths(shard)[0]) as file:
        for group in touched_groups(file, "slot", wanted):
            rows = file.read_row_group(group, columns=["rank", "set"])
            rows = rows.filter(pc.is_in(rows["rank"], value_set=asked))
            ranks, sets = rows["rank"].combine_chunks(), rows["set"].combine_chunks()
            yield _answers(asks, ranks, pa.nulls(len(ranks), pa.string()), sets)


def touched_groups(file: pq.ParquetFile, column: str, wanted: np.ndarray) -> list[int]:
    """Row groups of a file sorted by an integer column that may hold one of `wanted` (sorted)."""
    at = file.schema_arrow.get_field_index(column)
    touched = []
    for group in range(file.num_row_groups):
        found = file.metadata.row_group(group).column(at).statistics
        first, last = np.searchsorted(wanted, np.array([found.min, found.max], np.uint64))
        if last > first or (last < len(wanted) and wanted[last] == found.max):
            touched.append(group)
    return touched


def _asks_of(shard: Shard) -> pa.Table:
    """What is asked of a shard, from the partition of asks that is joined to it last."""
    asks = pq.read_table(joined.paths(shard)[-1])
    return asks.filter(pc.equal(asks["shard"], pa.scalar(shard_number(shard.key), pa.uint32())))


def _answers(asks: pa.Table, ranks: pa.Array, names: pa.Array, sets: pa.Array) -> pa.Table:
    """One row an ask, for the asks whose documents are among `ranks`."""
    place = pc.index_in(asks["rank"].combine_chunks(), value_set=ranks)
    here = pc.is_valid(place)
    place, ours = place.filter(here), asks.filter(here)
    return pa.table(
        [ours["meet"], ours["rank"], ours["better"], names.take(place), sets.take(place)],
        schema=SET_SCHEMA,
    )


def sets_of(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows that the reader made."""
    return {"sets": table}


SETS = MapStage(
    "near_sets", f"1 {shingles.VERSION}", sets_of, {"sets": SET_SCHEMA}, read_sets, rowwise=False
)

STORED = MapStage("near_stored", "1", sets_of, {"sets": SET_SCHEMA}, read_stored, rowwise=False)

# ---------------------------------------------------------------- comparisons


def meet_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The places where sets meet."""
    return table["meet"].to_numpy()


def compare(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The similarity of every pair."""
    table = table.combine_chunks()
    keepers = np.flatnonzero(table["better"].is_null().to_numpy())
    claimants = table.filter(pc.is_valid(table["better"])).select(["rank", "better", "record"])
    rows = np.flatnonzero(table["better"].is_valid().to_numpy())
    ranks = table["rank"].combine_chunks()
    # A set that was sent to several places is the same everywhere, so any of them will do.
    at = pc.index_in(claimants["better"], value_set=ranks.take(pa.array(keepers))).to_numpy()
    values, offsets = flatten(table["set"])
    found = rule.similarities(values, offsets, rows, keepers[at.astype(np.int64)])
    nothing = {name: pa.nulls(len(rows), CLAIM_SCHEMA.field(name).type)
               for name in CLAIM_SCHEMA.names}  # fmt: skip
    columns = {
        **nothing,
        **{name: claimants[name] for name in claimants.column_names},
        "similarity": pa.array(found),
    }
    return {"claims": pa.table(columns, schema=CLAIM_SCHEMA)}


COMPARE = ExchangeStage("near_comparisons", "1", meet_keys, compare, {"claims": CLAIM_SCHEMA})

# ---------------------------------------------------------------- judgement


def judge(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Who goes, in favour of which; and a notice to each bucket that it stands in."""
    threshold = cast(JudgeParams, params).jaccard
    alike = pc.fill_null(pc.greater_equal(table["similarity"], threshold), False)
    going = table.filter(alike)
    ranks, better = (words(fixed_bytes(going[name])) for name in ("rank", "better"))
    order = order_by(ranks, -going["similarity"].to_numpy(), better)
    firsts = group_starts([word[order] for word in ranks])[:-1]
    going = going.take(pa.array(order[firsts])).combine_chunks()
    buckets = table.filter(pc.is_valid(table["key"]))
    buckets = buckets.filter(pc.is_in(buckets["rank"], value_set=going["rank"].combine_chunks()))
    own = fixed_column(fixed_bytes(going["rank"])[:, ID_AT:])
    claims = pa.table(
        [going["better"], own, going["similarity"], going["record"]], schema=GOING_SCHEMA
    )
    nothing = [pa.nulls(going.num_rows, GOING_SCHEMA.field(i).type) for i in range(1, 4)]
    markers = pa.table([going["rank"], *nothing], schema=GOING_SCHEMA)
    return {"going": pa.concat_tables([claims, markers]), "notices": _notices(buckets)}


def _notices(buckets: pa.Table) -> pa.Table:
    n = buckets.num_rows
    order = order_by(buckets["key"].to_numpy(), words(fixed_bytes(buckets["rank"])))
    blank = fixed_column(np.zeros((n, BAND_SCHEMA.field("sketch").type.byte_width), np.uint8))
    return pa.table(
        [buckets["key"], buckets["rank"], blank, buckets["shard"], pa.repeat(pa.scalar(True), n)],
        schema=BAND_SCHEMA,
    ).take(pa.array(order))


JUDGE = ExchangeStage(
    "near_judgement", "1", rank_keys, judge, {"going": GOING_SCHEMA, "notices": BAND_SCHEMA}
)


def node_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The first 8 bytes of the id of the document that a row is filed under."""
    return id_words(fixed_bytes(table["node"]))


def clusters(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The drops, cluster by cluster. A document that itself goes keeps nobody out."""
    params = cast(DropParams, params)
    going = table.filter(pc.is_null(table["id"]))["node"].combine_chunks()
    stays = pc.invert(pc.is_in(table["node"], value_set=going))
    table = table.filter(pc.and_(stays, pc.is_valid(table["id"])))
    table = table.sort_by([("node", "ascending"), ("record", "ascending")])
    nodes = fixed_bytes(table["node"])
    starts = group_starts(words(nodes))
    sizes = np.repeat(np.diff(starts) + 1, np.diff(starts))
    n = table.num_rows
    constants = {"step": params.step, "rule": params.rule, "threshold": params.jaccard}
    columns = {name: pa.repeat(pa.scalar(value), n) for name, value in constants.items()}
    columns |= {name: table[name] for name in ("record", "id", "similarity")}
    columns["kept_id"] = fixed_column(nodes[:, ID_AT:])
    columns |= {"value": table["similarity"], "message": pa.nulls(n, pa.string())}
    columns["cluster_size"] = pa.array(sizes, pa.int64())
    return {"dropped": pa.table(columns).select(REMOVAL_SCHEMA.names).cast(REMOVAL_SCHEMA)}


CLUSTERS = ExchangeStage("near_duplicates", "2", node_keys, clusters, {"dropped": REMOVAL_SCHEMA})
