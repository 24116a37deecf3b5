"""From WARC to extracted, language-tagged documents: pages a second, beside datatrove.

    python -m benchmarks.pages CACHE [--rounds 5] [--out benchmarks/results/pages.json]

CACHE is a folder for the pages of Debian packages (benchmarks/debian_pages.py makes them there).
Everything runs as shipped: skywright with its default configuration, ledger on, Parquet out, into
a new folder each time; datatrove with its URL filter, Trafilatura, language filter and Parquet
writer. One core each; lists, models and worker processes are there before the clock starts.

* Beside datatrove (trafilatura 1.11, as it asks for it, and 2.3, which its metadata excludes): on
  the first file of Debian pages and the pages of the WARC files of ../shared/data where they are,
  packed as Common Crawl packs them (without a payload type datatrove passes over XHTML); in turn,
  every round in fresh processes.
* Alone: all Debian pages, one core; pages a second and peak memory of the worker.
* One and two workers, in turn, on eight files.

Ends with one line of JSON: ratios and speeds are medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import debian_pages
from benchmarks.peers import LOCKS, Unavailable, interpreter
from benchmarks.record import write_record
from benchmarks.tokenize import OthersShare

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data" / "warc"
PEERS = {"datatrove": "datatrove_pages", "datatrove_trafilatura2": "datatrove_pages_trafilatura2"}
ROUNDS = 5
PAIRED_FILES = 8  # of Debian pages, for one worker against two
WARM_PAGE = "<html><body><p>The old town has four bridges, and each is of another guild.</p></body>"


def ours(warcs: Path, out: Path, workers: int) -> dict[str, Any]:
    """Seconds, records, documents, peak MB of a process, and seconds by stage.

    Without workers everything runs in this process.
    """
    from skywright.corpus import ledger
    from skywright.corpus.config import CorpusConfig
    from skywright.corpus.joined import join
    from skywright.corpus.pipeline import read_pages
    from skywright.corpus.sources.files import discover
    from skywright.engine.runner import Runner

    def run(runner: Runner, folder: Path) -> dict[str, Any]:
        config = CorpusConfig.model_validate(
            {"inputs": [{"source": "web", "path": str(folder), "kind": "warc"}]}
        )
        done = read_pages(config, discover(config.inputs), runner)
        documents, extracted = done["extract"].shards("documents"), done["extract"]
        traces = join(
            done["urls"].shards("records"), done["index"].shards("errors"), documents,
            extracted.shards("dropped"), extracted.shards("errors"), meta={},
        )  # fmt: skip
        duplicates = {"url_duplicates": done["url_duplicates"].shards("dropped")}
        done["ledger"] = runner.map(
            ledger.ENTRIES,
            traces,
            ledger.LedgerParams(drop_tables=1, error_tables=("extract",)),
            duplicates,
        )
        return done

    warm = out / "warm"
    warm.mkdir(parents=True)
    for number in range(4 * max(workers, 1)):  # so many that every worker gets one
        page = debian_pages.record(f"https://warm.example/{number}", WARM_PAGE.encode())
        (warm / f"{number}.warc.gz").write_bytes(page)
    executor = "processes" if workers else "inline"
    with Runner(out / "stages", executor, workers or None) as runner:
        run(runner, warm)
        started = time.perf_counter()
        done = run(runner, warcs)
        seconds = time.perf_counter() - started
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "records": done["ledger"].rows("ledger"),
        "documents": done["extract"].rows("documents"),
        "peak_mb": max(resource.getrusage(which).ru_maxrss / 1e3 for which in who),
        "steps": {name: round(output.seconds, 3) for name, output in done.items()},
    }


def fresh(command: list[Any], cores: int = 1) -> Any:
    """The last line of a command's output as JSON, on so many cores; Unavailable if it fails."""
    chosen = ",".join(map(str, sorted(os.sched_getaffinity(0))[-cores:]))
    with tempfile.TemporaryDirectory() as out:
        filled = [str(part).replace("{out}", f"{out}/run") for part in command]
        done = subprocess.run(
            ["taskset", "-c", chosen, *filled], cwd=ROOT, capture_output=True, text=True,
            check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if done.returncode:
        raise Unavailable((done.stderr.strip() or "no message").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def our_command(warcs: Path, workers: int) -> list[Any]:
    """The command of a fresh run of ours."""
    return [
        sys.executable, "-m", "benchmarks.pages", "--part", "ours", warcs, "{out}", workers,
    ]  # fmt: skip


def peer_command(name: str, warcs: Path) -> list[Any]:
    """The command of a fresh run of a peer."""
    from skywright.corpus.language import MODEL

    return [interpreter(PEERS[name]), LOCKS / "datatrove_pages.py", warcs, "{out}", MODEL]


def packed(files: list[Path], target: Path) -> None:
    """The HTML pages of WARC files in one file, each with the type of its payload."""
    from skywright.corpus.pages import HTML_TYPES
    from skywright.corpus.sources.warc import read_warc_file

    with open(target, "wb") as stream:
        for path in files:
            for page in read_warc_file(path, "web", 8 << 20):
                if page.payload and page.status == 200 and page.content_type in HTML_TYPES:
                    charset = f"; charset={page.charset}" if page.charset else ""
                    told = f"{page.content_type}{charset}"
                    stream.write(debian_pages.record(page.url or "", page.payload, told))


def linked(files: list[Path], folder: Path) -> Path:
    """A folder with these files in it."""
    folder.mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, folder / path.name)
    return folder


def median(values: list[float]) -> float:
    """The median to three digits."""
    return float(f"{statistics.median(values):.3g}")


def beside(sample: Path, rounds: int) -> dict[str, Any]:
    """Ours and the peers in turn on the same files."""
    commands: dict[str, list[Any]] = {"skywright": our_command(sample, 0)}
    runs: dict[str, list[Any]] = {"skywright": []}
    unavailable: dict[str, str] = {}
    for name in PEERS:
        try:
            commands[name] = peer_command(name, sample)
            runs[name] = []
        except Unavailable as reason:
            unavailable[name] = str(reason)
    for _ in range(rounds):
        for name, command in commands.items():
            try:
                runs[name].append(fresh(command))
            except Unavailable as reason:
                if name == "skywright":
                    raise
                unavailable[name] = str(reason)
    ratios = {
        name: median(
            [
                p["seconds"] / o["seconds"]
                for p, o in zip(runs[name], runs["skywright"], strict=True)
            ]
        )
        for name in PEERS
        if len(runs.get(name, [])) == rounds
    }
    return {
        "ratios": ratios,
        "unavailable": unavailable,
        "seconds": {n: [round(r["seconds"], 2) for r in done] for n, done in runs.items()},
        "last": {name: done[-1] for name, done in runs.items() if done},
    }


def measure(cache: Path, rounds: int) -> dict[str, Any]:
    """All three measurements."""
    debian = debian_pages.make(cache)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = sorted(SHARED.glob("*.warc.gz")) if SHARED.is_dir() else []
        sample = linked([debian[0]], folder / "sample")
        packed(shared, sample / "shared.warc.gz")
        found = beside(sample, rounds)
        everything = fresh(our_command(cache / "warc", 1))
        part = linked(debian[:PAIRED_FILES], folder / "part")
        pairs = [
            [fresh(our_command(part, workers), cores=workers)["seconds"] for workers in (1, 2)]
            for _ in range(rounds)
        ]
    return {
        **found,
        "shared_files": [path.name for path in shared],
        "all_debian_pages": everything,
        "workers_seconds": [[round(s, 2) for s in pair] for pair in pairs],
        "two_worker_speedup": median([one / two for one, two in pairs]),
    }


def main() -> None:
    """Measure, print step times, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        _, warcs, out, workers = given.part
        print(json.dumps(ours(Path(warcs), Path(out), int(workers))))
        return
    if given.cache is None:
        parser.error("name a folder for the pages, such as ~/.cache/skywright-pages")

    others = OthersShare()
    told = measure(given.cache, given.rounds)
    everything = told["all_debian_pages"]
    line = {
        "end_to_end_ratio": told["ratios"].get("datatrove", "unavailable"),
        "trafilatura2_ratio": told["ratios"].get("datatrove_trafilatura2", "unavailable"),
        "pages_s": float(f"{everything['records'] / everything['seconds']:.3g}"),
        "peak_rss_mb": round(everything["peak_mb"]),
        "two_worker_speedup": told["two_worker_speedup"],
    }
    for name, run in told["last"].items():
        print(f"{name}: {run['documents']} documents in {run['seconds']:.1f} s, peak "
              f"{run['peak_mb']:.0f} MB; seconds by step {json.dumps(run['steps'])}")  # fmt: skip
    for name, reason in told["unavailable"].items():
        print(f"{name}: unavailable ({reason})")
    print(f"all Debian pages: {everything['records']} records in {everything['seconds']:.1f} s; "
          f"seconds by step {json.dumps(everything['steps'])}")  # fmt: skip
    if given.out:
        write_record(given.out, {**line, **told, "cpu_share_of_others": others.share()})
    print(json.dumps(line))


if __name__ == "__main__":
    main()
