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
from skywright.corpus import joined, rules, signals
from skywright.corpus.config import RuleChanges, RulesConfig
from skywright.corpus.dedup import exact, overlap, shingles
from skywright.corpus.dedup.best import RANK_BYTES, rank
from skywright.corpus.pages import read_whole
from skywright.corpus.rules import DEFAULT_RULES, Rule
from skywright.corpus.schemas import DROP_SCHEMA, ID, drop_table
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


def measure_batch(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """All signals of a document, and the hashes that exact copies share."""
    measured = signals.measure(batch["text"])
    columns = {
        **{name: batch[name] for name in ("record", "id", "source", "lang", "date")},
        "content_hash": exact.content_hash(batch["text"]),
        "raw_hash": exact.raw_hash(batch["text"]),
        **{name: measured[name] for name in measured.column_names},
    }
    return {"signals": pa.table(columns)}


SIGNALS = MapStage(
    "signals", f"2 {signals.VERSION} {exact.VERSION}", measure_batch, {"signals": SIGNAL_SCHEMA}
)

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
    """Rules in force by source and language, priorities by source, the held-out threshold, and the
    signal (if any) by which the better of two copies is told.
    """

    rules: dict[str, dict[str, tuple[Rule, ...]]]
    priorities: dict[str, int]
    containment: float
    quality: str | None = None


def rules_in_force(config: RulesConfig, sources: Sequence[str]) -> dict[str, Any]:
    """The default rules with a recipe's changes, by source and language.

    Raises UserError when a change names a rule that does not exist.
    """
    known = {rule.name for preset in DEFAULT_RULES.values() for rule in preset}
    changes = [(f"rules.lang.{name}", change) for name, change in config.lang.items()]
    changes += [(f"rules.source.{name}", change) for name, change in config.source.items()]
    for where, change in changes:
        named = {*change.off, *change.thresholds, *(change.only or ())}
        unknown = named - {"*"} - known
        if unknown:
            raise UserError(
                f"{where}: no rule is called {sorted(unknown)[0]!r}; the rules are "
                + ", ".join(sorted(known))
            )
    presets = {
        "en": DEFAULT_RULES["en"],
        "zh-Hans": DEFAULT_RULES["zh"],
        "zh-Hant": DEFAULT_RULES["zh"],
        "code": DEFAULT_RULES["code"],
        "other": (),
    }
    unchanged = RuleChanges()
    return {
        source: {
            lang: _changed(
                _changed(preset, config.lang.get(cast(Any, lang), unchanged)),
                config.source.get(source, unchanged),
            )
            for lang, preset in presets.items()
        }
        for source in sorted(set(sources))
    }


def quality_signal(name: str | None) -> str | None:
    """The name, if it is a signal's. Raises UserError if no signal is called that."""
    if name is not None and name not in signals.SCHEMA.names:
        raise UserError(
            f"duplicates.quality: no signal is called {name!r}; the signals are "
            + ", ".join(signals.SCHEMA.names)
        )
    return name


def _changed(preset: Sequence[Rule], change: RuleChanges) -> tuple[Rule, ...]:
    if "*" in change.off:
        return ()
    return tuple(
        rule.model_copy(update={"threshold": change.thresholds.get(rule.name, rule.threshold)})
        for rule in preset
        if rule.name not in change.off and (change.only is None or rule.name in change.only)
    )


def read_measured(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the signals of a shard, with the held-out overlap of each document beside them."""
    measured, *rest = joined.whole_tables(shard)
    contained = rest[0] if rest else CONTAINMENT_SCHEMA.empty_table()
    at = pc.index_in(measured["record"], value_set=contained["record"].combine_chunks())
    for name in ("containment", "set", "evaluation_id"):
        measured = measured.append_column(name, contained[name].take(at))
    yield measured


def decide_shard(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Which documents of a shard stay, and by which rule the others go (held-out text first)."""
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
    parts = []
    table = table.filter(pc.invert(held))
    for source in sorted(set(table["source"].to_pylist())):
        rows = table.filter(pc.equal(table["source"], source))
        decided = rules.decide(rows, rows["lang"], params.rules[source])
        for name, row in zip(rows["record"].to_pylist(), decided.to_pylist(), strict=True):
            if not row.pop("kept"):
                dropped.append({"record": name, "step": "rules", **row})
        parts.append(rows.filter(decided["kept"]))
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
    return {"kept": kept, "dropped": drop_table(dropped)}


DECIDE = MapStage(
    "decide", "2", decide_shard, {"kept": KEPT_SCHEMA, "dropped": DROP_SCHEMA}, read_measured,
    rowwise=False,
)  # fmt: skip
