"""Near copies over shards, third part: who goes, in favour of which.

What is known of the documents of a partition lies in tables that are only ever added to: offers of
their buckets, similarities, verdicts. When a table comes, the documents that it names are judged
anew from all of them (map); of those whose verdict changes their buckets are told (exchange by
band). At the end drops are gathered by the document that stays (exchange by kept document).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.dedup.best import ID_AT
from skywright.corpus.dedup.columns import (
    fixed_bytes,
    fixed_column,
    group_starts,
    numbered,
    order_by,
    read,
    read_where,
    words,
)
from skywright.corpus.dedup.comparisons import ASK_SCHEMA, FOUND_SCHEMA, asks_of
from skywright.corpus.dedup.proposals import (
    NOTICE_SCHEMA,
    OFFER_SCHEMA,
    RANK,
    band_keys,
    id_words,
)
from skywright.corpus.schemas import DROP_SCHEMA, ID
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

VERDICT_SCHEMA = pa.schema([*FOUND_SCHEMA, ("gone", pa.bool_())])
"""A document goes in favour of `better`, or (not `gone`, `better` null) it stays after all."""

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

FACT_SCHEMA = pa.schema([*OFFER_SCHEMA, *list(VERDICT_SCHEMA)[2:], ("time", pa.int64())])
"""Offers (`key`), similarities and verdicts (`gone`) in one table."""

OFFERS, FOUND, VERDICTS = KINDS = ("offers", "found", "verdicts")


class JudgeParams(Config):
    """The Jaccard similarity at which a document goes, and the number of partitions."""

    jaccard: float
    partitions: int


class DropParams(Config):
    """Step, rule and threshold that a drop is filed under."""

    step: str
    rule: str
    jaccard: float


# ---------------------------------------------------------------- judgement


def facts(known: Mapping[str, Sequence[Shard]], newest: str, part: int) -> Shard:
    """All that is known of a partition's documents as one shard: its tables of offers, of found
    similarities and of verdicts, each kind in the order of time. The last one of the kind `newest`
    names the documents to judge.
    """
    shards = [shard for kind in KINDS for shard in known[kind]]
    meta = {kind: str(len(known[kind])) for kind in KINDS}
    return _joined(shards, part, meta | {"newest": newest, "part": str(part)})


def history(known: Mapping[str, Sequence[Shard]], part: int) -> Shard:
    """The verdicts on a partition's documents as one shard, in the order of time."""
    return _joined(known[VERDICTS], part, {})


def _joined(shards: Sequence[Shard], part: int, meta: Mapping[str, str]) -> Shard:
    key = f"near-{part}"
    return joined.join(*([replace(shard, key=key)] for shard in shards), meta=meta)[0]


def read_facts(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of `facts`: the rows of the documents to judge, with `time`, the number of the table
    within its kind.
    """
    paths = iter(joined.paths(shard))
    kinds = {kind: list(islice(paths, int(shard.meta[kind]))) for kind in KINDS}
    newest = kinds[shard.meta["newest"]][-1]
    judged = read(newest, ["rank"])["rank"].combine_chunks()
    parts = np.uint64(cast(JudgeParams, params).partitions)
    ours = id_words(fixed_bytes(judged)) % parts == np.uint64(shard.meta["part"])
    judged = judged.filter(pa.array(ours))
    tables = [FACT_SCHEMA.empty_table()]
    for group in kinds.values():
        for time, path in enumerate(group):
            whole = path == newest and ours.all()
            rows = read(path) if whole else read_where(path, "rank", judged)
            tables.append(rows.append_column("time", pa.array(np.full(len(rows), time))))
    yield pa.concat_tables(tables, promote_options="default").combine_chunks()


def judge(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Of each document the two nearest offers; a verdict where their similarities are known, asks
    where they are not. Only news is told: verdicts that differ from the last one, and to their
    buckets which documents go now or stay after all.
    """
    threshold = cast(JudgeParams, params).jaccard
    rank, better = numbered(table["rank"], table["better"])  # numbers from here on
    time, mismatches = table["time"].to_numpy(), table["mismatches"].fill_null(0).to_numpy()
    similarity = table["similarity"].fill_null(0.0).to_numpy()
    key = table["key"].fill_null(0).to_numpy()
    offered = table["key"].is_valid().to_numpy()
    judged = table["gone"].is_valid().to_numpy()

    places = _latest(time, np.flatnonzero(offered), rank, key)
    before = _latest(time, np.flatnonzero(judged), rank)
    chosen = _two_nearest(places[better[places] >= 0], rank, mismatches, better)
    found, known = _look_up(chosen, np.flatnonzero(~offered & ~judged), rank, better)
    alike = found[known & (similarity[found] >= threshold)]
    alike = alike[order_by(rank[alike], -similarity[alike], better[alike])]
    going = alike[group_starts(rank[alike])[:-1]]

    documents = int(rank.max(initial=-1)) + 1
    now, was, news = np.full(documents, -1), np.full(documents, -1), np.zeros(documents, bool)
    now[rank[going]] = better[going]
    was[rank[before]] = better[before]
    news[rank[places]] = True
    news[rank[chosen[~known]]] = False  # no verdict yet; the last one stands
    news &= now != was
    turned = news & ((now < 0) != (was < 0))
    going = going[news[rank[going]]]
    staying = before[(news & (now < 0))[rank[before]]]
    places = places[turned[rank[places]]]
    places = places[np.lexsort((rank[places], key[places]))]
    places = places[group_starts(key[places], rank[places])[:-1]]
    told = table.select(["key", "rank"]).take(pa.array(places))
    gone = pa.array(now[rank[places]] >= 0)
    return {
        "asks": asks_of(table.take(pa.array(chosen[~known]))),
        "verdicts": _verdicts(table.take(pa.array(going)), table.take(pa.array(staying))),
        "notices": told.append_column("gone", gone),
    }


def _latest(time: np.ndarray, rows: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Of rows of the same keys those of the last table that has any."""
    if not len(rows) or not time[rows].any():
        return rows
    rows = rows[order_by(*(key[rows] for key in keys), -time[rows])]
    starts = group_starts(*(key[rows] for key in keys))
    return rows[time[rows] == np.repeat(time[rows[starts[:-1]]], np.diff(starts))]


def _two_nearest(
    rows: np.ndarray, rank: np.ndarray, mismatches: np.ndarray, better: np.ndarray
) -> np.ndarray:
    """The two nearest offers of each document; a pair that shares several buckets counts once."""
    rows = rows[order_by(rank[rows], mismatches[rows], better[rows])]
    rows = rows[group_starts(rank[rows], better[rows])[:-1]]
    firsts = group_starts(rank[rows])
    nearer = np.arange(len(rows)) - np.repeat(firsts[:-1], np.diff(firsts))
    return rows[nearer < 2]


def _look_up(
    pairs: np.ndarray, known: np.ndarray, rank: np.ndarray, better: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each pair a row of `known` about the same two documents, and whether there is one."""
    if not len(known):
        return np.zeros(len(pairs), np.int64), np.zeros(len(pairs), bool)
    one_number = (rank << 32) | (better & (2**32 - 1))  # a partition has fewer documents than 2^32
    known = known[np.argsort(one_number[known], kind="stable")]
    at = np.searchsorted(one_number[known], one_number[pairs])
    rows = known[np.minimum(at, len(known) - 1)]
    return rows, one_number[rows] == one_number[pairs]


def _verdicts(going: pa.Table, staying: pa.Table) -> pa.Table:
    said = going.select(FOUND_SCHEMA.names)
    said = said.append_column("gone", pa.repeat(pa.scalar(True), len(going)))
    blank = [pa.nulls(len(staying), VERDICT_SCHEMA.field(i).type) for i in range(1, 4)]
    after_all = [staying["rank"], *blank, pa.repeat(pa.scalar(False), len(staying))]
    return pa.concat_tables([said, pa.table(after_all, schema=VERDICT_SCHEMA)])


JUDGE = MapStage(
    "near_judgement", "2", judge,
    {"asks": ASK_SCHEMA, "verdicts": VERDICT_SCHEMA, "notices": NOTICE_SCHEMA}, read_facts,
    rowwise=False,
)  # fmt: skip


def notices_met(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The notices, unchanged: all of a bucket are now together."""
    return {"notices": table}


NOTICES = ExchangeStage("near_notices", "1", band_keys, notices_met, {"notices": NOTICE_SCHEMA})

# ---------------------------------------------------------------- drops


def read_verdicts(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of all verdicts of a partition, with `time`."""
    for time, path in enumerate(joined.paths(shard)):
        rows = read(path)
        yield rows.append_column("time", pa.array(np.full(len(rows), time)))


def going(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The documents that go by the last verdict on them."""
    table = table.combine_chunks()
    (rank,) = numbered(table["rank"])
    last = _latest(table["time"].to_numpy(), np.arange(len(table)), rank)
    table = table.take(pa.array(last))
    table = table.filter(table["gone"]).combine_chunks()
    own = fixed_column(fixed_bytes(table["rank"])[:, ID_AT:])
    claims = pa.table(
        [table["better"], own, table["similarity"], table["record"]], schema=GOING_SCHEMA
    )
    nothing = [pa.nulls(len(table), GOING_SCHEMA.field(i).type) for i in range(1, 4)]
    markers = pa.table([table["rank"], *nothing], schema=GOING_SCHEMA)
    return {"going": pa.concat_tables([claims, markers])}


GOING = MapStage("near_going", "1", going, {"going": GOING_SCHEMA}, read_verdicts, rowwise=False)


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
