"""The whole corpus, from WARC to release, beside datatrove with the same steps; one core each.

    python -m benchmarks.corpus [--copies 10] [--rounds 5] [--out FILE]
    python -m benchmarks.corpus --only pii

The pages are those of the example crawl's handbook, `copies` times, with the paragraphs of each
copy exchanged among all pages of its language: real HTML, real text, no copies of whole pages. Ours
runs its default recipe (reading, addresses, language, rules, scores, exact and near copies,
personal data) and writes the release; datatrove reads, extracts, detects the language, applies
Gopher's and FineWeb's filters and MinHash, and writes JSON lines. Pairs A B A B in fresh processes;
the ratio of a round is datatrove's wall time over ours, start-up included. Ends with one line of
JSON.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.tokenize import OthersShare

ROOT = Path(__file__).parents[1]
CRAWL = ROOT / "examples" / "crawl" / "debian_handbook.warc.gz"
MODEL = ROOT / "skywright" / "corpus" / "assets" / "lid.176.ftz"
_PARAGRAPH = re.compile(rb"(<div class=\"para\">)(.*?)(</div>)", re.DOTALL)


def make_warc(path: Path, copies: int) -> int:
    """Write the pages; returns how many."""
    from skywright.corpus.sources.warc import read_warc_file

    records = [r for r in read_warc_file(CRAWL, "crawl", 1 << 24) if r.payload and r.form == "html"]
    pools: dict[str, list[bytes]] = {}
    for record in records:
        pools.setdefault(_lang(record.url), []).extend(
            match.group(2) for match in _PARAGRAPH.finditer(record.payload)
        )
    draw = np.random.default_rng(0)
    count = 0
    with open(path, "wb") as stream:
        for copy in range(copies):
            for record in records:
                pool = pools[_lang(record.url)]

                def other(match: re.Match[bytes], pool: list[bytes] = pool) -> bytes:
                    return match.group(1) + pool[draw.integers(0, len(pool))] + match.group(3)

                body = _PARAGRAPH.sub(other, record.payload) if copy else record.payload
                stream.write(_member(f"{record.url}?copy={copy}", body))
                count += 1
    return count


def _lang(url: str | None) -> str:
    match = re.search(r"/browse/([A-Za-z-]+)/", url or "")
    return match.group(1) if match else ""


def _member(url: str, body: bytes) -> bytes:
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    content = head.encode() + body
    warc = (
        "WARC/1.0\r\nWARC-Type: response\r\n"
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>\r\n"
        "WARC-Identified-Payload-Type: text/html\r\n"
        f"WARC-Target-URI: {url}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        "Content-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as member:
        member.write(warc.encode() + content + b"\r\n\r\n")
    return packed.getvalue()


def ours(warc: Path, out: Path) -> dict[str, Any]:
    """Build and release; what was kept."""
    from skywright.corpus.config import CorpusConfig
    from skywright.corpus.pipeline import build
    from skywright.corpus.release import release

    config = CorpusConfig.model_validate(
        {"inputs": [{"source": "web", "path": str(warc)}], "partitions": 1}
    )
    built = build(config, [], out / "corpus", executor="inline")
    release(built.folder, out / "release", config)
    return {"kept": built.waterfall["kept"], "by_lang": built.waterfall["by_lang"]}


def pii_speed() -> dict[str, float]:
    """MB/s of finding personal data in the example texts and pages, median of seven."""
    import pyarrow as pa

    from skywright.corpus import pii
    from skywright.corpus.extract import extract
    from skywright.corpus.sources.warc import read_warc_file

    texts = [
        extract(
            r.payload, r.charset, max_tags=10**6, max_depth=1000, max_text_bytes=1 << 24
        ).text or ""
        for r in read_warc_file(CRAWL, "crawl", 1 << 24) if r.payload and r.form == "html"
    ]  # fmt: skip
    for path in sorted((ROOT / "examples" / "crawl").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            texts += [json.loads(line)["text"] for line in stream]
    column = pa.array(texts)
    size = sum(len(text.encode()) for text in texts) / 1e6
    times = []
    for _ in range(7):
        started = time.perf_counter()
        rows = pii.candidates(column)
        found = sum(len(pii.find(texts[row], groups)) for row, groups in rows.items())
        times.append(time.perf_counter() - started)
    return {
        "pii_mb_s": round(size / statistics.median(times), 1),
        "mb": round(size, 1),
        "texts_read_in_python": len(rows),
        "texts": len(texts),
        "found": found,
    }


def timed(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a process on one core; its last line of JSON, wall seconds, peak memory of its own."""
    core = str(max(os.sched_getaffinity(0)))
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", core, *command], stdout=told, stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, cwd=ROOT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(errors.read()[-2000:])
        lines = told.read().splitlines()
    return {"seconds": seconds, "peak_rss_mb": usage.ru_maxrss / 1e3, **json.loads(lines[-1])}


def measure(copies: int, rounds: int) -> dict[str, Any]:
    """Rounds of ours and datatrove in turn; medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warc = folder / "in" / "pages.warc.gz"
        warc.parent.mkdir()
        pages = make_warc(warc, copies)
        ours_command = [sys.executable, "-m", "benchmarks.corpus", "--part", str(warc)]
        timed([*ours_command, str(folder / "warm")], {})  # compiles what is not cached
        try:
            python = peers.interpreter("datatrove_corpus")
        except peers.Unavailable as reason:
            python, why = None, str(reason)
        rows = []
        for number in range(rounds):
            row = {"skywright": timed([*ours_command, str(folder / f"ours-{number}")], {})}
            if python is not None:
                row["datatrove"] = timed(
                    [str(python), str(ROOT / "benchmarks/peers/datatrove_corpus.py"),
                     str(warc.parent), str(folder / f"theirs-{number}"), str(MODEL)],
                    {"HF_HUB_OFFLINE": "1"},
                )  # fmt: skip
            rows.append(row)
    seconds = [row["skywright"]["seconds"] for row in rows]
    result: dict[str, Any] = {
        "pages": pages,
        "kept": rows[0]["skywright"]["kept"],
        "pages_s": round(pages / statistics.median(seconds), 1),
        "peak_rss_mb": round(max(row["skywright"]["peak_rss_mb"] for row in rows)),
        "end_to_end_ratio": None,
        "rounds": rows,
    }
    if python is None:
        result["datatrove"] = f"unavailable: {why}"
    else:
        ratios = [row["datatrove"]["seconds"] / row["skywright"]["seconds"] for row in rows]
        result["end_to_end_ratio"] = round(statistics.median(ratios), 1)
        result["datatrove_kept"] = rows[0]["datatrove"]["kept"]
        result["datatrove_peak_rss_mb"] = round(
            max(row["datatrove"]["peak_rss_mb"] for row in rows)
        )
    return result


def main() -> None:
    """Measure, print what was kept, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["pii"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(ours(*given.part)))
        return
    others = OthersShare()
    result = pii_speed() if given.only == "pii" else measure(given.copies, given.rounds)
    result["cpu_share_of_others"] = others.share()
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    keys = ("end_to_end_ratio", "pages_s", "peak_rss_mb")
    if given.only == "pii":
        print(json.dumps(result))
        return
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}))
    print(json.dumps({key: result[key] for key in keys}))


if __name__ == "__main__":
    main()
