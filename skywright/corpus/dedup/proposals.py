"""Near copies over shards, first half: from texts to pairs worth an exact comparison.

signatures (map) -> buckets of two and more (exchange by band) -> the nearest kept documents in
each bucket (exchange by band) -> the two nearest of each document (exchange by document). The
rule is told in `rule.py`; what the tables hold stands with their schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.dedup import best, minhash, rule
from skywright.corpus.dedup.best import ID_AT, RANK_BYTES
from skywright.corpus.dedup.columns import (
    fixed_bytes,
    fixed_column,
    group_starts,
    order_by,
    words,
)
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

RANK = pa.binary(RANK_BYTES)

BAND_SCHEMA = pa.schema(
    [
        ("key", pa.uint64()),
        ("rank", RANK),
        ("sketch", pa.binary(minhash.SKETCH_BITS // 8)),
        ("shard", pa.uint32()),
        ("gone", pa.bool_()),
    ]
)
"""A document in a bucket. `gone` marks a notice: that document is not kept, as far as is known."""

CLAIM_SCHEMA = pa.schema(
    [
        ("rank", RANK),
        ("shard", pa.uint32()),
        ("key", pa.uint64()),
        ("better", RANK),
        ("better_shard", pa.uint32()),
        ("mismatches", pa.uint8()),
        ("similarity", pa.float64()),
        ("record", pa.string()),
    ]
)
"""What is known of a document: a bucket that it stands in (`key`), a better document that may be
like it (`better`, `mismatches` of sketch bits), or how like it is (`similarity`)."""

ASK_SCHEMA = pa.schema(
    [
        ("shard", pa.uint32()),
        ("rank", RANK),
        ("better", RANK),
        ("meet", pa.uint64()),
    ]
)
"""Send the shingles of `rank`, which lies in `shard`, to `meet`: to be compared with those of
`better`, or (null) for others to be compared with."""

MEETING_PLACES = 16  # of a document that many ask for: no partition gets more than a share of them
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class SignatureParams(Config):
    """How signatures are made. `scopes` maps a source to the group within which copies are sought
    (a snapshot of the crawl); without it all documents are one group.
    """

    ngram: int
    bands: int
    rows: int
    seed: int
    scopes: dict[str, str] = {}


class ProposalParams(Config):
    """At how many kept documents of a bucket to look, on either end, and how near is near.

    Documents of a rank below `generation` stand in a corpus already: they stay, unasked. Without
    `within` the others are compared with those alone, not with each other.
    """

    neighbours: int
    mismatches: int
    generation: int = 0
    within: bool = True


def shard_number(key: str) -> int:
    """The 32-bit number by which rows name a shard."""
    return int(xxhash.xxh3_64_intdigest(key.encode()) & 0xFFFFFFFF)


# ---------------------------------------------------------------- signatures


def read_ranked(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks) of a shard: the ranked documents, with `rank` and `shard`."""
    columns = ("source", "text") if cast(SignatureParams, params).scopes else ("text",)
    for _, _, rows, ranks in ranked_groups(shard, columns):
        number = pa.repeat(pa.scalar(shard_number(shard.key), pa.uint32()), rows.num_rows)
        yield rows.append_column("rank", ranks).append_column("shard", number)


def ranked_groups(
    shard: Shard, columns: tuple[str, ...]
) -> Iterator[tuple[int, int, pa.Table, pa.Array]]:
    """Of each row group of a joined shard: its number, its first row, the record and `columns` of
    its ranked documents, their ranks.
    """
    documents, ranked = joined.paths(shard)[:2]
    table = pq.read_table(ranked, columns=["record", "rank"])
    names = table["record"].combine_chunks()
    ranks = table["rank"].combine_chunks().cast(RANK)
    with pq.ParquetFile(documents) as file:
        begin = 0
        for group in range(file.num_row_groups):
            rows = read_group(file, group, columns, shard.key, begin)
            at = pc.index_in(rows["record"], value_set=names).combine_chunks()
            if not at.null_count:  # the usual case of a corpus without rules: nothing is copied
                yield group, begin, rows, ranks.take(at)
                begin += rows.num_rows
                continue
            stay = pc.is_valid(at)
            yield group, begin, rows.filter(stay), ranks.take(at.filter(stay))
            begin += rows.num_rows


def read_group(
    file: pq.ParquetFile, group: int, columns: tuple[str, ...], key: str, begin: int
) -> pa.Table:
    """A row group's `record` and `columns`; where no records are named, rows are `<key>:<row>`."""
    if "record" in file.schema_arrow.names:
        return file.read_row_group(group, columns=["record", *columns])
    rows = file.read_row_group(group, columns=list(columns) or ["id"])
    names = [f"{key}:{begin + row}" for row in range(rows.num_rows)]
    return rows.select(columns).add_column(0, "record", pa.array(names, pa.string()))


def bands_of(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """One row a document and band: documents that share a key may be alike."""
    params = cast(SignatureParams, params)
    signed = minhash.signatures(batch["text"], params.ngram, params.bands, params.rows, params.seed)
    keys = signed.bands.copy()
    if params.scopes:
        scopes = [params.scopes[source] for source in batch["source"].to_pylist()]
        salts = {scope: xxhash.xxh3_64_intdigest(scope.encode()) for scope in set(scopes)}
        keys ^= np.array([salts[scope] for scope in scopes], np.uint64)[:, None]
    there = (signed.bands != minhash.NO_SHINGLES).ravel()
    row = np.repeat(np.arange(batch.num_rows), params.bands)[there]
    sketches = signed.sketch.view(np.uint8).reshape(batch.num_rows, -1)
    return {
        "bands": pa.table(
            [
                pa.array(keys.ravel()[there]),
                fixed_column(fixed_bytes(batch["rank"])[row]),
                fixed_column(sketches[row]),
                batch["shard"].combine_chunks().take(pa.array(row)),
                pa.repeat(pa.scalar(False), len(row)),
            ],
            schema=BAND_SCHEMA,
        )
    }


MINHASH = MapStage(
    "minhash", f"2 {minhash.VERSION}", bands_of, {"bands": BAND_SCHEMA}, read_ranked,
    batch_rows=1024,
)  # fmt: skip

# ---------------------------------------------------------------- buckets


def band_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The band hashes."""
    return table["key"].to_numpy()


def shared_buckets(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows of buckets that hold at least two documents; most documents stand alone."""
    keys = table["key"].to_numpy()
    same = keys[1:] == keys[:-1]
    edge = np.zeros(min(1, len(keys)), bool)
    shared = np.concatenate([edge, same]) | np.concatenate([same, edge])
    return {"bands": table.filter(pa.array(shared))}


BUCKETS = ExchangeStage("near_buckets", "1", band_keys, shared_buckets, {"bands": BAND_SCHEMA})


def propose(table: pa.Table, params: Config, side: Tables) -> Tables:
    """For every document of a bucket the two nearest documents before it that are kept."""
    params = cast(ProposalParams, params)
    gone = table["gone"].combine_chunks().to_numpy(zero_copy_only=False)
    order = order_by(table["key"].to_numpy(), words(fixed_bytes(table["rank"])), gone)
    # A document's notice, if there is one, stands right behind it.
    gone = gone[order]
    noticed = np.concatenate([gone[1:], [False]])[~gone]
    table = table.take(pa.array(order[~gone]))
    sketch = fixed_bytes(table["sketch"]).copy().view(np.uint64).reshape(-1, 2)
    starts = group_starts(table["key"].to_numpy())
    asked = best.generations(fixed_bytes(table["rank"])) >= params.generation
    alive = ~noticed if params.within else ~asked
    found, apart = rule.nearest(starts, alive, asked, sketch, params.neighbours, params.mismatches)
    rows = np.flatnonzero(asked)
    first = _claims(table, rows, found[rows, 0], apart[rows, 0])
    second = np.flatnonzero(found[:, 1] >= 0)
    more = _claims(table, second, found[second, 1], apart[second, 1])
    more = more.set_column(2, "key", pa.nulls(len(second), pa.uint64()))
    return {"claims": pa.concat_tables([first, more])}


def _claims(table: pa.Table, rows: np.ndarray, better: np.ndarray, apart: np.ndarray) -> pa.Table:
    nothing = better < 0
    whose, better = pa.array(rows), pa.array(better, mask=nothing)
    ranks, shards = table["rank"].combine_chunks(), table["shard"].combine_chunks()
    return pa.table(
        [
            ranks.take(whose),
            shards.take(whose),
            table["key"].combine_chunks().take(whose),
            ranks.take(better),
            shards.take(better),
            pa.array(np.where(nothing, 0, apart), pa.uint8(), mask=nothing),
            pa.nulls(len(rows), pa.float64()),
            pa.nulls(len(rows), pa.string()),
        ],
        schema=CLAIM_SCHEMA,
    )


PROPOSE = ExchangeStage("near_proposals", "1", band_keys, propose, {"claims": CLAIM_SCHEMA})

# ---------------------------------------------------------------- the two nearest


def rank_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The first 8 bytes of each document's id."""
    return id_words(fixed_bytes(table["rank"]))


def id_words(ranks: np.ndarray) -> np.ndarray:
    """The first 8 bytes of the ids in uint8 (rows, 36) ranks, as uint64."""
    return np.ascontiguousarray(ranks[:, ID_AT : ID_AT + 8]).view(np.uint64).ravel()


def choose(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The two nearest of each document: known from an earlier round, or asked for now."""
    offered = pc.and_(pc.is_valid(table["better"]), pc.is_null(table["similarity"]))
    known = table.filter(pc.is_valid(table["similarity"]))
    chosen = _two_nearest(table.filter(offered))
    buckets = table.filter(pc.is_valid(table["key"]))
    buckets = buckets.filter(pc.is_in(buckets["rank"], value_set=chosen["rank"].combine_chunks()))
    for name in ("better", "better_shard", "mismatches"):
        at = CLAIM_SCHEMA.get_field_index(name)
        buckets = buckets.set_column(at, name, pa.nulls(len(buckets), CLAIM_SCHEMA.field(at).type))
    at = pc.index_in(_pairs(chosen), value_set=_pairs(known))
    for name in ("similarity", "record"):
        column = known[name].combine_chunks().take(at)
        chosen = chosen.set_column(CLAIM_SCHEMA.get_field_index(name), name, column)
    return {
        "claims": pa.concat_tables([buckets, chosen]),
        "asks": _asks(chosen.filter(pc.is_null(chosen["similarity"]))),
    }


def _two_nearest(offers: pa.Table) -> pa.Table:
    ranks = words(fixed_bytes(offers["rank"]))
    better = words(fixed_bytes(offers["better"]))
    apart = offers["mismatches"].to_numpy()
    order = order_by(ranks, apart, better)
    starts = group_starts(*([word[order] for word in part] for part in (ranks, better)))[:-1]
    order = order[starts]  # a pair that shares several buckets counts once
    firsts = group_starts([word[order] for word in ranks])
    place = np.arange(len(order)) - np.repeat(firsts[:-1], np.diff(firsts))
    return offers.take(pa.array(order[place < 2]))


def _pairs(claims: pa.Table) -> pa.FixedSizeBinaryArray:
    return fixed_column(
        np.concatenate([fixed_bytes(claims[name]) for name in ("rank", "better")], axis=1)
    )


def _asks(pairs: pa.Table) -> pa.Table:
    """Both documents of each pair send their shingles to one place."""
    worse, better = fixed_bytes(pairs["rank"]), fixed_bytes(pairs["better"])
    lane = id_words(worse) % np.uint64(MEETING_PLACES)
    meet = (id_words(better) + lane) * _GOLDEN
    order = order_by(meet, words(better))
    firsts = pa.array(
        order[group_starts(meet[order], [word[order] for word in words(better)])[:-1]]
    )
    return pa.concat_tables(
        [
            pa.table(
                [pairs["shard"], pairs["rank"], pairs["better"], pa.array(meet)],
                schema=ASK_SCHEMA,
            ),
            pa.table(
                [
                    pairs["better_shard"].take(firsts),
                    pairs["better"].take(firsts),
                    pa.nulls(len(firsts), RANK),
                    pa.array(meet).take(firsts),
                ],
                schema=ASK_SCHEMA,
            ),
        ]
    )


CHOOSE = ExchangeStage(
    "near_choice", "1", rank_keys, choose, {"claims": CLAIM_SCHEMA, "asks": ASK_SCHEMA}
)
