"""How fast records come out of files, beside the readers that others use.

    python -m benchmarks.sources [--out benchmarks/results/sources.json]

One core. Files of some tens of MB are made from the shipped crawl (examples/crawl) in every format;
each reader runs in fresh processes, ours and the peers in turn, ROUNDS times; medians of
processor time. MB are unpacked bytes of the file. A peer does what its users do with a page: it
reads each response with its headers and its body (fastwarc 2 from our own environment, warcio from
its locked one); it checks no digest unless it says so. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.peers import Unavailable, interpreter
from benchmarks.record import write_record
from benchmarks.tokenize import OthersShare

ROUNDS = 5
CRAWL = Path(__file__).parents[1] / "examples" / "crawl"
COPIES = 6

OURS = """
import sys, time
from skywright.corpus.config import InputConfig
from skywright.corpus.sources.files import discover, read_records
(shard,) = discover([InputConfig(source="s", path=sys.argv[1])])
started = time.process_time()
records = sum(record.rule is None for record in read_records(shard, shard.path, 8 * 2**20))
print(records, time.process_time() - started)
"""
FASTWARC = """
import sys, time
from fastwarc.warc import ArchiveIterator, WarcRecordType
started = time.process_time()
records = 0
with open(sys.argv[1], "rb") as file:
    for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True,
                                  verify_digests=len(sys.argv) > 2):
        records += len(record.reader.read()) > 0
print(records, time.process_time() - started)
"""
WARCIO = """
import sys, time
from warcio.archiveiterator import ArchiveIterator
started = time.process_time()
records = 0
with open(sys.argv[1], "rb") as file:
    for record in ArchiveIterator(file, check_digests=len(sys.argv) > 2):
        if record.rec_type == "response":
            records += len(record.content_stream().read()) > 0
print(records, time.process_time() - started)
"""


def make_files(folder: Path) -> dict[str, tuple[Path, int]]:
    """The file of every format, and its unpacked size in bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    warc = (CRAWL / "debian_handbook.warc.gz").read_bytes() * COPIES
    with gzip.open(CRAWL / "zh_law.jsonl.gz") as file:
        lines = file.read().splitlines(keepends=True)
    with gzip.open(CRAWL / "en_peps.jsonl.gz") as file:
        lines += file.read().splitlines(keepends=True)
    jsonl = b"".join(lines * COPIES)
    rows = [json.loads(line) for line in lines]
    pages = "".join(
        f"  <page>\n    <title>{number}</title>\n    <ns>0</ns>\n    <id>{number}</id>\n"
        f"    <revision>\n      <text>{escape(row['text'])}</text>\n    </revision>\n  </page>\n"
        for number, row in enumerate(rows * COPIES)
    ).encode()
    text = pa.table({"text": [row["text"] for row in rows * COPIES]})
    files = {
        "warc.gz": ("a.warc.gz", warc, len(gzip.decompress(warc))),
        "warc": ("a.warc", gzip.decompress(warc), len(gzip.decompress(warc))),
        "jsonl": ("a.jsonl", jsonl, len(jsonl)),
        "jsonl.gz": ("a.jsonl.gz", gzip.compress(jsonl, 6), len(jsonl)),
        "jsonl.zst": ("a.jsonl.zst", zstandard.compress(jsonl), len(jsonl)),
        "mediawiki.bz2": ("pages-articles.xml.bz2", bz2.compress(pages), len(pages)),
        "mediawiki": ("pages-articles.xml", pages, len(pages)),
    }
    made = {}
    for name, (file_name, data, size) in files.items():
        (folder / file_name).write_bytes(data)
        made[name] = (folder / file_name, size)
    pq.write_table(text, folder / "a.parquet", compression="zstd", row_group_size=500)
    return {**made, "parquet": (folder / "a.parquet", text.nbytes)}


def run(python: str | Path, code: str, *arguments: str) -> tuple[int, float]:
    """Records and CPU seconds of one reader in a fresh process."""
    done = subprocess.run(
        [str(python), "-c", code, *arguments], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    records, seconds = done.stdout.split()
    return int(records), float(seconds)


def measure(folder: Path) -> dict[str, Any]:
    """Medians for every format, and for the peers on WARC."""
    files = make_files(folder)
    readers: dict[str, tuple[Any, ...]] = {
        f"ours {name}": (sys.executable, OURS, path) for name, (path, _) in files.items()
    }
    for name in ("warc.gz", "warc"):
        path = files[name][0]
        readers[f"fastwarc {name}"] = (sys.executable, FASTWARC, path)
        readers[f"fastwarc, digests, {name}"] = (sys.executable, FASTWARC, path, "check")
        try:
            warcio = interpreter("warcio")
        except Unavailable as reason:
            print(f"warcio is unavailable: {reason}")
            continue
        readers[f"warcio {name}"] = (warcio, WARCIO, path)
        readers[f"warcio, digests, {name}"] = (warcio, WARCIO, path, "check")
    times: dict[str, list[float]] = {name: [] for name in readers}
    counts: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, (python, code, *arguments) in readers.items():
            counts[name], seconds = run(python, code, *map(str, arguments))
            times[name].append(seconds)
    results = {}
    for name, seconds_all in times.items():
        seconds = statistics.median(seconds_all)
        size = files[name.rpartition(" ")[2]][1]
        results[name] = {
            "records": counts[name],
            "records_s": round(counts[name] / seconds),
            "mb_s": round(size / seconds / 1e6, 1),
        }
        print(f"{name:28} {results[name]['records_s']:8,} records/s "
              f"{results[name]['mb_s']:8,.1f} MB/s")  # fmt: skip
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    others, started = OthersShare(), time.time()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    summary = {
        "readers": results,
        "rounds": ROUNDS,
        "cpu_share_of_others": others.share(),
        "seconds": round(time.time() - started),
    }
    if options.out:
        write_record(options.out, summary)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
