"""Cuts that were found by comparing documents, brought to their shard and made.

What is found (`FOUND_SCHEMA`) names a document by shard and rank, and a span of its text: in
characters, or in mixed tokens. Spans in tokens are cut at line ends: a line goes if all its tokens
are in spans, otherwise all of it stays. A line without tokens goes if those before and behind it
go; if it is blank, it goes with the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import joined, kernels, signals
from skywright.corpus.dedup.columns import fixed_bytes, group_starts, order_by, words
from skywright.corpus.dedup.comparisons import shard_keys
from skywright.corpus.dedup.near import beside_their_shard
from skywright.corpus.dedup.proposals import RANK, ranked_groups, shard_number
from skywright.corpus.edits.spans import Cut, apply, edit_rows
from skywright.corpus.edits.stage import RECORD_EDIT_SCHEMA
from skywright.corpus.measure import SIGNAL_SCHEMA, measured_columns
from skywright.corpus.schemas import DOCUMENT_SCHEMA, DROP_SCHEMA, drop, drop_table
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

LEFT_SHORT = "left_short"

FOUND_SCHEMA = pa.schema(
    [
        ("shard", pa.uint32()),
        ("rank", RANK),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("rule", pa.string()),
    ]
)
"""A span of a document's text that goes, and why."""

KEPT_SCHEMA = pa.schema([("record", pa.string()), ("rank", RANK)])

_BREAK = re.compile("[\n\u2028\u2029]")  # what ends a line in the measure view (fold.NEWLINE)
_SPANS = pa.list_(pa.struct([FOUND_SCHEMA.field(name) for name in ("start", "end", "rule")]))


class CutParams(Config):
    """The step that cuts, whether its spans count tokens, and the least that must be left."""

    step: str
    in_tokens: bool
    min_chars: int


def pass_on(table: pa.Table, params: Config, side: Tables) -> Tables:
    """What was found, unchanged: it is now with its shard."""
    return {"found": table}


def _route(name: str) -> ExchangeStage:
    return ExchangeStage(name, "1", shard_keys, pass_on, {"found": FOUND_SCHEMA})


def read_found(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks, found): ranked documents with `rank` and their `spans`."""
    found = pq.read_table(joined.paths(shard)[-1])
    found = found.filter(pc.equal(found["shard"], pa.scalar(shard_number(shard.key), pa.uint32())))
    ends = [found[name].to_numpy() for name in ("start", "end")]
    found = found.take(pa.array(order_by(words(fixed_bytes(found["rank"])), *ends)))
    found = found.combine_chunks()
    starts = group_starts(words(fixed_bytes(found["rank"])))
    named = found["rank"].combine_chunks().take(pa.array(starts[:-1]))
    columns = [found[name].combine_chunks() for name in ("start", "end", "rule")]
    parts = pa.StructArray.from_arrays(columns, fields=list(_SPANS.value_type))
    spans = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), parts, type=_SPANS)
    rest = tuple(name for name in DOCUMENT_SCHEMA.names if name != "record")
    for _, _, rows, ranks in ranked_groups(shard, rest):
        rows = rows.select(DOCUMENT_SCHEMA.names).append_column("rank", ranks)
        yield rows.append_column("spans", spans.take(pc.index_in(ranks, value_set=named)))


def cut_batch(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """Make the cuts; a document that they leave too short is dropped."""
    params = cast(CutParams, params)
    changed = np.flatnonzero(batch["spans"].is_valid().to_numpy())
    touched = batch.take(pa.array(changed))
    originals = touched["text"].to_pylist()
    cuts = [
        [Cut(s["start"], s["end"], s["rule"]) for s in found]
        for found in touched["spans"].to_pylist()
    ]
    if params.in_tokens:
        cuts = at_line_ends(originals, cuts)
    after: list[str] = []
    edits: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    short = np.zeros(batch.num_rows, bool)
    again: list[int] = []
    source = np.arange(batch.num_rows)  # of each text: its row, or its place behind all rows
    names = zip(touched["record"].to_pylist(), touched["id"].to_pylist(), strict=True)
    for place, (record, identity), text, found in zip(changed, names, originals, cuts, strict=True):
        if not found:
            continue
        cut, made = apply(text, found)
        source[place] = batch.num_rows + len(after)
        after.append(cut)
        edits += [{"record": record, **row} for row in edit_rows(identity, params.step, made)]
        left = len(cut.strip())
        short[place] = left < params.min_chars
        if short[place]:
            least = params.min_chars
            dropped.append(drop(record, params.step, LEFT_SHORT, value=left, threshold=least))
        else:
            again.append(int(place))
    documents = batch
    if after:
        texts = pa.chunked_array([*batch["text"].chunks, pa.array(after, pa.string())])
        at = batch.column_names.index("text")
        documents = batch.set_column(at, "text", texts.combine_chunks().take(pa.array(source)))
    stay = documents.filter(pa.array(~short))
    return {
        "documents": stay.select(DOCUMENT_SCHEMA.names),
        "kept": stay.select(KEPT_SCHEMA.names),
        "edits": pa.Table.from_pylist(edits, schema=RECORD_EDIT_SCHEMA),
        "signals": measured_columns(documents.take(pa.array(again, pa.int64()))),
        "dropped": drop_table(dropped),
    }


def _cut(name: str) -> MapStage:
    tables = {
        "documents": DOCUMENT_SCHEMA, "kept": KEPT_SCHEMA, "edits": RECORD_EDIT_SCHEMA,
        "signals": SIGNAL_SCHEMA, "dropped": DROP_SCHEMA,
    }  # fmt: skip
    version = f"1 {kernels.TOKENS_VERSION} {signals.VERSION}"
    return MapStage(name, version, cut_batch, tables, read_found)


def make_cuts(
    runner: Runner,
    documents: Sequence[Shard],
    found: Sequence[Shard],
    params: CutParams,
    partitions: int,
    name: str,
) -> dict[str, Output]:
    """Cut what was `found` (tables of FOUND_SCHEMA) out of the documents of joined shards
    (documents; ranks). The output `<name>_edits` has, a shard, `documents` and `kept` (their
    ranks) of what stays, `edits`, `signals` of what changed, `dropped`, and `errors`.
    """
    routed = runner.exchange(_route(f"{name}_cuts"), found, params, partitions)
    beside = beside_their_shard(documents, routed.shards("found"))
    return {
        f"{name}_cuts": routed,
        f"{name}_edits": runner.map(_cut(f"{name}_edits"), beside, params),
    }


def at_line_ends(texts: Sequence[str], cuts: Sequence[Sequence[Cut]]) -> list[list[Cut]]:
    """Cuts in tokens of each text as cuts in characters, of whole lines with the break behind each.

    Raises ValueError for a cut outside a text.
    """
    split = [_BREAK.split(text) for text in texts]
    lines = [line for part in split for line in part]
    document = np.repeat(np.arange(len(texts)), [len(part) for part in split])
    tokens = [np.diff(offsets) for _, offsets in kernels.token_hashes(pa.array(lines, pa.string()))]
    counts = np.concatenate([np.zeros(0, np.int64), *tokens])
    blank = np.zeros(len(lines), bool)
    for row in np.flatnonzero(counts == 0):
        blank[row] = not lines[row].strip()
    gone = _whole_lines(document, counts, cuts)
    _take_along(gone, document, counts, blank)
    sizes = np.fromiter(map(len, lines), np.int64, len(lines)) + 1  # with the break
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    base = np.cumsum(lengths + 1) - lengths - 1
    starts = np.cumsum(sizes) - sizes - base[document]
    ends = np.minimum(starts + sizes, lengths[document])  # no break ends the last line
    gone &= ends > starts
    inner = gone[1:] & gone[:-1] & (document[1:] == document[:-1])
    found: list[list[Cut]] = [[] for _ in texts]
    firsts = np.flatnonzero(gone & ~np.concatenate([[False], inner])[: len(gone)])
    lasts = np.flatnonzero(gone & ~np.concatenate([inner, [False]])[: len(gone)])
    for first, last in zip(firsts, lasts, strict=True):
        where = document[first]
        rule = cuts[where][0].rule
        found[where].append(Cut(int(starts[first]), int(ends[last]), rule))
    return found


def _whole_lines(
    document: np.ndarray, counts: np.ndarray, cuts: Sequence[Sequence[Cut]]
) -> np.ndarray:
    """True for the lines that have tokens, all of them in cuts of their document."""
    ends = np.cumsum(counts)
    totals = np.bincount(document, counts, len(cuts)).astype(np.int64)
    bases = np.cumsum(totals) - totals
    change = np.zeros(int(totals.sum()) + 1, np.int64)
    for base, total, found in zip(bases, totals, cuts, strict=True):
        for cut in found:
            if not 0 <= cut.start <= cut.end <= total:
                raise ValueError(f"the cut {cut} lies outside a text of {total} tokens")
            change[base + cut.start] += 1
            change[base + cut.end] -= 1
    covered = np.concatenate([[0], np.cumsum(np.cumsum(change)[:-1] > 0)])
    return (counts > 0) & (covered[ends] - covered[ends - counts] == counts)


def _take_along(
    gone: np.ndarray, document: np.ndarray, counts: np.ndarray, blank: np.ndarray
) -> None:
    """Mark the lines without tokens that go with their neighbours."""
    before = _neighbour(counts > 0, document)
    behind = len(gone) - 1 - _neighbour(counts[::-1] > 0, document[::-1])[::-1]
    inside = (before >= 0) & (behind < len(gone))
    inside &= gone[before] & gone[np.minimum(behind, len(gone) - 1)]
    gone |= inside & (counts == 0) & ~blank
    before = _neighbour(~blank, document)
    gone |= blank & (before >= 0) & gone[before]


def _neighbour(wanted: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Of every line the last line of its document up to it that is `wanted`; -1: none."""
    place = np.maximum.accumulate(np.where(wanted, np.arange(len(wanted)), -1))
    same = document[np.maximum(place, 0)] == document if len(document) else place >= 0
    return np.where((place >= 0) & same, place, -1)
