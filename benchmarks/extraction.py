"""Main content of web pages: quality against gold and speed, beside the peers.

    python -m benchmarks.extraction [--packages DIR] [--out benchmarks/results/extraction.json]

Quality: `benchmarks.gold` tells pages, gold and score. Our texts come from models that saw no page
of the same site (benchmarks/extraction_folds.json, written by scripts/train_extractor.py).
The difference to each peer has a paired 95 % bootstrap interval over pages. Speed: the English web
pages, one core, fresh processes in turn; ours from bytes (charset, limits and all), the peers' from
strings that are decoded already. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import gold, peers
from benchmarks.record import write_record
from benchmarks.tokenize import OthersShare

ROUNDS = 5
RESAMPLES = 10_000
FOLDS = Path(__file__).parent / "extraction_folds.json"
PEERS = ("trafilatura", "trafilatura_fast", "readability")
SCRIPT = Path(__file__).parent / "peers" / "extraction_peer.py"
WARM = 10  # as in the peers' script


def ours(tier: str, pages: Path) -> dict[str, Any]:
    """Seconds that a tier of ours takes, and its texts."""
    from skywright.corpus.config import ExtractionConfig, LimitsConfig
    from skywright.corpus.extract import extract

    limits, extraction = LimitsConfig(), ExtractionConfig(tier=tier)
    data = [json.loads(line).encode("utf-8", "replace") for line in pages.open()]
    for page in data[:WARM]:
        extract(page, "utf-8", limits, extraction)
    started = time.perf_counter()
    texts = [extract(page, "utf-8", limits, extraction).text for page in data]
    return {"seconds": time.perf_counter() - started, "texts": texts}


def run(name: str, pages: Path, folder: Path) -> dict[str, Any] | None:
    """One process of a contender on one core; None if it cannot run here."""
    out = folder / f"{name}.json"
    if name in PEERS:
        try:
            command = [str(peers.interpreter("extraction")), str(SCRIPT), name]
        except peers.Unavailable:
            return None
    else:
        command = [sys.executable, "-m", "benchmarks.extraction", "--part", name]
    core = str(max(os.sched_getaffinity(0)))
    subprocess.run(
        ["taskset", "-c", core, *command, str(pages), str(out)], check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def written(pages: list[gold.Page], path: Path) -> Path:
    """The pages' HTML as JSON lines."""
    path.write_text("".join(json.dumps(page.html) + "\n" for page in pages))
    return path


def folded_texts(pages: list[gold.Page]) -> list[str]:
    """Our texts, each from a model that saw no page of the site."""
    from skywright.corpus.extract import own
    from skywright.corpus.extract.lines import joined

    rows = {(row["set"], row["page"]): row for row in json.loads(FOLDS.read_text())}
    texts = []
    for page in pages:
        row, lines = rows[page.set, page.name], own.page_lines(page.html)
        texts.append(joined(lines, gold.mask(row["kept"], len(lines.starts))))
    return texts


def pairs(texts: list[str], pages: list[gold.Page]) -> np.ndarray:
    """(n, 2) precision and recall."""
    found = gold.token_lists(texts)
    return np.array([gold.overlap(a, p.tokens) for a, p in zip(found, pages, strict=True)])


def interval(ours_: np.ndarray, theirs: np.ndarray) -> list[float]:
    """95 % interval of the difference in F1, pages drawn anew for both alike."""
    draw = np.random.default_rng(1)
    differences = []
    for _ in range(RESAMPLES):
        chosen = draw.integers(0, len(ours_), len(ours_))
        differences.append(gold.f1(ours_[chosen]) - gold.f1(theirs[chosen]))
    return [round(float(v), 4) for v in np.quantile(differences, [0.025, 0.975])]


def quality(pages: list[gold.Page], folder: Path) -> dict[str, Any]:
    """F1, precision and recall of all contenders on one set."""
    path = written(pages, folder / "pages.jsonl")
    texts: dict[str, list[str] | None] = {"skywright": folded_texts(pages)}
    for name in ("fast", *PEERS):
        found = run(name, path, folder)
        texts["resiliparse" if name == "fast" else name] = found and found["texts"]
    scored = {name: pairs(t, pages) for name, t in texts.items() if t is not None}
    result: dict[str, Any] = {"pages": len(pages)}
    for name, values in scored.items():
        precision, recall = values.mean(axis=0).round(4).tolist()
        result[name] = {"f1": round(gold.f1(values), 4), "precision": precision, "recall": recall}
        if name != "skywright":
            result[name]["ours_minus_this_95"] = interval(scored["skywright"], values)
    return result


def speed(pages: list[gold.Page], rounds: int, folder: Path) -> dict[str, Any]:
    """Medians of pages a second, and of the ratio in each round."""
    path = written(pages, folder / "speed.jsonl")
    names = ("own", "trafilatura", "trafilatura_fast", "fast")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found = run(name, path, folder)
            if found is not None:
                seconds[name].append(found["seconds"])
    result: dict[str, Any] = {
        "pages_s": {
            name: round(len(pages) / statistics.median(s), 1) for name, s in seconds.items() if s
        }
    }
    for name in ("trafilatura", "trafilatura_fast"):
        ratios = [b / a for a, b in zip(seconds["own"], seconds[name], strict=False)]
        result[f"times_{name}"] = round(statistics.median(ratios), 2) if ratios else None
    return result


def main() -> None:
    """Measure, print tables, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="folder of unpacked Debian packages")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=("own", "fast"), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        pages, out = map(Path, given.arguments)
        out.write_text(json.dumps(ours(given.part, pages)))
        return
    others = OthersShare()
    loaded = gold.load(given.packages)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for part in sorted({page.set for page in loaded}):
            chosen = [page for page in loaded if page.set == part]
            result[part] = quality(chosen, Path(name))
            print(part, json.dumps(result[part]))
        result["speed"] = speed([p for p in loaded if p.set == "en_web"], given.rounds, Path(name))
    print("speed", json.dumps(result["speed"]))
    articles = result["en_web"]
    line = {
        "f1": articles["skywright"]["f1"],
        **{
            f"{name}_f1": articles.get(name, {}).get("f1", "unavailable")
            for name in ("trafilatura", "readability", "resiliparse")
        },
        "speed_ratio": result["speed"]["times_trafilatura"],
        "pages_s": result["speed"]["pages_s"]["own"],
    }
    if given.out:
        write_record(given.out, {**result, **line, "cpu_share_of_others": others.share()})
    print(json.dumps(line))


if __name__ == "__main__":
    main()
