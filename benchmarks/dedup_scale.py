"""Near copies of millions of documents on one machine: time, memory and disk, and their growth.

    python -m benchmarks.dedup_scale [1000000 3000000 10000000] [--workers 2] [--out FILE]
    python -m benchmarks.dedup_scale --hot 200000

Documents are synthetic: ten sentences of ten words from a stock of 200,000, about 790 bytes; a
fifth of them are copies of another document, anywhere in the set, with one to three words
replaced. Each size runs in a fresh process with as many worker processes as asked for; memory is
the largest sum over its processes of what is resident and private (USS), looked at four times a
second. With --hot all documents share one template and so all their buckets: the worst case of a
hot key, in one worker, with as many documents without it for comparison.

Ends with one line of JSON. On two busy cores 300,000 take under a minute; 10M need some 30 GB of
disk under the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import write_record

ROOT = Path(__file__).parents[1]
SIZES = (1_000_000, 3_000_000, 10_000_000)
SHARD_DOCUMENTS = 100_000
SENTENCES = 200_000
COPIES = 0.25
PARTITION_DOCUMENTS = 150_000  # of the documents, for each partition: about 0.5 GB in a worker


def _mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64's output function: numbers to random numbers."""
    x = (x + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def make_documents(folder: Path, count: int, hot: bool = False) -> int:
    """Write shards of documents; the number of planted copies (of one or two words replaced)."""

    def is_copy(numbers: np.ndarray) -> np.ndarray:
        return (_mixed(numbers ^ np.uint64(2**63)) / 2.0**64 < COPIES) & (numbers > 0)

    draw = np.random.default_rng(1)
    words = np.array([f"w{n:x}" for n in draw.integers(16**4, 16**6, 60_000)])
    stock = [" ".join(row) for row in words[draw.integers(0, len(words), (SENTENCES, 10))]]
    folder.mkdir(parents=True)
    planted = 0
    for begin in range(0, count, SHARD_DOCUMENTS):
        numbers = np.arange(begin, min(begin + SHARD_DOCUMENTS, count), dtype=np.uint64)
        original = _mixed(numbers) % np.maximum(numbers, np.uint64(1))
        copy = is_copy(numbers) & ~is_copy(original)  # of one that is itself no copy
        original = np.where(copy, original, numbers)
        rows = _mixed(original[:, None] * np.uint64(16) + np.arange(10, dtype=np.uint64))
        rows %= np.uint64(SENTENCES)
        if hot:
            rows[:, :8] = np.arange(8)  # of ten sentences eight are common: about .66 alike
        changes = draw.integers(1, 4, len(numbers))
        planted += int((copy & (changes < 3)).sum())
        texts = []
        for row, changed, n in zip(rows.tolist(), copy.tolist(), changes.tolist(), strict=True):
            text = " ".join([stock[s] for s in row])
            if changed:
                parts = text.split(" ")
                for at in draw.integers(0, 100, n).tolist():
                    parts[at] = words[draw.integers(len(words))]
                text = " ".join(parts)
            texts.append(text)
        ids = np.zeros((len(numbers), 16), np.uint8)
        ids[:, :8] = _mixed(numbers).view(np.uint8).reshape(-1, 8)
        ids[:, 8:] = numbers.view(np.uint8).reshape(-1, 8)
        column = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(ids), [None, pa.py_buffer(ids)]
        )
        table = pa.table({"id": column, "text": pa.array(texts, pa.string())})
        pq.write_table(table, folder / f"{begin:09}.parquet", compression="zstd")
    return planted


class Memory:
    """The largest sum of private memory of this process and its children, in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.25):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_full_info().uss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)

    def stop(self) -> int:
        """End watching; the peak."""
        self._stop.set()
        self._thread.join()
        return self.peak


def run(work: Path, documents: Path, workers: int) -> dict[str, Any]:
    """Near copies among the documents, in this process and its workers."""
    from skywright.corpus.config import DuplicatesConfig
    from skywright.corpus.dedup.against import OLD, document_shards, ranked_shards
    from skywright.corpus.dedup.near import near_copies
    from skywright.engine.runner import Runner

    memory = Memory()
    started = time.perf_counter()
    with Runner(work, "processes", workers) as runner:
        shards = ranked_shards(runner, document_shards(documents, "d"), OLD, {})
        count = sum(pq.read_metadata(path).num_rows for path in documents.glob("*.parquet"))
        partitions = max(4, count // PARTITION_DOCUMENTS)
        found = near_copies(runner, shards, DuplicatesConfig(), partitions)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    return {
        "seconds": round(seconds, 1),
        "partitions": partitions,
        "peak_gb": round(memory.stop() / 1e9, 3),
        "work_gb": round(size / 1e9, 2),
        "shuffled_gb": round(found.shuffled_bytes / 1e9, 2),
        "removed": found.outputs["near_duplicates"].rows("dropped"),
        "comparisons": found.comparisons,
        "rounds": found.rounds,
        "settled": found.settled,
        "work_s": {name: round(output.seconds, 1) for name, output in found.outputs.items()},
    }


def measure(count: int, workers: int, hot: bool = False) -> dict[str, Any]:
    """One size, in a fresh process; the documents and the work are removed again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted = make_documents(folder / "documents", count, hot)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.dedup_scale", "--part", str(folder / "work"),
             str(folder / "documents"), str(workers)],
            cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        shutil.rmtree(folder / "documents")
    result = json.loads(done.stdout.splitlines()[-1])
    print(count, "hot" if hot else "", json.dumps(result), flush=True)
    return {"documents": count, "planted": planted, **result}


def main() -> None:
    """Measure every size, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hot", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        work, documents, workers = given.sizes
        print(json.dumps(run(Path(work), Path(documents), int(workers))))
        return
    if given.hot:
        rows = [measure(given.hot, 1, hot) for hot in (False, True)]
    else:
        rows = [measure(int(size), given.workers) for size in given.sizes]
    if given.out:
        write_record(given.out, {"sizes": rows})
    keys = ("documents", "seconds", "peak_gb", "removed", "planted")
    print(json.dumps([{key: row[key] for key in keys} for row in rows]))


if __name__ == "__main__":
    main()
