"""Long runs of tokens that stand in several places: all copies but the best are cut.

RefinedWeb cuts every span of 50 tokens and more that stands elsewhere (arXiv 2306.01116, section
3.3), found by a suffix array (arXiv 2107.06499). Here every window of `min_tokens` mixed tokens
keeps its best copy: that of the best document, and there the first. The other copies are repeated,
and a token that is in a repeated window is covered. No order and no cut into files has a say in
that, and of every token that is covered a copy stands in a better place, with the same tokens
around it; the best of them is covered by nothing.

How the windows meet (`stretches.py` tells of anchors and stretches):

* anchors (map): one row a stretch, 13 bytes: a stretch in a dozen tokens;
* those that stand in two places (exchange by anchor) go back to their shard (exchange by shard);
* windows (map): the text is read again, and of stretches whose anchor is shared the hashes of their
  windows move, eight bytes a token, to
* their anchor (exchange), where each window is found to be the best of its kind or a repeated one.
  Rows are sorted, never paired: what stands in a million documents costs a million rows;
* spans of tokens go to their shard and are cut at line ends (`cuts.py`).

A window is known by its 64-bit hash and that of its anchor. m windows under one anchor confuse two
with a chance of about m^2 / 2^65: a million of them once in 37 million such anchors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from skywright.config import Config
from skywright.corpus import joined, kernels
from skywright.corpus.dedup.columns import fixed_bytes, fixed_column, group_starts, order_by, words
from skywright.corpus.dedup.comparisons import shard_keys
from skywright.corpus.dedup.config import SubstringsConfig
from skywright.corpus.dedup.cuts import FOUND_SCHEMA, CutParams, make_cuts
from skywright.corpus.dedup.near import beside_their_shard
from skywright.corpus.dedup.proposals import RANK, ranked_groups, shard_number
from skywright.corpus.dedup.shingles import flatten
from skywright.corpus.dedup.stretches import Stretches, repeats, stretches, windows
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

VERSION = f"substrings/v1 {kernels.TOKENS_VERSION}"
STEP = "substring_duplicates"
REPEATED = "repeated_substring"

ANCHOR_SHARE = 0.4
"""Tokens of an anchor, as a share of `min_tokens`."""

ANCHOR_SCHEMA = pa.schema([("anchor", pa.uint64()), ("shard", pa.uint32()), ("times", pa.uint8())])
"""A stretch: its anchor, the shard that it lies in, and 2 where the anchor stands twice in it."""

SHARED_SCHEMA = pa.schema([("anchor", pa.uint64()), ("shard", pa.uint32())])
"""An anchor that stands in two places or more, and a shard that has it."""

WINDOW_SCHEMA = pa.schema(
    [
        ("anchor", pa.uint64()),
        ("rank", RANK),
        ("shard", pa.uint32()),
        ("first", pa.int32()),
        ("windows", pa.large_list(pa.uint64())),
    ]
)
"""A stretch of a document, with the hashes of its windows; the first begins at token `first`."""


class SubstringParams(SubstringsConfig):
    """`scopes` maps each source to the group within which copies are sought (none: one group)."""

    scopes: dict[str, str] = {}

    @property
    def anchor_tokens(self) -> int:
        """Tokens of an anchor."""
        return max(1, round(self.min_tokens * ANCHOR_SHARE))


# ---------------------------------------------------------------- anchors


def _stretched(
    rows: pa.Table, params: SubstringParams
) -> Iterator[tuple[np.ndarray, np.ndarray, int, Stretches]]:
    """Chunk by chunk of rows with `source` and `text`: token hashes, their offsets, the number of
    the first document, the stretches.
    """
    salts = {name: xxhash.xxh3_64_intdigest(s.encode()) for name, s in params.scopes.items()}
    sources = rows["source"].to_pylist() if salts else []
    begin = 0
    for hashes, offsets in kernels.token_hashes(rows["text"]):
        found = stretches(hashes, offsets, params.min_tokens, params.anchor_tokens)
        if salts:
            here = [salts[source] for source in sources[begin : begin + len(offsets) - 1]]
            found.anchors[:] ^= np.array(here, np.uint64)[found.documents]
        yield hashes, offsets, begin, found
        begin += len(offsets) - 1


def read_texts(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks): the ranked documents with `shard`."""
    for _, _, rows, _ in ranked_groups(shard, ("source", "text")):
        number = pa.repeat(pa.scalar(shard_number(shard.key), pa.uint32()), rows.num_rows)
        yield rows.append_column("shard", number)


def anchors_of(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """One row a stretch."""
    shards = batch["shard"].to_numpy()
    parts = [ANCHOR_SCHEMA.empty_table()]
    for _, _, begin, found in _stretched(batch, cast(SubstringParams, params)):
        columns = [found.anchors, shards[begin + found.documents], found.twice.astype(np.uint8) + 1]
        parts.append(pa.table([pa.array(c) for c in columns], schema=ANCHOR_SCHEMA))
    return {"anchors": pa.concat_tables(parts)}


ANCHORS = MapStage(
    "substring_anchors", VERSION, anchors_of, {"anchors": ANCHOR_SCHEMA}, read_texts,
    batch_rows=1024, libraries=("xxhash",),
)  # fmt: skip


def anchor_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The anchors."""
    return table["anchor"].to_numpy()


def shared_anchors(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The anchors that stand in two places or more, once a shard."""
    anchors, shards = table["anchor"].to_numpy(), table["shard"].to_numpy()
    order = order_by(anchors, shards)
    anchors, shards = anchors[order], shards[order]
    starts = group_starts(anchors)
    times = table["times"].to_numpy()[order].astype(np.int64)
    sums = np.add.reduceat(times, starts[:-1]) if len(order) else times
    shared = np.repeat(sums > 1, np.diff(starts))
    shared[1:] &= (anchors[1:] != anchors[:-1]) | (shards[1:] != shards[:-1])
    columns = [pa.array(anchors[shared]), pa.array(shards[shared])]
    return {"shared": pa.table(columns, schema=SHARED_SCHEMA)}


SHARED = ExchangeStage(
    "substring_shared", "1", anchor_keys, shared_anchors, {"shared": SHARED_SCHEMA}
)


def pass_on(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The shared anchors, unchanged: they are now with their shard."""
    return {"shared": table}


ASKS = ExchangeStage("substring_asks", "1", shard_keys, pass_on, {"shared": SHARED_SCHEMA})

# ---------------------------------------------------------------- windows


def read_windows(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks, shared anchors): the stretches whose anchor is shared.

    They are numbered, so that they pass in batches and are never held together.
    """
    params = cast(SubstringParams, params)
    here = shard_number(shard.key)
    asked = pq.read_table(joined.paths(shard)[-1], filters=[("shard", "=", here)])
    shared = np.sort(asked["anchor"].to_numpy())
    number = 0
    for _, _, rows, ranks in ranked_groups(shard, ("source", "text")) if len(shared) else ():
        for table in shared_windows(rows, fixed_bytes(ranks), shared, here, params):
            names = [str(i) for i in range(number, number + table.num_rows)]
            yield table.add_column(0, "record", pa.array(names, pa.string()))
            number += table.num_rows


def shared_windows(
    rows: pa.Table, ranks: np.ndarray, shared: np.ndarray, shard: int, params: SubstringParams
) -> Iterator[pa.Table]:
    """Tables of WINDOW_SCHEMA of the stretches whose anchor is among `shared` (uint64, sorted, not
    empty), of rows with `source` and `text`; ranks uint8 (rows, 36).
    """
    for hashes, offsets, begin, found in _stretched(rows, params):
        at = np.minimum(np.searchsorted(shared, found.anchors), len(shared) - 1)
        there = shared[at] == found.anchors
        found = Stretches(*(column[there] for column in found))
        values = windows(hashes, offsets, found, params.min_tokens)
        ends = np.concatenate([[0], np.cumsum(found.counts, dtype=np.int64)])
        columns = [
            pa.array(found.anchors),
            fixed_column(ranks[begin + found.documents]),
            pa.repeat(pa.scalar(shard, pa.uint32()), len(found.anchors)),
            pa.array(found.firsts),
            pa.LargeListArray.from_arrays(pa.array(ends), pa.array(values)),
        ]
        yield pa.table(columns, schema=WINDOW_SCHEMA)


def windows_of(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows that the reader made."""
    return {"windows": table.select(WINDOW_SCHEMA.names)}


WINDOWS = MapStage(
    "substring_windows", VERSION, windows_of, {"windows": WINDOW_SCHEMA}, read_windows,
    batch_rows=4096, libraries=("xxhash",),
)  # fmt: skip


def repeated(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The spans of tokens that are covered by the repeated windows of a stretch."""
    size = cast(SubstringParams, params).min_tokens
    anchors, firsts = table["anchor"].to_numpy(), table["first"].to_numpy()
    order = order_by(anchors, words(fixed_bytes(table["rank"])), firsts)
    values, offsets = flatten(table["windows"].combine_chunks().take(pa.array(order)))
    starts = offsets[group_starts(anchors[order])]
    again = np.concatenate([[False], repeats(values, starts), [False]])
    row = np.repeat(np.arange(len(order)), np.diff(offsets))
    # A span is a row of repeated windows of one stretch.
    apart = np.concatenate([[True], row[1:] != row[:-1], [True]]) if len(row) else again[1:]
    begins = np.flatnonzero(again[1:-1] & (apart[:-1] | ~again[:-2]))
    lasts = np.flatnonzero(again[1:-1] & (apart[1:] | ~again[2:]))
    which = row[begins]
    rows = table.select(["shard", "rank"]).take(pa.array(order[which]))
    base = firsts[order[which]] - offsets[which]
    columns = [
        pa.array(base + begins, pa.int32()),
        pa.array(base + lasts + size, pa.int32()),
        pa.repeat(pa.scalar(REPEATED), len(which)),
    ]
    return {"found": pa.table([rows["shard"], rows["rank"], *columns], schema=FOUND_SCHEMA)}


COMPARE = ExchangeStage("substring_repeats", "1", anchor_keys, repeated, {"found": FOUND_SCHEMA})


def substring_edits(
    runner: Runner,
    documents: Sequence[Shard],
    params: SubstringParams,
    partitions: int,
    min_chars: int,
) -> dict[str, Output]:
    """Cut the repeated substrings out of the documents of joined shards (documents; ranks). The
    output "substring_edits" is that of `cuts.make_cuts`.
    """
    anchored = runner.map(ANCHORS, documents, params)
    shared = runner.exchange(SHARED, anchored.shards("anchors"), params, partitions)
    asks = runner.exchange(ASKS, shared.shards("shared"), params, partitions)
    moved = runner.map(WINDOWS, beside_their_shard(documents, asks.shards("shared")), params)
    compared = runner.exchange(COMPARE, moved.shards("windows"), params, partitions)
    cutting = CutParams(step=STEP, in_tokens=True, min_chars=min_chars)
    made = make_cuts(runner, documents, compared.shards("found"), cutting, partitions, "substring")
    return {
        "substring_anchors": anchored,
        "substring_shared": shared,
        "substring_asks": asks,
        "substring_windows": moved,
        "substring_repeats": compared,
        **made,
    }
