"""The whole corpus, from WARC to release, beside datatrove with the same steps; one core each.

    python -m benchmarks.corpus CACHE [--files 8] [--peer-files 2] [--rounds 5] [--out FILE]
    python -m benchmarks.corpus --only pii

The pages are real ones, of Debian's documentation packages (benchmarks/debian_pages.py makes them
in CACHE). Ours runs its default recipe (reading, addresses, language, rules, scores, exact and near
copies, personal data) and writes the release; datatrove reads, extracts, detects the language,
applies Gopher's and FineWeb's filters and MinHash, and writes JSON lines. It is given the first
`peer-files` of our `files`, because it is slow; what is compared is pages a second. Pairs A B A B
in fresh processes pinned to one core, compiled kernels cached. Seconds are of the whole process;
what a run on a single page takes (`start_s`: interpreter, imports, models) is taken off
datatrove's, which has fewer pages to spread it over, and left in ours. The default takes about a
quarter of an hour. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import debian_pages, peers
from benchmarks.record import write_record
from benchmarks.tokenize import OthersShare

ROOT = Path(__file__).parents[1]
CRAWL = ROOT / "examples" / "crawl" / "debian_handbook.warc.gz"
MODEL = ROOT / "skywright" / "corpus" / "assets" / "lid.176.ftz"
KEYS = ("end_to_end_ratio", "pages_s", "peak_rss_mb")


def inputs(folder: Path, warcs: list[Path]) -> Path:
    """A new folder with links to these files."""
    folder.mkdir()
    for path in warcs:
        (folder / path.name).symlink_to(path.absolute())
    return folder


def one_page(folder: Path) -> Path:
    """A new folder with a WARC file of the first page of the example crawl."""
    from skywright.corpus.sources.warc import read_warc_file

    pages = read_warc_file(CRAWL, "crawl", 1 << 24)
    page = next(r for r in pages if r.payload and r.form == "html")
    folder.mkdir()
    record = debian_pages.record(page.url or "", page.payload or b"")
    (folder / "page.warc.gz").write_bytes(record)
    return folder


def ours(warcs: Path, out: Path) -> dict[str, Any]:
    """Build and release; what was read and kept."""
    from skywright.corpus.config import CorpusConfig
    from skywright.corpus.pipeline import build
    from skywright.corpus.release import release

    config = CorpusConfig.model_validate({"inputs": [{"source": "web", "path": str(warcs)}]})
    built = build(config, [], out / "corpus", executor="inline")
    release(built.folder, out / "release", config)
    told = built.waterfall
    return {"pages": told["input_records"], "kept": told["kept"], "by_lang": told["by_lang"]}


def pii_speed() -> dict[str, float]:
    """MB/s of finding personal data in the example texts and pages, median of seven."""
    import pyarrow as pa

    from skywright.corpus import pii
    from skywright.corpus.config import ExtractionConfig, LimitsConfig
    from skywright.corpus.extract import extract
    from skywright.corpus.sources.warc import read_warc_file

    texts = [
        extract(r.payload, r.charset, LimitsConfig(), ExtractionConfig()).text or ""
        for r in read_warc_file(CRAWL, "crawl", 1 << 24)
        if r.payload and r.form == "html"
    ]
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
            # Bytecode is kept, as of any installed package, whatever this process was told.
            env={
                **os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "", **environment
            },
            cwd=ROOT,
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


def measure(cache: Path, files: int, peer_files: int, rounds: int) -> dict[str, Any]:
    """Rounds of ours and datatrove in turn; medians."""
    warcs = debian_pages.make(cache)[:files]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many, few = inputs(folder / "many", warcs), inputs(folder / "few", warcs[:peer_files])
        tiny = one_page(folder / "tiny")

        def our_run(warcs: Path) -> dict[str, Any]:
            shutil.rmtree(folder / "ours", ignore_errors=True)
            part = ["--part", str(warcs), str(folder / "ours")]
            return timed([sys.executable, "-m", "benchmarks.corpus", *part], {})

        def their_run(python: Path, warcs: Path) -> dict[str, Any]:
            shutil.rmtree(folder / "theirs", ignore_errors=True)
            script = ROOT / "benchmarks" / "peers" / "datatrove_corpus.py"
            command = [str(python), str(script), str(warcs), str(folder / "theirs"), str(MODEL)]
            return timed(command, {"HF_HUB_OFFLINE": "1"})

        pages_of_few = our_run(few)["pages"]  # and compiles what is not cached
        try:
            python, why = peers.interpreter("datatrove_corpus"), ""
        except peers.Unavailable as reason:
            python, why = None, str(reason)
        rows = []
        for _ in range(rounds):
            row = {"skywright": our_run(many), "skywright_start_s": our_run(tiny)["seconds"]}
            if python is not None:
                row["datatrove"] = their_run(python, few)
                row["datatrove_start_s"] = their_run(python, tiny)["seconds"]
            rows.append(row)
    pages = rows[0]["skywright"]["pages"]
    rates = [pages / row["skywright"]["seconds"] for row in rows]
    result: dict[str, Any] = {
        "pages": pages,
        "input_bytes": sum(path.stat().st_size for path in warcs),
        "kept": rows[0]["skywright"]["kept"],
        "by_lang": rows[0]["skywright"]["by_lang"],
        "pages_s": round(statistics.median(rates), 1),
        "start_s": round(statistics.median(row["skywright_start_s"] for row in rows), 2),
        "peak_rss_mb": round(max(row["skywright"]["peak_rss_mb"] for row in rows)),
        "end_to_end_ratio": None,
        "rounds": rows,
    }
    if python is None:
        return result | {"datatrove": f"unavailable: {why}"}
    theirs = [
        pages_of_few / (row["datatrove"]["seconds"] - row["datatrove_start_s"]) for row in rows
    ]
    ratios = [our / their for our, their in zip(rates, theirs, strict=True)]
    return result | {
        "end_to_end_ratio": round(statistics.median(ratios), 1),
        "datatrove": {
            "pages": pages_of_few,
            "kept": rows[0]["datatrove"]["kept"],
            "pages_s": round(statistics.median(theirs), 1),
            "start_s": round(statistics.median(row["datatrove_start_s"] for row in rows), 2),
            "peak_rss_mb": round(max(row["datatrove"]["peak_rss_mb"] for row in rows)),
        },
    }


def main() -> None:
    """Measure, print what was kept, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path, nargs="?")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--peer-files", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["pii"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(ours(*given.part)))
        return
    if given.only != "pii" and given.cache is None:
        parser.error("name a folder for the pages, such as ~/.cache/skywright-pages")
    others = OthersShare()
    result = (
        pii_speed()
        if given.only == "pii"
        else measure(given.cache, given.files, given.peer_files, given.rounds)
    )
    result["cpu_share_of_others"] = others.share()
    if given.out:
        write_record(given.out, result)
    if given.only == "pii":
        print(json.dumps(result))
        return
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}))
    print(json.dumps({key: result[key] for key in KEYS}))


if __name__ == "__main__":
    main()
