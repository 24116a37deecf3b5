"""The waterfall: how many records each step lost, counted from the ledger and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from skywright.corpus.ledger import SAMPLES_A_RULE, samples
from skywright.corpus.schemas import STEPS
from skywright.engine.files import read_json
from skywright.errors import UserError

FILE = "waterfall.json"
_COLUMNS = ("source", "kept", "step", "rule", "lang", "bytes", "chars")


class Tally:
    """Counts ledger tables as they pass, so that the ledger never has to be held in memory."""

    def __init__(self) -> None:
        self.records = 0
        self.kept = 0
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.dropped_bytes: Counter[tuple[str, str]] = Counter()
        self.by_source: dict[str, Counter[str]] = defaultdict(Counter)
        self.by_lang: dict[str, Counter[str]] = defaultdict(Counter)
        self.bytes = 0

    def add(self, ledger: pa.Table) -> None:
        """Count the rows of one shard."""
        columns = (ledger[name].to_pylist() for name in _COLUMNS)
        for source, kept, step, rule, lang, size, chars in zip(*columns, strict=True):
            size = size or 0
            self.records += 1
            self.bytes += size
            counts = self.by_source[source]
            counts["in"] += 1
            if lang:
                self.by_lang[lang]["in"] += 1
            if kept:
                self.kept += 1
                counts.update(kept=1, bytes_kept=size, chars_kept=chars or 0)
                self.by_lang[lang]["kept"] += 1
            else:
                self.dropped[step, rule] += 1
                self.dropped_bytes[step, rule] += size

    def as_json(
        self, seconds: Mapping[str, float], examples: Iterable[dict[str, Any]]
    ) -> dict[str, Any]:
        """The waterfall without its held-out and duplicate parts.

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
        names = ("in", "kept", "bytes_kept", "chars_kept")
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
            "samples": shown,
        }


def waterfall(folder: Path) -> dict[str, Any]:
    """Read a corpus folder's waterfall; raises UserError when there is none."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {FILE} there; give the folder of a finished corpus")
    return dict(read_json(path))
