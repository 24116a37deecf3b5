"""What a corpus build costs: seconds a step, disk, memory, and what a second worker is worth.

    python -m benchmarks.scale [--copies 24] [--rounds 5] [--out benchmarks/results/scale.json]

The inputs are WARC files made from the pages of examples/crawl/debian_handbook.warc.gz: in every
copy one word in three is exchanged at random for another of the same pages, so that the copies are
no copies to the build, while reading, extracting and measuring do the work of real pages. Builds
run in fresh processes, in pairs of one and two workers (A B A B); start-up is measured by a build
of one page and taken off. What a list of Chinese texts costs is measured on examples/crawl/zh_*.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType

from benchmarks.record import write_record

PAGES = Path("examples/crawl/debian_handbook.warc.gz")
TEXTS = [PAGES.parent / f"zh_{name}.jsonl.gz" for name in ("law", "wiki", "javaguide")]
WORD = re.compile(rb"[A-Za-z]{4,}|(?:[\xe4-\xe9][\x80-\xbf]{2}){2}")
BUILD = """
import json, sys, time
from pathlib import Path
from skywright.corpus.config import CorpusConfig
from skywright.corpus.pipeline import build

if __name__ == "__main__":
    folder, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    inputs = [{"source": "web", "path": str(folder)}]
    config = CorpusConfig.model_validate({"inputs": inputs})
    started = time.perf_counter()
    result = build(config, [], out, workers=workers)
    print(json.dumps({"seconds": time.perf_counter() - started, "kept": result.waterfall["kept"],
                      "records": result.waterfall["input_records"]}))
"""


def responses() -> list[tuple[bytes, bytes]]:
    """Address and block (HTTP header and body) of every page."""
    with open(PAGES, "rb") as stream:
        return [
            (str(record.headers["WARC-Target-URI"]).encode(), record.reader.read())
            for record in ArchiveIterator(
                stream, parse_http=False, record_types=WarcRecordType.response
            )
        ]


def exchanged(block: bytes, words: list[bytes], chance: random.Random) -> bytes:
    """The page with a third of the words of its text replaced; tags stay as they are."""

    def other(found: re.Match[bytes]) -> bytes:
        return chance.choice(words) if chance.random() < 1 / 3 else found[0]

    head, _, body = block.partition(b"\r\n\r\n")
    parts = re.split(rb"(<[^>]*>)", body)
    text = [part if part.startswith(b"<") else WORD.sub(other, part) for part in parts]
    return head + b"\r\n\r\n" + b"".join(text)


def write_warc(path: Path, pages: list[tuple[bytes, bytes]]) -> None:
    """A WARC file, a gzip member a record."""
    with open(path, "wb") as out:
        for url, block in pages:
            head = (
                b"WARC/1.1\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:x>\r\nWARC-Target-URI: "
                + url + b"\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
                b"Content-Type: application/http; msgtype=response\r\n"
                b"Content-Length: " + str(len(block)).encode() + b"\r\n\r\n"
            )  # fmt: skip
            out.write(gzip.compress(head + block + b"\r\n\r\n", 6, mtime=0))


def make_inputs(folder: Path, copies: int) -> int:
    """Write `copies` WARC files; returns their bytes."""
    folder.mkdir()
    pages = responses()
    words = sorted({word for _, block in pages for word in WORD.findall(block)})
    for number in range(copies):
        chance = random.Random(number)
        write_warc(
            folder / f"{number:03}.warc.gz",
            [
                (url.replace(b"://", b"://c%d." % number, 1), exchanged(block, words, chance))
                for url, block in pages
            ],
        )
    return sum(path.stat().st_size for path in folder.iterdir())


def make_texts(folder: Path) -> int:
    """Unpack the Chinese lists; returns their bytes."""
    folder.mkdir()
    for path in TEXTS:
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return sum(path.stat().st_size for path in folder.iterdir())


def run(inputs: Path, out: Path, workers: int) -> dict[str, Any]:
    """One build into an empty folder, in a fresh process."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-c", BUILD, str(inputs), str(out), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def records(out: Path) -> Iterator[dict[str, Any]]:
    """The done records of a build's tasks."""
    for path in (out / "stages").glob("*/*/done.json"):
        record = json.loads(path.read_text())
        if "stage" in record:
            yield record


def costs(out: Path, input_bytes: int) -> dict[str, Any]:
    """CPU seconds a stage and GB of input, peak memory of a worker, bytes of stages."""
    cpu: dict[str, float] = {}
    peak, size = 0, 0
    for record in records(out):
        cpu[record["stage"]] = cpu.get(record["stage"], 0.0) + record["cpu_seconds"]
        peak = max(peak, record["peak_rss_bytes"])
        size += sum(output["bytes"] for output in record["outputs"].values())
    per_gb = {stage: round(value / input_bytes * 1e9, 1) for stage, value in cpu.items()}
    return {
        "cpu_s_a_gb": dict(sorted(per_gb.items(), key=lambda item: -item[1])),
        "total_cpu_s_a_gb": round(sum(per_gb.values()), 1),
        "peak_rss_mb": round(peak / 1e6),
        "stage_bytes_an_input_byte": round(size / input_bytes, 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        input_bytes = make_inputs(folder / "many", options.copies)
        (folder / "tiny").mkdir()
        write_warc(folder / "tiny" / "one.warc.gz", responses()[:1])
        run(folder / "tiny", folder / "out", 1)  # compile what is compiled once
        rounds = []
        for _ in range(options.rounds):
            row: dict[str, Any] = {}
            for workers in (1, 2):
                start_s = run(folder / "tiny", folder / "out", workers)["seconds"]
                built = run(folder / "many", folder / "out", workers)
                row[f"work_s_{workers}"] = built["seconds"] - start_s
                row[f"start_s_{workers}"] = start_s
            row["speedup"] = row["work_s_1"] / row["work_s_2"]
            rounds.append(row)
            print(json.dumps(row), file=sys.stderr)
        web = costs(folder / "out", input_bytes)
        text_bytes = make_texts(folder / "texts")
        run(folder / "texts", folder / "out", 1)
        found = {
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "date": time.strftime("%Y-%m-%d"),
            "input_bytes": input_bytes,
            "records": built["records"],
            "kept": built["kept"],
            "two_worker_speedup": round(statistics.median(r["speedup"] for r in rounds), 3),
            "pages_s": round(
                built["records"] / statistics.median(r["work_s_1"] for r in rounds), 1
            ),
            "warc_gz": web,
            "jsonl": {"input_bytes": text_bytes, **costs(folder / "out", text_bytes)},
            "rounds": rounds,
        }
    if options.out:
        write_record(options.out, found)
    found.pop("rounds")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
