"""Near copies over shards, first part: from texts to pairs that may be alike.

signatures (map) -> buckets of two and more (exchange by band) -> the nearest kept documents before
each, bucket by bucket (map). The rule is told in `rule.py`; what the tables hold stands with their
schemas.
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
    numbered,
    order_by,
    read,
    read_where,
)
from skywright.engine.stage import ExchangeStage, GatherStage, MapStage, Shard, Tables

RANK = pa.binary(RANK_BYTES)

BAND_SCHEMA = pa.schema(
    [
        ("key", pa.uint64()),
        ("rank", RANK),
        ("sketch", pa.binary(minhash.SKETCH_BITS // 8)),
        ("shard", pa.uint32()),
    ]
)
"""A document in a bucket."""

NOTICE_SCHEMA = pa.schema([("key", pa.uint64()), ("rank", RANK), ("gone", pa.bool_())])
"""News for a bucket: that document is not kept any more, as far as is known, or is again."""

OFFER_SCHEMA = pa.schema(
    [
        ("rank", RANK),
        ("shard", pa.uint32()),
        ("key", pa.uint64()),
        ("better", RANK),
        ("better_shard", pa.uint32()),
        ("mismatches", pa.uint8()),
    ]
)
"""What a bucket (`key`) says of a document: one or two better ones that may be like it, and in how
many bits their sketches differ; one row without a better one where there is none. Later rows of the
same document and bucket take the place of earlier ones."""


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
    table = read(ranked, columns=["record", "rank"])
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
    numbers = pa.array(np.arange(begin, begin + rows.num_rows)).cast(pa.string())
    names = pc.binary_join_element_wise(pa.scalar(key), numbers, ":")
    return rows.select(columns).add_column(0, "record", names)


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
            ],
            schema=BAND_SCHEMA,
        )
    }


MINHASH = MapStage(
    "minhash", f"3 {minhash.VERSION}", bands_of, {"bands": BAND_SCHEMA}, read_ranked,
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


BUCKETS = ExchangeStage("near_buckets", "2", band_keys, shared_buckets, {"bands": BAND_SCHEMA})

# ---------------------------------------------------------------- proposals


def read_whole(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of one table, which may be empty."""
    yield read(shard.path)


def propose(table: pa.Table, params: Config, side: Tables) -> Tables:
    """For every document of a bucket the two nearest documents before it, all being kept."""
    params = cast(ProposalParams, params)
    table = table.take(pa.array(order_by(table["key"].to_numpy(), *numbered(table["rank"]))))
    asked = _asked(table, params)
    gone = np.zeros(table.num_rows, bool)
    return {"offers": _offers(table, np.flatnonzero(asked), *_nearest(table, gone, params))}


PROPOSE = MapStage(
    "near_proposals", "2", propose, {"offers": OFFER_SCHEMA}, read_whole, rowwise=False
)


def read_noticed(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (buckets, notices of each round): the buckets of which the last round has news,
    with `was_gone` before it and `gone` now.
    """
    buckets, *rounds = joined.paths(shard)
    notices = [read(path) for path in rounds]
    table = read_where(buckets, "key", pc.unique(notices[-1]["key"])).combine_chunks()
    places = _places(table)
    gone = np.zeros(table.num_rows, bool)
    was_gone = gone
    for notice in notices:
        was_gone = gone.copy()
        at = pc.index_in(_places(notice), value_set=places)
        news = notice["gone"].combine_chunks().filter(pc.is_valid(at))
        gone[at.drop_null().to_numpy()] = news.to_numpy(zero_copy_only=False)
    yield table.append_column("was_gone", pa.array(was_gone)).append_column("gone", pa.array(gone))


def _places(table: pa.Table) -> pa.FixedSizeBinaryArray:
    keys = table["key"].to_numpy().view(np.uint8).reshape(-1, 8)
    return fixed_column(np.concatenate([keys, fixed_bytes(table["rank"])], axis=1))


def propose_again(table: pa.Table, params: Config, side: Tables) -> Tables:
    """What `propose` says with the documents that stay now, where that has changed."""
    params = cast(ProposalParams, params)
    table = table.take(pa.array(order_by(table["key"].to_numpy(), *numbered(table["rank"]))))
    was_gone, gone = (table[name].to_numpy() for name in ("was_gone", "gone"))
    before, _ = _nearest(table, was_gone, params)
    found, apart = _nearest(table, gone, params)
    changed = _asked(table, params) & (before != found).any(axis=1)
    return {"offers": _offers(table, np.flatnonzero(changed), found, apart)}


PROPOSE_AGAIN = MapStage(
    "near_proposals_again", "1", propose_again, {"offers": OFFER_SCHEMA}, read_noticed,
    rowwise=False,
)  # fmt: skip


def _asked(table: pa.Table, params: ProposalParams) -> np.ndarray:
    return best.generations(fixed_bytes(table["rank"])) >= params.generation


def _nearest(
    table: pa.Table, gone: np.ndarray, params: ProposalParams
) -> tuple[np.ndarray, np.ndarray]:
    asked = _asked(table, params)
    alive = ~gone if params.within else ~asked
    sketch = fixed_bytes(table["sketch"]).copy().view(np.uint64).reshape(-1, 2)
    starts = group_starts(table["key"].to_numpy())
    return rule.nearest(starts, alive, asked, sketch, params.neighbours, params.mismatches)


def _offers(table: pa.Table, rows: np.ndarray, found: np.ndarray, apart: np.ndarray) -> pa.Table:
    second = rows[found[rows, 1] >= 0]
    better = np.concatenate([found[rows, 0], found[second, 1]])
    bits = np.concatenate([apart[rows, 0], apart[second, 1]])
    whose = pa.array(np.concatenate([rows, second]))
    nothing = better < 0
    which = pa.array(better, mask=nothing)
    ranks, shards = table["rank"].combine_chunks(), table["shard"].combine_chunks()
    keys = table["key"].combine_chunks()
    mismatches = pa.array(np.where(nothing, 0, bits), pa.uint8(), mask=nothing)
    return pa.table(
        [ranks.take(whose), shards.take(whose), keys.take(whose),
         ranks.take(which), shards.take(which), mismatches],
        schema=OFFER_SCHEMA,
    )  # fmt: skip


# ---------------------------------------------------------------- by document


def rank_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The first 8 bytes of each document's id."""
    return id_words(fixed_bytes(table["rank"]))


def id_words(ranks: np.ndarray) -> np.ndarray:
    """The first 8 bytes of the ids in uint8 (rows, 36) ranks, as uint64."""
    return np.ascontiguousarray(ranks[:, ID_AT : ID_AT + 8]).view(np.uint64).ravel()


def offers_met(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The offers, unchanged: all of a document are now together."""
    return {"offers": table}


OFFERS = ExchangeStage("near_offers", "1", rank_keys, offers_met, {"offers": OFFER_SCHEMA})


def together(tables: Tables, params: Config) -> Tables:
    """What an exchange would bring to its partitions, in one table for all of them."""
    return tables


def small(stage: ExchangeStage) -> GatherStage:
    """The stage to run in place of an exchange that only passes rows on, where they are few."""
    return GatherStage(f"{stage.name}_together", stage.version, together, stage.outputs)
