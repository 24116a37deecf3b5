"""Large files in several shards, cut where records begin.

A pass over each large file, a stage like any other, says where it may be cut; the parts are then
read side by side. A record is called the same, and read the same, however its file was cut:
the cuts are places that reading the whole file passes through.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

import pyarrow as pa

from skywright.config import Config
from skywright.corpus.sources import storage
from skywright.corpus.sources.files import PAGES
from skywright.corpus.sources.frames import BZIP2, PLAIN, XZ, next_frame, packing_of
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.parquet import open_parquet
from skywright.corpus.sources.warc import frame_starts, record_starts
from skywright.engine.runner import Runner
from skywright.engine.stage import MapStage, Shard, Tables

_READ_BYTES = 1 << 20


class SplitParams(Config):
    """What the cuts depend on."""

    split_bytes: int
    max_record_bytes: int


CUT_SCHEMA = pa.schema([("start", pa.int64()), ("first", pa.int64())])
"""`start` is where a part begins: an offset, a row group, or the number of a page of a folder;
`first` is the number of its first line."""


def cuts(shard: Shard, params: SplitParams) -> list[tuple[int, int]]:
    """Where a source shard may be cut into parts of about `split_bytes`: (start, first line)."""
    kind, target = shard.meta["kind"], params.split_bytes
    if kind in PAGES:
        folder, *names = shard.path.split("\n")
        if storage.is_remote(folder):
            return [(0, 1)]
        sizes = (os.path.getsize(f"{folder}/{name}") for name in names)
        return [(i, 1) for i in _thin(_running(sizes), target)]
    if kind == "parquet":
        with storage.open_file(shard.path) as file, open_parquet(file, shard.path) as table:
            groups = (table.metadata.row_group(i) for i in range(table.num_row_groups))
            packed = [sum(g.column(i).total_compressed_size for i in range(g.num_columns))
                      for g in groups]  # fmt: skip
        return [(i, 1) for i in _thin(_running(packed), target)]
    with storage.open_input(shard.path) as source:
        packing = packing_of(source, shard.key)
        if kind == "jsonl":
            return list(_line_cuts(source, target)) if packing is PLAIN else [(0, 1)]
        if kind == "mediawiki" and packing is PLAIN:
            return [(at, 1) for at in range(0, shard.bytes, target)]
        if kind == "mediawiki" and packing in (BZIP2, XZ):
            # A stream of these begins with bytes that do not occur by chance, and unpacking one
            # takes a hundred times as long as looking for them.
            starts = (next_frame(source, packing, at) for at in range(target, shard.bytes, target))
            return [(at, 1) for at in sorted({0, *(at for at in starts if at is not None)})]
        found = (
            record_starts(source, params.max_record_bytes) if packing is PLAIN
            else frame_starts(source, packing)
        )  # fmt: skip
        return [(at, 1) for _, at in _spaced(((at, at) for at in found), target)]


def _running(sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(bytes before item i, i)."""
    total = 0
    for number, size in enumerate(sizes):
        yield total, number
        total += size


def _spaced(places: Iterable[tuple[int, int]], target: int) -> Iterator[tuple[int, int]]:
    """The first place, and of the others the first in every stretch of `target` bytes."""
    stretch = -1
    for at, place in places:
        if stretch < 0 or at // target > stretch:
            stretch = at // target
            yield at, place if stretch else 0


def _thin(places: Iterable[tuple[int, int]], target: int) -> list[int]:
    return [place for _, place in _spaced(places, target)] or [0]


def _line_cuts(source: Input, target: int) -> Iterator[tuple[int, int]]:
    at, line, wanted = 0, 1, target
    yield 0, 1
    while piece := source.some(at, _READ_BYTES):
        begun = 0
        while at + len(piece) >= wanted and at + begun < wanted + len(piece):
            found = piece.find(b"\n", max(wanted - 1 - at, begun))
            if found < 0:
                break
            line += piece.count(b"\n", begun, found + 1)
            begun = found + 1
            wanted = max(wanted + target, at + begun + 1)
            yield at + begun, line
        line += piece.count(b"\n", begun)
        at += len(piece)


def read_cuts(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the cuts of a source shard."""
    found = cuts(shard, cast(SplitParams, params))
    yield pa.table([pa.array(column, pa.int64()) for column in zip(*found, strict=True)],
                   schema=CUT_SCHEMA)  # fmt: skip


def as_they_are(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The cuts are made by the reader."""
    return {"cuts": table}


SPLIT = MapStage("split", "1", as_they_are, {"cuts": CUT_SCHEMA}, read_cuts, rowwise=False)


def split(
    sources: list[Shard], split_bytes: int | None, max_record_bytes: int, runner: Runner
) -> list[Shard]:
    """The source shards, those above `split_bytes` in parts: "<key>@<start>"."""
    large = [shard for shard in sources if split_bytes and shard.bytes > split_bytes]
    if not large or not split_bytes:
        return sources
    params = SplitParams(split_bytes=split_bytes, max_record_bytes=max_record_bytes)
    made = runner.map(SPLIT, large, params)
    parts = {
        shard.key: _parts(shard, made_by.to_pylist())
        for shard, made_by in zip(large, map(_read, made.shards("cuts")), strict=True)
    }
    return [part for shard in sources for part in parts.get(shard.key, [shard])]


def _read(shard: Shard) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(shard.path)


def _parts(shard: Shard, found: list[dict[str, int]]) -> list[Shard]:
    if len(found) == 1:
        return [shard]
    ends = [str(cut["start"]) for cut in found[1:]] + [""]
    return [
        replace(
            shard,
            key=f"{shard.key}@{cut['start']}",
            meta={
                **shard.meta, "name": shard.key, "start": str(cut["start"]), "end": end,
                "first": str(cut["first"]),
            },
        )
        for cut, end in zip(found, ends, strict=True)
    ]  # fmt: skip
