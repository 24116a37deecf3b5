"""The steps on extracted text: held-out overlap, signals, decisions.

Signals are measured on every extracted document, dropped or not: changing a threshold, or the
evaluation sets, measures nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus import joined, plugins, rules, signals
from skywright.corpus.dedup import exact, overlap, shingles
from skywright.corpus.dedup.best import RANK_BYTES, rank
from skywright.corpus.pages import read_whole
from skywright.corpus.plugins import Plugin
from skywright.corpus.rules import Rule
from skywright.corpus.rules.decide import USER
from skywright.corpus.schemas import DROP_SCHEMA, ID, drop, drop_table
from skywright.engine.stage import MapStage, Shard, Tables
from skywright.errors import UserError

# ---------------------------------------------------------------- held-out text


class HeldOutDocument(Protocol):
    """What of an evaluation document matters here; `id` is 32 hex digits."""

    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...


class HeldOutSet(Protocol):
    """What of an evaluation set matters here."""

    @property
    def name(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def documents(self) -> Sequence[HeldOutDocument]: ...


class HeldoutParams(Config):
    """Width of the shingles; the sets themselves are a side input."""

    ngram: int


EVALUATION_SCHEMA = pa.schema([("set", pa.string()), ("id", ID), ("text", pa.string())])
CONTAINMENT_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("containment", pa.float64()),
        ("set", pa.string()),
        ("evaluation_id", ID),
    ]
)


def evaluation_table(sets: Sequence[HeldOutSet]) -> pa.Table:
    """All held-out documents, in the order of set and id."""
    rows = sorted((s.name, bytes.fromhex(d.id), d.text) for s in sets for d in s.documents)
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.table(
        [pa.array(c, t) for c, t in zip(columns, EVALUATION_SCHEMA.types, strict=True)],
        schema=EVALUATION_SCHEMA,
    )


def containments(table: pa.Table, params: Config, side: Tables) -> Tables:
    """For each document the evaluation document that it overlaps most (where it does at all)."""
    width = cast(HeldoutParams, params).ngram
    evaluation = side["evaluation"]
    index = overlap.Index.build(shingles.shingles(evaluation["text"], width))
    best, contained = index.containment(shingles.shingles(table["text"], width))
    rows = np.flatnonzero(contained > 0)
    nearest = evaluation.take(pa.array(best[rows]))
    found = table.select(["record"]).take(pa.array(rows))
    return {
        "containment": pa.table(
            [found["record"], pa.array(contained[rows]), nearest["set"], nearest["id"]],
            schema=CONTAINMENT_SCHEMA,
        )
    }


HELDOUT = MapStage(
    "heldout", f"1 {shingles.VERSION}", containments, {"containment": CONTAINMENT_SCHEMA},
    read_whole, rowwise=False,
)  # fmt: skip

# ---------------------------------------------------------------- signals

SIGNAL_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("date", pa.string()),
        ("content_hash", ID),
        ("raw_hash", ID),
        *signals.SCHEMA,
    ]
)


FLAGGED_SCHEMA = pa.schema([("record", pa.string()), *signals.LINES_SCHEMA])


def _measured(batch: pa.Table) -> tuple[pa.Table, pa.Table]:
    digests: list[bytes] = []
    measured = signals.measure_with_lines(
        batch["text"], lambda view: digests.extend(exact.content_digests(view))
    )
    columns = {
        **{name: batch[name] for name in ("record", "id", "source", "lang", "date")},
        "content_hash": pa.array(digests, exact.HASH_TYPE),
        "raw_hash": exact.raw_hash(batch["text"]),
        **{name: measured.signals[name] for name in measured.signals.column_names},
    }
    return pa.table(columns), measured.lines


def measured_columns(batch: pa.Table) -> pa.Table:
    """All signals of documents, and the hash that exact copies share (SIGNAL_SCHEMA)."""
    return _measured(batch)[0].cast(SIGNAL_SCHEMA)


def measure_batch(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """The same of the text as it was extracted, and its flagged lines, which edits may cut."""
    measured, lines = _measured(batch)
    return {"signals": measured, "lines": lines.add_column(0, "record", batch["record"])}


SIGNALS = MapStage(
    "signals", f"3 {signals.VERSION} {exact.VERSION}", measure_batch,
    {"signals": SIGNAL_SCHEMA, "lines": FLAGGED_SCHEMA},
)  # fmt: skip

# ---------------------------------------------------------------- a user's signals


class UserSignalParams(Config):
    """The functions by the name of their signal."""

    functions: dict[str, Plugin]


def measure_users(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """A user's signals of the final texts: each function is given the column of texts and returns
    one number a text.

    Raises UserError for another number of numbers (the function is wrong, whatever the text), and
    ValueError for one that is not finite, which costs the text it is of.
    """
    columns: dict[str, Any] = {"record": batch["record"]}
    for name, plugin in cast(UserSignalParams, params).functions.items():
        function = plugins.load(plugin, f"signals.{name}")
        values = np.asarray(function(batch["text"].combine_chunks()), dtype=np.float64)
        if values.shape != (batch.num_rows,):
            raise UserError(
                f"corpus.signals.{name}: {plugin.ref} was given {batch.num_rows} texts and "
                f"returned numbers of the shape {values.shape}; return one number a text"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{plugin.ref} must return finite numbers")
        columns[USER + name] = values
    return {"signals": pa.table(columns)}


def user_signals(names: Sequence[str]) -> MapStage:
    """The stage that measures the signals of these names."""
    fields = [(USER + name, pa.float64()) for name in names]
    return MapStage(
        "user_signals", "2", measure_users,
        {"signals": pa.schema([("record", pa.string()), *fields])},
    )  # fmt: skip


# ---------------------------------------------------------------- decisions

KEPT_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("content_hash", ID),
        ("raw_hash", ID),
        ("rank", pa.binary(RANK_BYTES)),
        ("chars", pa.int64()),
    ]
)


class DecideParams(Config):
    """Rules in force by source and language, priorities by source, the held-out threshold, how
    short an edit may leave a document, and the signal (if any) by which the better of two copies
    is told.
    """

    rules: dict[str, dict[str, tuple[Rule, ...]]]
    priorities: dict[str, int]
    containment: float
    min_chars: int
    quality: str | None = None


def quality_signal(name: str | None) -> str | None:
    """The name, if it is a signal's. Raises UserError if no signal is called that."""
    if name is not None and name not in signals.SCHEMA.names:
        raise UserError(
            f"duplicates.quality: no signal is called {name!r}; the signals are "
            + ", ".join(signals.SCHEMA.names)
        )
    return name


def read_measured(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the signals of a shard, after the edits where those changed a document.

    Beside them stand the held-out overlap of each document, a user's signals, and for the signals
    that rules take from the extracted text their value there (`extracted.NAME`); `edited` says
    which documents were changed. Documents at which a later step failed are left out.
    """
    extracted, changed, *rest = joined.whole_tables(shard)
    failed = [table["record"].combine_chunks() for table in rest if "error" in table.column_names]
    gone = pc.is_in(extracted["record"], value_set=pa.concat_arrays(failed))
    extracted = extracted.filter(pc.invert(gone))
    at = pc.index_in(extracted["record"], value_set=changed["record"].combine_chunks())
    edited = pc.is_valid(at)
    table = pa.table(
        {
            name: pc.if_else(edited, changed[name].take(at), extracted[name])
            for name in SIGNAL_SCHEMA.names
        }
    ).append_column("edited", edited)
    for name, signal in signals.SIGNALS.items():
        if signal.view == "extracted":
            table = table.append_column(f"extracted.{name}", extracted[name])
    others = [other for other in rest if "error" not in other.column_names]
    if not any("containment" in other.column_names for other in others):
        others.append(CONTAINMENT_SCHEMA.empty_table())
    for other in others:
        at = pc.index_in(table["record"], value_set=other["record"].combine_chunks())
        for name in other.column_names[1:]:
            table = table.append_column(name, other[name].take(at))
    yield table


def _extracted(table: pa.Table) -> pa.Table:
    """The signals of the view `extracted`, under their own names."""
    prefix = "extracted."
    names = [name for name in table.column_names if name.startswith(prefix)]
    return table.select(names).rename_columns([name.removeprefix(prefix) for name in names])


TAG_SCHEMA = pa.schema(
    [("record", pa.string()), ("id", ID), ("rule", pa.string()), ("value", pa.float64())]
)


def decide_shard(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Which documents of a shard stay, and by which rule the others go: held-out text first, then
    what the edits have left too short.
    """
    params = cast(DecideParams, params)
    held = pc.fill_null(pc.greater_equal(table["containment"], params.containment), False)
    dropped = [
        {
            "record": row["record"],
            "step": "heldout",
            "rule": f"heldout:{row['set']}",
            "value": row["containment"],
            "threshold": params.containment,
            "kept_id": row["evaluation_id"],
            "similarity": row["containment"],
        }
        for row in table.filter(held)
        .select(["record", "set", "containment", "evaluation_id"])
        .to_pylist()
    ]
    table = table.filter(pc.invert(held))
    short = pc.and_(table["edited"], pc.less(table["chars"], params.min_chars))
    dropped += [
        drop(row["record"], "edits", "left_short", value=row["chars"], threshold=params.min_chars)
        for row in table.filter(short).select(["record", "chars"]).to_pylist()
    ]
    table = table.filter(pc.invert(short))
    parts, tags = [], [TAG_SCHEMA.empty_table()]
    for source in sorted(set(table["source"].to_pylist())):
        rows = table.filter(pc.equal(table["source"], source))
        decided = rules.decide_and_tag(_extracted(rows), rows, rows["lang"], params.rules[source])
        decisions = decided.decisions
        for name, row in zip(rows["record"].to_pylist(), decisions.to_pylist(), strict=True):
            if not row.pop("kept"):
                dropped.append({"record": name, "step": "rules", **row})
        parts.append(rows.filter(decisions["kept"]))
        at = decided.tags["row"]
        tags.append(
            pa.table(
                [rows["record"].take(at), rows["id"].take(at), *decided.tags.columns[1:]],
                schema=TAG_SCHEMA,
            )
        )
    kept = pa.concat_tables(parts) if parts else table
    ranks = [
        rank(params.priorities[source], quality, chars, date, identity)
        for quality, source, chars, date, identity in zip(
            kept[params.quality].to_pylist() if params.quality else [None] * kept.num_rows,
            *(kept[name].to_pylist() for name in ("source", "chars", "date", "id")),
            strict=True,
        )
    ]
    kept = kept.append_column("rank", pa.array(ranks, pa.binary(RANK_BYTES)))
    return {"kept": kept, "dropped": drop_table(dropped), "tags": pa.concat_tables(tags)}


DECIDE = MapStage(
    "decide", "3", decide_shard,
    {"kept": KEPT_SCHEMA, "dropped": DROP_SCHEMA, "tags": TAG_SCHEMA}, read_measured,
    rowwise=False,
)  # fmt: skip
