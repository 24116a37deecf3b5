"""Signals and rules on one core: MB/s, and beside datatrove's same four filters.

    python -m benchmarks.signals [--rounds 5] [--out benchmarks/results/signals.json]

Every round runs ours and datatrove once a language, in fresh processes on one core, in turn; the
figures are medians of the rounds. Ours measures all signals (`signals_mb_s`), or all signals and
then decides by the presets gopher, c4 and fineweb (`rules_mb_s`), on an Arrow column in memory with
compiled code loaded. datatrove runs the four filters of its examples/fineweb.py on documents in
memory; a document that is dropped meets no later filter. `rules_ratio` is the English one.

`agreement` compares decisions rule by rule on the same texts: of the texts that either side drops,
how many both drop, and of all texts, how many are decided alike. Ends with one line of JSON.
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

from benchmarks.peers import LOCKS, Unavailable, interpreter
from benchmarks.record import write_record
from benchmarks.tokenize import CRAWL, FILES, OthersShare

RUNS = 5
PEER = "datatrove_filters"
LANGUAGES = {"en": "eng", "zh": "zho"}
PEER_BYTES = 600_000  # of each language: about four seconds of datatrove's
AGREEMENT_BYTES = 2_000_000
OUR_BYTES = 8_000_000
SECONDS = 2.0


def _texts(lang: str, limit_bytes: int) -> list[str]:
    """Texts of the example crawl, in turn from its files of the language."""
    import pyarrow.json
    import pyarrow.parquet as pq

    columns = []
    for name in FILES[lang]:
        path = CRAWL / name
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.json.read_json(path)
        columns.append(table["text"].to_pylist())
    found: list[str] = []
    size = 0
    for place in range(max(map(len, columns))):
        for column in columns:
            if place < len(column) and size < limit_bytes:
                found.append(column[place])
                size += len(column[place].encode())
    return found


def ours(part: str, lang: str) -> float:
    """MB/s of all signals ("signals"), or of signals and rules ("rules")."""
    import pyarrow as pa

    from skywright.corpus import signals
    from skywright.corpus.rules import PRESETS, decide

    texts = pa.array(_texts(lang, OUR_BYTES), pa.large_string())
    tags = pa.array([lang] * len(texts))
    rules = {lang: PRESETS["gopher"] + PRESETS["c4"] + PRESETS["fineweb"]}
    size = len(b"".join(text.encode() for text in texts.to_pylist()))
    signals.measure(texts[:1])
    rounds, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        measured = signals.measure(texts)
        if part == "rules":
            decide(measured, tags, rules)
        rounds += 1
    return rounds * size / (time.perf_counter() - started) / 1e6


def fails(lang: str, texts: list[str]) -> dict[str, list[bool]]:
    """Whether each text fails each of our rules."""
    import pyarrow as pa

    from skywright.corpus import signals
    from skywright.corpus.rules import PRESETS
    from skywright.corpus.rules.decide import failing

    measured = signals.measure(pa.array(texts))
    return {
        rule.name: failing(rule, measured)[1].tolist()
        for rule in PRESETS["gopher"] + PRESETS["fineweb"]
    }


def _core() -> list[str]:
    return ["taskset", "-c", str(max(os.sched_getaffinity(0)))]


def fresh(part: str, lang: str) -> float:
    """`ours` in a process of its own on one core."""
    done = subprocess.run(
        [*_core(), sys.executable, "-m", "benchmarks.signals", "--part", part, "--lang", lang],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def peer(part: str, lang: str, texts: list[str]) -> Any:
    """The peer's answer in its own environment on one core. Raises Unavailable."""
    python = interpreter(PEER)
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as stream:
        json.dump(texts, stream)
        stream.flush()
        done = subprocess.run(
            [*_core(), python, LOCKS / f"{PEER}.py", part, stream.name, LANGUAGES[lang]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"{PEER}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def agreement(lang: str) -> dict[str, dict[str, Any]]:
    """Decisions by rule on the same texts, ours beside datatrove's."""
    texts = _texts(lang, AGREEMENT_BYTES)
    theirs, own = peer("rules", lang, texts), fails(lang, texts)
    table = {}
    for name, other in theirs.items():
        pairs = list(zip(own[name], other, strict=True))
        both, either = sum(a and b for a, b in pairs), sum(a or b for a, b in pairs)
        table[name] = {
            "texts": len(texts),
            "alike": round(sum(a == b for a, b in pairs) / len(pairs), 4),
            "ours_drop": sum(own[name]),
            "theirs_drop": sum(other),
            "both_drop": both,
            "of_either": round(both / either, 3) if either else None,
        }
    return table


def measure(rounds: int) -> dict[str, Any]:
    """Every part so many times in turn; medians."""
    result: dict[str, Any] = {}
    for lang in LANGUAGES:
        texts = _texts(lang, PEER_BYTES)
        peer_mb = sum(len(text.encode()) for text in texts) / 1e6
        rows = []
        for _ in range(rounds):
            row = {"signals": fresh("signals", lang), "rules": fresh("rules", lang)}
            try:
                row["datatrove"] = peer_mb / peer("speed", lang, texts)
            except Unavailable as reason:
                print(reason, file=sys.stderr)
            rows.append(row)
        middle = {
            name: float(f"{statistics.median(row[name] for row in rows):.3g}") for name in rows[0]
        }
        ratio: float | str = "unavailable"
        if all("datatrove" in row for row in rows):
            ratio = float(f"{statistics.median(r['rules'] / r['datatrove'] for r in rows):.3g}")
        result[lang] = {"mb_s": middle, "ratio": ratio}
    return result


def main() -> None:
    """Measure, print a table, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=RUNS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=("signals", "rules"), help=argparse.SUPPRESS)
    parser.add_argument("--lang", choices=tuple(LANGUAGES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(ours(given.part, given.lang)))
        return
    others = OthersShare()
    fresh("signals", "en")  # compiles what is not cached
    told = measure(given.rounds)
    try:
        agreed: Any = {lang: agreement(lang) for lang in LANGUAGES}
    except Unavailable as reason:
        agreed = str(reason)
    for lang, row in told.items():
        print(f"{lang}  MB/s {json.dumps(row['mb_s'])}  times datatrove {row['ratio']}")
    if isinstance(agreed, dict):
        for lang, table in agreed.items():
            for name, row in table.items():
                print(f"{lang}  {name:28} {json.dumps(row)}")
    line = {
        "signals_mb_s_en": told["en"]["mb_s"]["signals"],
        "signals_mb_s_zh": told["zh"]["mb_s"]["signals"],
        "rules_ratio": told["en"]["ratio"],
    }
    if given.out:
        record = {
            **line,
            "by_lang": told,
            "agreement": agreed,
            "cpu_share_of_others": others.share(),
        }
        write_record(given.out, record)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
