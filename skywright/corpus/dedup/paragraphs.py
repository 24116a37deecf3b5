"""Lines that stand in many documents: all copies but the best are cut, or all of them.

CCNet (arXiv 1911.00359, section 3.1) cuts every paragraph (a line of its extracted text) that
stands in a group of shards already. Here lines are counted over all documents, through an exchange,
and two things are told apart:

* a line with more than `max_copies` copies keeps its best one: that of the best document;
* a line that stands on more than `max_hosts` hosts is no text of any of them (a notice, a licence,
  a menu): no copy is kept. This is Skywork's distribution filtering, by hashes of normalised lines
  instead of semantic affinity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from skywright.config import Config
from skywright.corpus import fold, kernels
from skywright.corpus.dedup.columns import fixed_bytes, fixed_column, group_starts, order_by, words
from skywright.corpus.dedup.config import LinesConfig
from skywright.corpus.dedup.cuts import FOUND_SCHEMA, CutParams, make_cuts
from skywright.corpus.dedup.proposals import RANK, ranked_groups, shard_number
from skywright.corpus.urls.hosts import host_of
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

VERSION = f"lines/v2 {fold.VERSION}"
STEP = "line_duplicates"
REPEATED, WIDESPREAD = "repeated_line", "widespread_line"

LINE_SCHEMA = pa.schema(
    [
        ("hash", pa.uint64()),
        ("rank", RANK),
        ("host", pa.uint64()),
        ("shard", pa.uint32()),
        ("start", pa.int32()),
        ("end", pa.int32()),
    ]
)
"""A line: from its first character to the one behind its break."""


class LineParams(LinesConfig):
    """`scopes` maps each source to the group within which copies are counted (none: one group)."""

    scopes: dict[str, str] = {}


def read_hosted(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks): the ranked documents with `rank` and `shard`."""
    for _, _, rows, ranks in ranked_groups(shard, ("url", "source", "text")):
        number = pa.repeat(pa.scalar(shard_number(shard.key), pa.uint32()), rows.num_rows)
        yield rows.append_column("rank", ranks).append_column("shard", number)


def lines_of(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """One row a line."""
    params = cast(LineParams, params)
    found = kernels.lines(batch["text"])
    counts = np.diff(found.offsets)
    document = np.repeat(np.arange(batch.num_rows), counts)
    sizes = pc.utf8_length(batch["text"]).to_numpy()
    ends = np.minimum(found.ends + 1, sizes[document])
    hashes = found.hashes.copy()
    if params.scopes:
        scopes = [params.scopes[source] for source in batch["source"].to_pylist()]
        salts = np.array([xxhash.xxh3_64_intdigest(s.encode()) for s in scopes], np.uint64)
        hashes ^= salts[document]
    hosts = [host_of(url or "") for url in batch["url"].to_pylist()]
    hosted = np.array([xxhash.xxh3_64_intdigest(host.encode()) for host in hosts], np.uint64)
    there = found.letters >= params.min_letters
    document = document[there]
    return {
        "lines": pa.table(
            [
                pa.array(hashes[there]),
                fixed_column(fixed_bytes(batch["rank"])[document]),
                pa.array(hosted[document]),
                batch["shard"].combine_chunks().take(pa.array(document)),
                pa.array(found.starts[there], pa.int32()),
                pa.array(ends[there], pa.int32()),
            ],
            schema=LINE_SCHEMA,
        )
    }


LINES = MapStage(
    "lines", f"1 {VERSION}", lines_of, {"lines": LINE_SCHEMA}, read_hosted, libraries=("xxhash",)
)


def line_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The hashes of the lines."""
    return table["hash"].to_numpy()


def count_lines(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The lines that go."""
    params = cast(LineParams, params)
    hashes = table["hash"].to_numpy()
    order = order_by(hashes, words(fixed_bytes(table["rank"])), table["start"].to_numpy())
    starts = group_starts(hashes[order])
    copies = np.repeat(np.diff(starts), np.diff(starts))
    first = np.zeros(len(order), bool)
    first[starts[:-1]] = True
    wide = np.zeros(len(order), bool)
    if params.max_hosts is not None:
        by_host = order_by(hashes, table["host"].to_numpy())
        new = np.zeros(len(order), np.int64)
        new[group_starts(hashes[by_host], table["host"].to_numpy()[by_host])[:-1]] = 1
        hosts = np.add.reduceat(new, starts[:-1]) if len(order) else new
        wide = np.repeat(hosts > params.max_hosts, np.diff(starts))
    often = ~first & (copies > params.max_copies) if params.max_copies is not None else wide
    goes = wide | often
    rules = np.where(wide[goes], WIDESPREAD, REPEATED)
    cut = table.take(pa.array(order[goes])).append_column("rule", pa.array(rules, pa.string()))
    return {"found": cut.select(FOUND_SCHEMA.names)}


COUNT = ExchangeStage("line_counts", "2", line_keys, count_lines, {"found": FOUND_SCHEMA})


def line_edits(
    runner: Runner, documents: Sequence[Shard], params: LineParams, partitions: int, min_chars: int
) -> dict[str, Output]:
    """Cut the lines that go out of the documents of joined shards (documents; ranks). The output
    "line_edits" is that of `cuts.make_cuts`.
    """
    lined = runner.map(LINES, documents, params)
    counted = runner.exchange(COUNT, lined.shards("lines"), params, partitions)
    cutting = CutParams(step=STEP, in_tokens=False, min_chars=min_chars)
    made = make_cuts(runner, documents, counted.shards("found"), cutting, partitions, "line")
    return {"lines": lined, "line_counts": counted, **made}
