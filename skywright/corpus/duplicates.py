"""The steps that find copies among the documents that stay: exact, then near and verified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.config import DuplicatesConfig
from skywright.corpus.dedup import minhash, shingles, verify
from skywright.corpus.measure import KEPT_SCHEMA
from skywright.corpus.pages import read_whole
from skywright.corpus.schemas import DROP_SCHEMA, ID, drop, drop_table
from skywright.engine.stage import ExchangeStage, GatherStage, MapStage, Shard, Tables

# ---------------------------------------------------------------- exact copies


def content_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The first 8 bytes of the content hash."""
    return np.array(
        [int.from_bytes(value[:8], "little") for value in table["content_hash"].to_pylist()],
        dtype=np.uint64,
    )


def exact_copies(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Of documents with one content hash the best stays."""
    rows = table.select(["content_hash", "rank", "record", "id"]).to_pylist()
    rows.sort(key=lambda row: (row["content_hash"], row["rank"], row["record"]))
    dropped = []
    best = None
    for row in rows:
        if best is None or row["content_hash"] != best["content_hash"]:
            best = row
        else:
            dropped.append(
                drop(row["record"], "exact_duplicates", "exact_copy", kept_id=best["id"],
                     similarity=1.0)
            )  # fmt: skip
    return {"dropped": drop_table(sorted(dropped, key=lambda row: row["record"]))}


EXACT = ExchangeStage("exact_duplicates", "1", content_keys, exact_copies, {"dropped": DROP_SCHEMA})


def without_copies(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The kept documents of a shard less its exact copies."""
    gone = pc.is_in(table["record"], value_set=side["dropped"]["record"].combine_chunks())
    return {"unique": table.filter(pc.invert(gone))}


UNIQUE = MapStage(
    "unique", "1", without_copies, {"unique": KEPT_SCHEMA}, read_whole, rowwise=False,
    narrow="record",
)  # fmt: skip

# ---------------------------------------------------------------- near copies: proposals

BAND_SCHEMA = pa.schema([("id", ID), ("rank", pa.binary()), ("key", pa.uint64())])
PAIR_SCHEMA = pa.schema([("better", ID), ("worse", ID)])
MEMBER_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("rank", pa.binary()),
        ("shingles", pa.large_list(pa.uint64())),
    ]
)


def read_unique(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the documents of a shard that are unique, with their rank."""
    documents, table = joined.paths(shard)
    unique = pq.read_table(table)
    names = unique["record"].combine_chunks()
    with pq.ParquetFile(documents) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            at = pc.index_in(rows["record"], value_set=names)
            stay = pc.is_valid(at)
            yield rows.filter(stay).append_column(
                "rank", unique["rank"].take(at.filter(stay).combine_chunks())
            )


def bands_of(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """One row a document and band: documents that share a key may be alike."""
    params = cast(DuplicatesConfig, params)
    sets = shingles.shingles(batch["text"], params.ngram)
    hashes = minhash.band_hashes(sets, params.bands, params.rows, params.seed)
    rows = pa.array(np.repeat(np.arange(len(hashes)), params.bands))
    keys = hashes.reshape(-1)
    table = batch.select(["id", "rank"]).take(rows).append_column("key", pa.array(keys))
    return {"bands": table.filter(pa.array(keys != minhash.NO_SHINGLES))}


MINHASH = MapStage(
    "minhash", f"1 {minhash.VERSION} {shingles.VERSION}", bands_of, {"bands": BAND_SCHEMA},
    read_unique,
)  # fmt: skip


def band_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The band hashes."""
    return table["key"].to_numpy()


def propose(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Pairs of documents that share a band.

    In a bucket, sorted best first, each document is paired with the first `neighbours` of it. A
    bucket of n then gives at most n * neighbours pairs, so that a page that stands in a crawl a
    million times does not give 10^12.
    """
    neighbours = cast(DuplicatesConfig, params).neighbours
    buckets: dict[int, list[tuple[bytes, bytes]]] = {}
    columns = (table[name].to_pylist() for name in ("key", "rank", "id"))
    for key, rank, identity in zip(*columns, strict=True):
        buckets.setdefault(key, []).append((rank, identity))
    pairs = set()
    for bucket in buckets.values():
        bucket.sort()
        for place in range(1, len(bucket)):
            for better in range(min(place, neighbours)):
                pairs.add((bucket[better][1], bucket[place][1]))
    found = sorted(pairs)
    return {
        "pairs": pa.table(
            [pa.array([p[0] for p in found], ID), pa.array([p[1] for p in found], ID)],
            schema=PAIR_SCHEMA,
        )
    }


PAIRS = ExchangeStage("pairs", "1", band_keys, propose, {"pairs": PAIR_SCHEMA})

# ---------------------------------------------------------------- near copies: verification


def members_of(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """Shingle sets of the documents that stand in a proposed pair."""
    pairs = side["pairs"]
    named = pa.concat_arrays(
        [pairs["better"].combine_chunks(), pairs["worse"].combine_chunks()]
    )  # fmt: skip
    batch = batch.filter(pc.is_in(batch["id"], value_set=named))
    sets = shingles.shingles(batch["text"], cast(DuplicatesConfig, params).ngram)
    return {"members": batch.select(["record", "id", "rank"]).append_column("shingles", sets)}


MEMBERS = MapStage(
    "members", f"1 {shingles.VERSION}", members_of, {"members": MEMBER_SCHEMA}, read_unique
)

REMOVAL_SCHEMA = pa.schema([*DROP_SCHEMA, ("cluster_size", pa.int64())])


def remove(tables: Tables, params: Config) -> Tables:
    """Documents that go because a document that stays is truly alike (Jaccard >= threshold)."""
    params = cast(DuplicatesConfig, params)
    members = tables["members"].combine_chunks()
    ids = members["id"].combine_chunks()
    pairs = np.stack(
        [pc.index_in(tables["pairs"][side], value_set=ids).to_numpy() for side in PAIR_SCHEMA.names]
    ).T
    order = np.argsort(np.array(members["rank"].to_pylist(), dtype=object), kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    removals = verify.verified_removals(
        pairs, members["shingles"], ranks, params.jaccard
    ).to_pylist()
    identities, records = ids.to_pylist(), members["record"].to_pylist()
    dropped = [
        {
            **drop(records[row["dropped"]], "near_duplicates", "near_copy"),
            "value": row["similarity"],
            "threshold": params.jaccard,
            "kept_id": identities[row["kept"]],
            "similarity": row["similarity"],
            "cluster_size": row["size"],
        }
        for row in removals
    ]
    dropped.sort(key=lambda row: row["record"])
    return {"dropped": pa.Table.from_pylist(dropped, schema=REMOVAL_SCHEMA)}


VERIFY = GatherStage("near_duplicates", "1", remove, {"dropped": REMOVAL_SCHEMA})
