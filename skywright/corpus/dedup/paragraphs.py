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

from collections.abc import Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from pydantic import Field

from skywright.config import Config
from skywright.corpus import fold, joined, kernels
from skywright.corpus.dedup.columns import fixed_bytes, fixed_column, group_starts, order_by, words
from skywright.corpus.dedup.near import beside_their_shard
from skywright.corpus.dedup.proposals import RANK, ranked_groups, read_group, shard_number
from skywright.corpus.dedup.verdicts import shard_keys
from skywright.corpus.schemas import ID
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

VERSION = f"lines/v1 {fold.VERSION}"
STEP = "line_duplicates"
REPEATED, WIDESPREAD = "repeated_line", "widespread_line"

EDIT_SCHEMA = pa.schema(
    [
        ("id", ID),
        ("step", pa.string()),
        ("rule", pa.string()),
        ("chars_removed", pa.int64()),
        ("spans", pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))),
    ]
)
"""Cuts into a text. Spans are in characters of the text before the cut, sorted, apart."""

LINE_SCHEMA = pa.schema(
    [
        ("hash", pa.uint64()),
        ("rank", RANK),
        ("host", pa.uint64()),
        ("shard", pa.uint32()),
        ("line", pa.int32()),
    ]
)
CUT_SCHEMA = pa.schema(
    [("shard", pa.uint32()), ("rank", RANK), ("line", pa.int32()), ("rule", pa.string())]
)
"""A line (counted among those of its document that are not blank) that goes."""


class LinesConfig(Config):
    """Lines of fewer than `min_letters` letters and digits are let be. Null switches a rule off.

    `scopes` as in `DuplicatesConfig`: copies are counted within a snapshot, or in all.
    """

    min_letters: int = Field(default=10, ge=1)
    max_copies: int | None = Field(default=1, ge=1)
    max_hosts: int | None = Field(default=None, ge=1)
    scopes: dict[str, str] = {}


# ---------------------------------------------------------------- counting


def read_hosted(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks): the ranked documents with `rank` and `shard`."""
    for _, _, rows, ranks in ranked_groups(shard, ("url", "source", "text")):
        number = pa.repeat(pa.scalar(shard_number(shard.key), pa.uint32()), rows.num_rows)
        yield rows.append_column("rank", ranks).append_column("shard", number)


def lines_of(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """One row a line."""
    params = cast(LinesConfig, params)
    found = kernels.lines(batch["text"])
    counts = np.diff(found.offsets)
    document = np.repeat(np.arange(batch.num_rows), counts)
    number = np.arange(len(document)) - np.repeat(found.offsets[:-1], counts)
    hashes = found.hashes.copy()
    if params.scopes:
        scopes = [params.scopes[source] for source in batch["source"].to_pylist()]
        salts = np.array([xxhash.xxh3_64_intdigest(s.encode()) for s in scopes], np.uint64)
        hashes ^= salts[document]
    hosts = [urlsplit(url or "").hostname or "" for url in batch["url"].to_pylist()]
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
                pa.array(number[there], pa.int32()),
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
    params = cast(LinesConfig, params)
    hashes, line = table["hash"].to_numpy(), table["line"].to_numpy()
    order = order_by(hashes, words(fixed_bytes(table["rank"])), line)
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
    cut = table.take(pa.array(order[goes])).select(["shard", "rank", "line"])
    return {"cuts": cut.append_column("rule", pa.array(rules, pa.string()))}


COUNT = ExchangeStage("line_counts", "1", line_keys, count_lines, {"cuts": CUT_SCHEMA})


def pass_on(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The cuts, unchanged: they are now with their shard."""
    return {"cuts": table}


ROUTE = ExchangeStage("line_cuts", "1", shard_keys, pass_on, {"cuts": CUT_SCHEMA})

# ---------------------------------------------------------------- cutting


def read_cuts(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks, cuts): the edits of a shard, in the order of its documents."""
    cuts = pq.read_table(joined.paths(shard)[-1])
    cuts = cuts.filter(pc.equal(cuts["shard"], pa.scalar(shard_number(shard.key), pa.uint32())))
    yield EDIT_SCHEMA.empty_table()
    by_rank: dict[bytes, dict[str, set[int]]] = {}
    for row in cuts.select(["rank", "line", "rule"]).to_pylist():
        by_rank.setdefault(row["rank"], {}).setdefault(row["rule"], set()).add(row["line"])
    with pq.ParquetFile(joined.paths(shard)[0]) as file:
        for group, begin, rows, ranks in ranked_groups(shard, ()):
            here = pc.is_in(ranks, value_set=cuts["rank"].combine_chunks())
            if not pc.any(here).as_py():
                continue
            whole = read_group(file, group, ("id", "text"), shard.key, begin)
            names = rows["record"].filter(here).combine_chunks()
            whole = whole.take(pc.index_in(names, value_set=whole["record"].combine_chunks()))
            yield _edits(whole, [by_rank[rank] for rank in ranks.filter(here).to_pylist()])


def _edits(documents: pa.Table, cuts: Sequence[Mapping[str, set[int]]]) -> pa.Table:
    found = kernels.lines(documents["text"])
    sizes = pc.utf8_length(documents["text"]).to_pylist()
    rows = []
    for number, identity in enumerate(documents["id"].to_pylist()):
        begin = int(found.offsets[number])
        taken: set[int] = set()
        for rule in (WIDESPREAD, REPEATED):
            lines = sorted(cuts[number].get(rule, set()) - taken)
            taken.update(lines)
            if lines:
                spans = _spans(found, [begin + line for line in lines], sizes[number])
                removed = sum(span["end"] - span["start"] for span in spans)
                rows.append(
                    {"id": identity, "step": STEP, "rule": rule, "chars_removed": removed,
                     "spans": spans}
                )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EDIT_SCHEMA)


def _spans(found: kernels.Lines, lines: Sequence[int], size: int) -> list[dict[str, int]]:
    """The lines with the break behind each, neighbours joined."""
    spans: list[dict[str, int]] = []
    for line in lines:
        start, end = int(found.starts[line]), min(int(found.ends[line]) + 1, size)
        if spans and spans[-1]["end"] == start:
            spans[-1]["end"] = end
        else:
            spans.append({"start": start, "end": end})
    return spans


def edits_of(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows that the reader made."""
    return {"edits": table}


CUT = MapStage(
    "line_edits", f"1 {VERSION}", edits_of, {"edits": EDIT_SCHEMA}, read_cuts, rowwise=False
)


def line_edits(
    runner: Runner, documents: Sequence[Shard], config: LinesConfig, partitions: int
) -> dict[str, Output]:
    """Find the lines that go from the documents of joined shards (documents with `id`, `url`,
    `source` and `text`; ranks). The output "line_edits" has a table `edits` for each shard.
    """
    lined = runner.map(LINES, documents, config)
    counted = runner.exchange(COUNT, lined.shards("lines"), config, partitions)
    routed = runner.exchange(ROUTE, counted.shards("cuts"), config, partitions)
    cut = runner.map(CUT, beside_their_shard(documents, routed.shards("cuts")), config)
    return {"lines": lined, "line_counts": counted, "line_cuts": routed, "line_edits": cut}


def without_spans(text: str, spans: Sequence[Mapping[str, int]]) -> str:
    """The text less the spans (sorted, apart), which are in characters."""
    kept, at = [], 0
    for span in spans:
        kept.append(text[at : span["start"]])
        at = span["end"]
    return "".join([*kept, text[at:]])
