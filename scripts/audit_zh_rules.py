"""Precision of the Chinese rules on documents that were read blind: the table of docs/rules.md.

    python scripts/audit_zh_rules.py DATA_FOLDER

`zh_audit_labels.tsv` beside this file holds the labels: keep, or drop for text that no one would
want to learn from (spun, machine-translated or stuffed pages, lists of links and goods, gambling).
They were given to the text alone, before any rule was run. Only a hash of each text is stored.

Precision is the share of labels "drop" among the documents at which a rule fires, with Wilson's
95 % interval. Beside it: how often a rule fires in collections that are clean by origin.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import sys
from pathlib import Path

import pyarrow as pa

from skywright.corpus import signals
from skywright.corpus.rules import PRESETS
from skywright.corpus.rules.decide import failing

LABELS = Path(__file__).parent / "zh_audit_labels.tsv"
CLEAN = (
    "corpus/zh_wiki",
    "corpus/zh_news_2022_2024",
    "corpus/zh_science_abstracts",
    "corpus/zh_java_tech",
    "corpus/zh_tech_weekly_1_330",
)


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of hits / n."""
    if n == 0:
        return 0.0, 1.0
    p, d = hits / n, 1 + z * z / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / d), min(1.0, (centre + half) / d)


def texts_of(folder: Path, name: str) -> list[str]:
    """The texts of a file of the data folder."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [row.get("text") or row["raw_content"] for row in rows]


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1])
    labels: dict[str, dict[str, str]] = {}
    for line in LABELS.read_text().splitlines():
        if not line.startswith("#"):
            name, key, label = line.split("\t")
            labels.setdefault(name, {})[key] = label
    texts: list[str] = []
    drop: list[bool] = []
    for name, known in labels.items():
        for text in texts_of(folder, name):
            label = known.get(hashlib.sha256(text.encode()).hexdigest()[:16])
            if label:
                texts.append(text)
                drop.append(label == "drop")
    measured = signals.measure(pa.array(texts))
    clean = signals.measure(pa.array([text for name in CLEAN for text in texts_of(folder, name)]))
    print(f"{len(texts)} documents, {sum(drop)} to drop; {clean.num_rows} clean ones")
    print("| rule | fires | right | precision | 95 % | fires in clean text |")
    print("|---|---:|---:|---:|---|---:|")
    for rule in PRESETS["zh"]:
        fires = failing(rule, measured)[1]
        n, right = int(fires.sum()), sum(d for d, f in zip(drop, fires, strict=True) if f)
        low, high = wilson(right, n)
        share = f"{right / n:.2f}" if n else "-"
        false = 100 * failing(rule, clean)[1].mean()
        print(
            f"| `{rule.name}` | {n} | {right} | {share} | {low:.2f} to {high:.2f} | {false:.2f} % |"
        )


if __name__ == "__main__":
    main()
