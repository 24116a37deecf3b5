"""The waterfall: how many records each step lost, counted from the ledger and nothing else."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.corpus.ledger import EXCERPT_CHARS, SAMPLES_A_RULE, samples
from skywright.corpus.schemas import STEPS
from skywright.engine.files import read_json
from skywright.errors import UserError

FILE = "waterfall.json"
_COLUMNS = ("source", "kept", "step", "rule", "lang", "bytes", "chars", "tokens")
ALARM_SHARE = 0.95
ALARM_RECORDS = 20
"""A source that loses more than this share of at least so many records is told of (a corpus once
lost a source for weeks unseen: marin-community/marin #6854)."""


NO_TEXT = "missing_text"
"""The rule of the step `read` for records without text in the field that the recipe names."""

LEFT_OUT = "not_in_sample"
"""The rule of the step `read` by which a recipe's `sample` leaves records out."""

KEPT = "kept"
"""Stands for the step in the rows of `by_step` that count what stays."""


class Tally:
    """Counts ledger tables as they pass, so that the ledger never has to be held in memory."""

    def __init__(self) -> None:
        self.records = 0
        self.kept = 0
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.dropped_bytes: Counter[tuple[str, str]] = Counter()
        self.by_source: dict[str, Counter[str]] = defaultdict(Counter)
        self.by_lang: dict[str, Counter[str]] = defaultdict(Counter)
        self.by_step: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        self.by_rule: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.bytes = 0

    def add(self, ledger: pa.Table) -> None:
        """Count the rows of one shard."""
        columns = (ledger[name].to_pylist() for name in _COLUMNS)
        for source, kept, step, rule, lang, size, chars, tokens in zip(*columns, strict=True):
            size, tokens = size or 0, tokens or 0
            cell = self.by_step[step or KEPT, source, lang or ""]
            cell.update(documents=1, bytes=size, tokens=tokens)
            self.records += 1
            self.bytes += size
            counts = self.by_source[source]
            counts["in"] += 1
            if lang:
                self.by_lang[lang]["in"] += 1
            if kept:
                self.kept += 1
                counts.update(kept=1, bytes_kept=size, chars_kept=chars or 0, tokens_kept=tokens)
                self.by_lang[lang]["kept"] += 1
            else:
                self.by_rule[source, step][rule] += 1
                self.dropped[step, rule] += 1
                self.dropped_bytes[step, rule] += size

    def as_json(
        self, seconds: Mapping[str, float], examples: Iterable[dict[str, Any]]
    ) -> dict[str, Any]:
        """The waterfall without its held-out and duplicate parts. `by_step` counts what each step
        dropped (and what was kept) by source and language, "" where that was not known yet.

        `bytes` are those of raw records; `seconds` is work summed over processes; `by_lang` counts
        records whose text was extracted and whose language stays.
        """
        order = {step: place for place, step in enumerate(STEPS)}
        keys = sorted(self.dropped, key=lambda key: (order[key[0]], -self.dropped[key], key[1]))
        flow, left, left_bytes = [], self.records, self.bytes
        for step in STEPS:
            lost = sum(n for key, n in self.dropped.items() if key[0] == step)
            lost_bytes = sum(n for key, n in self.dropped_bytes.items() if key[0] == step)
            left_bytes -= lost_bytes
            flow.append(
                {
                    "step": step,
                    "in": left,
                    "out": left - lost,
                    "bytes_out": left_bytes,
                    "seconds": round(seconds.get(step, 0.0), 3),
                }
            )
            left -= lost
        shown: dict[str, list[dict[str, Any]]] = {}
        for row in samples(iter(examples)):
            group = shown.setdefault(f"{row.pop('step')}/{row.pop('rule')}", [])
            if len(group) < SAMPLES_A_RULE:
                group.append(row)
        names = ("in", "kept", "bytes_kept", "chars_kept", "tokens_kept")
        return {
            "input_records": self.records,
            "kept": self.kept,
            "steps": [
                {
                    "step": step,
                    "rule": rule,
                    "dropped": self.dropped[step, rule],
                    "bytes_dropped": self.dropped_bytes[step, rule],
                }
                for step, rule in keys
            ],
            "flow": flow,
            "by_source": {s: {n: c[n] for n in names} for s, c in sorted(self.by_source.items())},
            "by_lang": {
                lang: {"in": c["in"], "kept": c["kept"]} for lang, c in sorted(self.by_lang.items())
            },
            "by_step": [
                {"step": step, "source": source, "lang": lang, **cell}
                for (step, source, lang), cell in sorted(
                    self.by_step.items(), key=lambda item: (order.get(item[0][0], -1), item[0])
                )
            ],
            "alarms": self._alarms(shown),
            "samples": shown,
        }

    def _alarms(self, shown: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Sources that lose nearly everything, the step that takes the most of each, and the rule
        that takes the most there. Where that is a reader, or an error, `message` says what it met.
        """
        found = []
        for source, counts in sorted(self.by_source.items()):
            # What a sample leaves out is not lost.
            read = counts["in"] - self.by_rule.get((source, "read"), Counter())[LEFT_OUT]
            textless = self.by_rule.get((source, "read"), Counter())[NO_TEXT]
            few = read < ALARM_RECORDS and not 0 < read == textless  # a wrong field shows at once
            if few or counts["kept"] >= (1 - ALARM_SHARE) * read:
                continue
            lost = {
                step: {rule: n for rule, n in rules.items() if rule != LEFT_OUT}
                for (name, step), rules in self.by_rule.items()
                if name == source
            }
            taken = {step: sum(rules.values()) for step, rules in lost.items()}
            step, dropped = min(taken.items(), key=lambda item: (-item[1], item[0]))
            rules = lost[step].items()
            rule = min(rules, key=lambda item: (-item[1], item[0]))[0]
            alarm = {"source": source, "in": read, "kept": counts["kept"], "step": step,
                     "rule": rule, "dropped": dropped}  # fmt: skip
            if step == "read" or rule.startswith("error:"):
                here = (row for row in shown.get(f"{step}/{rule}", ())
                        if row["record"].startswith(f"{source}/"))  # fmt: skip
                alarm["message"] = next((row["excerpt"] for row in here if row["excerpt"]), "")
            found.append(alarm)
        return found


def waterfall(folder: Path) -> dict[str, Any]:
    """Read a corpus folder's waterfall; raises UserError when there is none."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {FILE} there; give the folder of a finished corpus")
    return dict(read_json(path))


def alarm_sentence(alarm: Mapping[str, Any]) -> str:
    """An alarm of the waterfall in words."""
    message = f" ({alarm['message']})" if alarm.get("message") else ""
    return (
        f"source {alarm['source']!r} keeps {alarm['kept']} of {alarm['in']} records; step "
        f"{alarm['step']} dropped {alarm['dropped']} of them, most by {alarm['rule']}{message}; "
        f"look with: skywright corpus samples RUN --rule {alarm['step']}/{alarm['rule']}"
    )


def rule_samples(folder: Path, rule: str) -> list[dict[str, Any]]:
    """Up to 20 records that a rule dropped or tagged, or up to 20 cuts of an edit.

    `rule` is the rule's name, or `step/rule`. Of a tagged document the text is shown if it was
    kept. Raises UserError when the rule dropped, tagged and cut nothing.
    """
    shown = waterfall(folder)["samples"]
    keys = [key for key in shown if rule in (key, key.partition("/")[2])]
    if keys:
        return [{"step": key.partition("/")[0], **row} for key in keys for row in shown[key]]
    found = _tag_samples(Path(folder), rule) or _cut_samples(Path(folder), rule)
    if not found:
        names = sorted({key.partition("/")[2] for key in shown})
        raise UserError(
            f"{rule}: dropped, tagged and cut nothing here; rules that dropped something are "
            + (", ".join(names) or "none")
        )
    return found


def _tag_samples(folder: Path, rule: str) -> list[dict[str, Any]]:
    """Records that a rule tagged, the first of each file; kept documents come first."""
    found: list[dict[str, Any]] = []
    for path in sorted((folder / "tags").glob("*.parquet")):
        tags = pq.read_table(path, filters=pc.field("rule") == rule)
        tags = tags.sort_by("id").slice(0, SAMPLES_A_RULE)
        texts = pq.read_table(
            folder / "documents" / path.name,
            columns=["id", "url", "text"],
            filters=pc.field("id").isin(tags["id"].combine_chunks()),
        )
        known = {row["id"]: row for row in texts.to_pylist()}
        for row in tags.to_pylist():
            kept = known.get(row["id"], {})
            value = row["value"]
            found.append(
                {"step": "rules", "record": row["record"], "url": kept.get("url"),
                 "value": None if value is None or math.isnan(value) else value,
                 "excerpt": (kept.get("text") or "")[:EXCERPT_CHARS]}
            )  # fmt: skip
    return sorted(found, key=lambda row: not row["excerpt"])[:SAMPLES_A_RULE]


def _cut_samples(folder: Path, rule: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted((folder / "edits").glob("*.parquet")):
        table = pq.read_table(path, filters=pc.field("rule") == rule)
        for row in table.sort_by("id").to_pylist():
            for span in row["spans"]:
                if len(found) < SAMPLES_A_RULE:
                    found.append(
                        {"step": row["step"], "id": row["id"].hex(), "start": span["start"],
                         "end": span["end"], "removed": span["removed"]}
                    )  # fmt: skip
    return found
