"""Near copies over shards, second part: the pairs that were chosen are compared exactly.

asks (exchange by shard) -> shingle sets (map over documents) -> those of the better document go
where the other one lies (exchange by shard) -> similarities (map) -> back (exchange by document).
Shingle hashes move, four bytes each; text does not, and it is read once: a set that a round has
made serves the later ones. A set is sent once to each shard, however many ask for it there.
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
from skywright.corpus.dedup.columns import (
    fixed_bytes,
    group_starts,
    numbered,
    order_by,
    read,
    read_where,
)
from skywright.corpus.dedup.proposals import (
    RANK,
    id_words,
    rank_keys,
    ranked_groups,
    read_group,
    shard_number,
)
from skywright.corpus.dedup.shingles import flatten
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

ASK_SCHEMA = pa.schema(
    [("shard", pa.uint32()), ("rank", RANK), ("better", RANK), ("to", pa.uint32())]
)
"""About a document that lies in `shard`: compare it with `better`; or (null) have its shingles
ready for others to be compared with, and send them to the shard `to` if that is another one."""

SET_SCHEMA = pa.schema([("rank", RANK), ("record", pa.string()), ("set", pa.large_binary())])
"""The shingles of a document: sorted uint32, as bytes. (A list of numbers costs Parquet and Arrow
several times as much.)"""

MOVING_SCHEMA = pa.schema([("to", pa.uint32()), ("rank", RANK), ("set", pa.large_binary())])
"""Shingles on their way to another shard."""

FOUND_SCHEMA = pa.schema(
    [("rank", RANK), ("better", RANK), ("similarity", pa.float64()), ("record", pa.string())]
)
"""How like a better document a document is."""

_WORK_SCHEMA = pa.schema([*SET_SCHEMA, MOVING_SCHEMA.field("to")])
_WORK = _WORK_SCHEMA.names


class SetParams(Config):
    """Tokens of a shingle."""

    ngram: int


def asks_of(pairs: pa.Table) -> pa.Table:
    """What has to be done to compare each pair (rank, shard, better, better_shard)."""
    here, there = pairs["shard"], pairs["better_shard"]
    nobody, nowhere = pa.nulls(len(pairs), RANK), pa.nulls(len(pairs), pa.uint32())
    to = pc.if_else(pc.equal(here, there), nowhere, here)
    return pa.concat_tables(
        [
            pa.table([here, pairs["rank"], pairs["better"], nowhere], schema=ASK_SCHEMA),
            pa.table([there, pairs["better"], nobody, to], schema=ASK_SCHEMA),
        ]
    )


def shard_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The number of the shard in which each document lies."""
    return table["shard"].to_numpy().astype(np.uint64)


def routed(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The asks, now with their shard, each once."""
    rank, better = numbered(table["rank"], table["better"])
    to = table["to"].cast(pa.int64()).fill_null(-1).to_numpy()
    order = order_by(rank, better, to)
    starts = group_starts(rank[order], better[order], to[order])[:-1]
    return {"asks": table.take(pa.array(np.sort(order[starts])))}


ROUTE = ExchangeStage("near_asks", "2", shard_keys, routed, {"asks": ASK_SCHEMA})

# ---------------------------------------------------------------- sets


def read_sets(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks, asks, sets of earlier rounds): the shingles of the documents
    that are asked for, one row an ask to send them (`to`) and one for those that are `new`.

    They are made from the text where no earlier round has done so.
    """
    width = cast(SetParams, params).ngram
    documents, _, asked_for, *earlier = joined.paths(shard)
    asks = _asks_of(asked_for, shard)
    sending = asks.filter(pc.is_valid(asks["to"]))
    wanted = pc.unique(asks["rank"])
    yield _WORK_SCHEMA.empty_table()
    for path in earlier:
        there = read(path, columns=["rank"])["rank"]
        wanted = wanted.filter(pc.invert(pc.is_in(wanted, value_set=there.combine_chunks())))
        yield _sent(sending, read_where(path, "rank", sending["rank"].combine_chunks()))
    if not len(wanted):
        return
    with pq.ParquetFile(documents) as file:
        for group, begin, rows, ranks in ranked_groups(shard, ()):
            ours = pc.is_in(ranks, value_set=wanted)
            if not pc.any(ours).as_py():
                continue
            whole = read_group(file, group, ("text",), shard.key, begin)
            names, ranks = rows["record"].filter(ours).combine_chunks(), ranks.filter(ours)
            at = pc.index_in(names, value_set=whole["record"].combine_chunks())
            sets = packed(shingles.half_shingles(whole["text"].take(at), width))
            made = pa.table([ranks, names, sets], schema=SET_SCHEMA)
            yield made.append_column("to", pa.nulls(len(made), pa.uint32())).select(_WORK)
            yield _sent(sending, made)


def read_stored(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (an index's sets, asks): the sets that are to be sent.

    They are sorted by `slot`, so only row groups are read that may hold one.
    """
    stored, asked_for = joined.paths(shard)
    asks = _asks_of(asked_for, shard)
    asked = asks["rank"].combine_chunks()
    wanted = np.sort(id_words(fixed_bytes(asked)))
    yield _WORK_SCHEMA.empty_table()
    with pq.ParquetFile(stored) as file:
        for group in touched_groups(file, "slot", wanted):
            rows = file.read_row_group(group, columns=["rank", "set"])
            rows = rows.filter(pc.is_in(rows["rank"], value_set=asked))
            columns = [rows["rank"], pa.nulls(len(rows), pa.string()), packed(rows["set"])]
            yield _sent(asks, pa.table(columns, schema=SET_SCHEMA))


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


def _asks_of(path: str, shard: Shard) -> pa.Table:
    asks = read(path)
    return asks.filter(pc.equal(asks["shard"], pa.scalar(shard_number(shard.key), pa.uint32())))


def _sent(asks: pa.Table, sets: pa.Table) -> pa.Table:
    """One row an ask to send, for the asks whose documents are among `sets`."""
    place = pc.index_in(asks["rank"].combine_chunks(), value_set=sets["rank"].combine_chunks())
    here = pc.is_valid(place)
    return sets.take(place.filter(here)).append_column("to", asks["to"].filter(here)).select(_WORK)


def packed(sets: pa.Array | pa.ChunkedArray) -> pa.LargeBinaryArray:
    """Lists of uint32 as their bytes."""
    values, offsets = flatten(sets)
    buffers = [None, pa.py_buffer(offsets * 4), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def unpacked(sets: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """What `packed` made, as (values uint32, offsets int64 of n + 1), without a copy."""
    _, offsets, values = sets.buffers()
    ends = np.frombuffer(offsets, np.int64)[sets.offset : sets.offset + len(sets) + 1] // 4
    return np.frombuffer(values or b"", np.uint32, ends[-1] if len(sets) else 0), ends


def sets_of(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows that the reader made: those to keep, and those to send."""
    moves = pc.is_valid(table["to"])
    return {
        "sets": table.filter(pc.invert(moves)).select(SET_SCHEMA.names),
        "moving": table.filter(moves).select(MOVING_SCHEMA.names),
    }


_MADE = {"sets": SET_SCHEMA, "moving": MOVING_SCHEMA}
SETS = MapStage("near_sets", f"2 {shingles.VERSION}", sets_of, _MADE, read_sets, rowwise=False)
STORED = MapStage("near_stored", "2", sets_of, _MADE, read_stored, rowwise=False)


def to_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The number of the shard to which each set goes."""
    return table["to"].to_numpy().astype(np.uint64)


def arrived(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The sets, unchanged: they are now with their shard."""
    return {"moving": table}


MOVE = ExchangeStage("near_moves", "1", to_keys, arrived, {"moving": MOVING_SCHEMA})

# ---------------------------------------------------------------- comparisons


def read_pairs(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (asks, arrived sets, sets of this shard, round by round): pairs and how like each
    other they are.
    """
    asked_for, moved, *rounds = joined.paths(shard)
    asks = _asks_of(asked_for, shard)
    pairs = asks.filter(pc.is_valid(asks["better"])).combine_chunks()
    guests = read(moved)
    number = pa.scalar(shard_number(shard.key), pa.uint32())
    guests = guests.filter(pc.equal(guests["to"], number))
    wanted = pa.chunked_array([*pairs["rank"].chunks, *pairs["better"].chunks], RANK)
    wanted = wanted.combine_chunks()
    sets = [SET_SCHEMA.empty_table(), *(read_where(path, "rank", wanted) for path in rounds)]
    sets.append(guests.drop_columns(["to"]))
    whole = pa.concat_tables(sets, promote_options="default").combine_chunks()
    ranks = whole["rank"].combine_chunks()
    ours, other = (
        pc.index_in(pairs[name].combine_chunks(), value_set=ranks) for name in ("rank", "better")
    )
    there = pc.and_(pc.is_valid(ours), pc.is_valid(other))
    pairs, ours, other = pairs.filter(there), ours.filter(there), other.filter(there)
    values, offsets = unpacked(whole["set"].combine_chunks())
    at, beside = (side.to_numpy().astype(np.int64) for side in (ours, other))
    found = pa.array(rule.similarities(values, offsets, at, beside))
    columns = [pairs["rank"], pairs["better"], found, whole["record"].take(ours)]
    yield pa.table(columns, schema=FOUND_SCHEMA)


def found_of(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows that the reader made."""
    return {"found": table}


COMPARE = MapStage(
    "near_comparisons", "2", found_of, {"found": FOUND_SCHEMA}, read_pairs, rowwise=False
)
FOUND = ExchangeStage("near_similarities", "1", rank_keys, found_of, {"found": FOUND_SCHEMA})
