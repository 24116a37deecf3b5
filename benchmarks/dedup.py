"""Near copies: speed on one core, and what is found among planted ones; beside peers.

    python -m benchmarks.dedup [--rounds 5] [--documents N] [--out benchmarks/results/dedup.json]

Speed: documents of `dedup_sets` (the example crawl with planted copies), English and Chinese
together, 170 MB in 4 files, in fresh processes on one core, compiled kernels cached; medians of the
rounds, in which the contenders take turns. `minhash_mb_s` is text to signatures in memory;
`dedup_mb_s` is all of it, from Parquet files of documents to the list of what goes, verification
included. `minhash_ratio` is dedup_mb_s over datatrove's speed at the same work (its four MinHash
steps) on a part of the same documents (500 of each language), in the same round.

Quality: precision over removals and recall over documents with a kept neighbour of .85 and more,
against exact similarities between all documents, on the English set, the Chinese set and
../shared/data/dedup where it is there; the smallest over the first two is reported. datatrove
(14 x 8, FineWeb's) and text-dedup (threshold .8, 5-grams) decide on the first 1,000 documents of
each set, and we on the same. A peer that cannot run here is said to be unavailable.
Ends with one line of JSON. `--documents 200` takes that many of each language for everything: a
trial of a minute or two.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dedup_sets import Similarities, Texts, planted
from benchmarks.peers import Unavailable, interpreter
from benchmarks.record import write_record
from benchmarks.tokenize import ONE_THREAD, OthersShare, _read, one_core

ROOT = Path(__file__).parents[1]
NEWS = ROOT.parent / "shared" / "data" / "dedup" / "news_plagiarism_1000.jsonl.gz"
FILES = {
    "en": ("en_wiki.parquet", "en_blogs.jsonl.gz", "en_peps.jsonl.gz", "en_literature.jsonl.gz"),
    "zh": ("zh_wiki.jsonl.gz", "zh_law.jsonl.gz", "zh_javaguide.jsonl.gz"),
}
PEERS = {
    "datatrove": ("datatrove_dedup", "datatrove_minhash.py", {"en": "eng", "zh": "cmn"}),
    "text_dedup": ("text_dedup", "text_dedup_minhash.py", {"en": "en", "zh": "zh"}),
}
SPEED_SEEDS = 6  # the crawl's paragraphs drawn into documents so many times: 170 MB
FILES_OF_SPEED = 4
PEER_DOCUMENTS = 500  # of each language, for a peer's speed: a round takes it some 20 s
PEER_JUDGED = 1000  # of each set, for a peer's quality
MIN_PARAGRAPH_CHARS = 60


def paragraphs() -> Texts:
    """Paragraphs of the example crawl, those that are long enough to carry a document."""
    return {
        lang: [
            p.strip()
            for name in names
            for text in _read(name)
            for p in text.split("\n\n" if lang == "en" else "\n")
            if len(p.strip()) >= MIN_PARAGRAPH_CHARS
        ]
        for lang, names in FILES.items()
    }


def identity(number: int) -> bytes:
    """An id as a corpus has it, spread evenly; its second half is the number."""
    spread = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=8).digest()
    return spread + number.to_bytes(8, "big")


def write_documents(texts: Sequence[str], folder: Path, files: int = 1) -> None:
    """Documents as a corpus has them, in so many files."""
    ids = [identity(number) for number in range(len(texts))]
    table = pa.table({"id": pa.array(ids, pa.binary(16)), "text": pa.array(texts, pa.string())})
    folder.mkdir(parents=True, exist_ok=True)
    rows = -(-len(texts) // files)
    for number in range(files):
        part = table.slice(number * rows, rows)
        pq.write_table(part, folder / f"{number}.parquet", compression="zstd", row_group_size=8192)


# ---------------------------------------------------------------- parts, each in its own process


def minhash(folder: Path) -> dict[str, Any]:
    """Seconds from text in memory to signatures."""
    from skywright.corpus.dedup.minhash import signatures

    texts = pq.read_table(folder / "all" / "documents")["text"].combine_chunks()
    signatures(texts.slice(0, 8))
    started = time.perf_counter()
    signatures(texts)
    return {"seconds": time.perf_counter() - started}


def dedup(folder: Path, name: str = "all") -> dict[str, Any]:
    """Seconds from a file of documents to what stays of it, and which that is."""
    from skywright.corpus.config import DuplicatesConfig
    from skywright.corpus.dedup.against import OLD, document_shards, ranked_shards
    from skywright.corpus.dedup.near import near_copies
    from skywright.engine.runner import Runner

    shards = document_shards(folder / name, "d")
    with tempfile.TemporaryDirectory() as work, Runner(Path(work), "inline") as runner:
        warm = document_shards(folder / "warm", "w")
        near_copies(runner, ranked_shards(runner, warm, OLD, {}), DuplicatesConfig(), 2)
        started = time.perf_counter()
        documents = ranked_shards(runner, shards, OLD, {})
        found = near_copies(runner, documents, DuplicatesConfig(), 4)
        dropped = found.outputs["near_duplicates"].read("dropped")
        seconds = time.perf_counter() - started
        steps = {name: round(output.seconds, 2) for name, output in found.outputs.items()}
    gone = {int.from_bytes(i[8:], "big") for i in dropped["id"].to_pylist()}
    count = sum(pq.read_metadata(shard.path).num_rows for shard in shards)
    return {
        "seconds": seconds,
        "kept": [i for i in range(count) if i not in gone],
        "rounds": found.rounds,
        "comparisons": found.comparisons,
        "shuffled_bytes": found.shuffled_bytes,
        "steps": steps,
    }


def fresh(part: str, *arguments: str) -> dict[str, Any]:
    """A part in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.dedup", "--part", part, *arguments],
        env={**os.environ, **ONE_THREAD}, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def peer(name: str, documents: Path, lang: str) -> dict[str, Any]:
    """What a peer keeps of JSON lines, and its seconds. Raises `Unavailable`."""
    environment, script, codes = PEERS[name]
    done = subprocess.run(
        [interpreter(environment), ROOT / "benchmarks" / "peers" / script, documents, codes[lang]],
        env={**os.environ, **ONE_THREAD, "HF_HUB_OFFLINE": "1"}, cwd=documents.parent, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"{name}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    result = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": result["seconds"], "kept": [int(i) for i in result["kept"]]}


# ---------------------------------------------------------------- the measurement


def _json_lines(texts: Sequence[str], path: Path) -> Path:
    lines = (json.dumps({"id": str(i), "text": t}) for i, t in enumerate(texts))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def quality(folder: Path, sets: Texts, peer_documents: int) -> dict[str, Any]:
    """Precision and recall of ours on every set, and of all contenders on the first documents."""
    result: dict[str, Any] = {}
    for name, texts in sets.items():
        part = texts[:peer_documents]
        rows = {"documents": len(texts), "skywright": ours(folder, name, texts)}
        beside: dict[str, Any] = {"documents": len(part)}
        beside["skywright"] = ours(folder, f"{name}-part", part)
        true = Similarities(part)
        lines = _json_lines(part, folder / f"{name}-lines" / "documents.jsonl")
        for other in PEERS:
            try:
                kept = peer(other, lines, "zh" if name == "zh" else "en")["kept"]
                beside[other] = true.judge(set(kept), range(len(part)))
            except Unavailable as error:
                beside[other] = f"unavailable: {error}"
        result[name] = rows | {"beside_peers": beside}
    return result


def ours(folder: Path, name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Precision and recall of ours."""
    write_documents(texts, folder / name / "documents")
    found = fresh("dedup", str(folder), name)
    # Ours takes the longer of two copies for the better one, then the smaller id.
    best_first = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), identity(i)))
    place = {document: at for at, document in enumerate(best_first)}
    order = [place[i] for i in range(len(texts))]
    judged = Similarities(texts).judge(set(found["kept"]), order)
    return judged | {"rounds": found["rounds"], "comparisons": found["comparisons"]}


def _size_mb(texts: Sequence[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def speed(folder: Path, sets: Texts, rounds: int, limit: int | None) -> dict[str, Any]:
    """MB/s of ours and of datatrove, in turns."""
    everything = [
        text
        for seed in range(1, (1 if limit else SPEED_SEEDS) + 1)
        for group in planted(paragraphs(), seed).values()
        for text in group[:limit]
    ]
    write_documents(everything, folder / "all" / "documents", FILES_OF_SPEED)
    size_mb = _size_mb(everything)
    parts = {lang: sets[lang][:PEER_DOCUMENTS] for lang in FILES}
    lines = {lang: _json_lines(parts[lang], folder / f"part-{lang}" / "d.jsonl") for lang in FILES}
    measured: dict[str, list[float]] = {"minhash": [], "dedup": [], "datatrove": []}
    last: dict[str, Any] = {}
    reason = ""
    with one_core():
        fresh("minhash", str(folder))  # compiles what is not cached
        fresh("dedup", str(folder))
        for _ in range(rounds):
            measured["minhash"].append(size_mb / fresh("minhash", str(folder))["seconds"])
            last = fresh("dedup", str(folder))
            measured["dedup"].append(size_mb / last["seconds"])
            try:
                seconds = sum(sum(peer("datatrove", lines[g], g)["seconds"]) for g in FILES)
                measured["datatrove"].append(sum(map(_size_mb, parts.values())) / seconds)
            except Unavailable as error:
                reason = str(error)
    ratios = [a / b for a, b in zip(measured["dedup"], measured["datatrove"], strict=False)]
    return {
        "megabytes": size_mb,
        "documents": len(everything),
        "mb_s": {k: [float(f"{v:.3g}") for v in values] for k, values in measured.items()},
        "minhash_mb_s": _median(measured["minhash"]),
        "dedup_mb_s": _median(measured["dedup"]),
        "datatrove_mb_s": _median(measured["datatrove"]) if ratios else f"unavailable: {reason}",
        "minhash_ratio": _median(ratios) if ratios else None,
        **{k: last[k] for k in ("rounds", "comparisons", "shuffled_bytes", "steps")},
    }


def _median(values: Sequence[float]) -> float:
    return float(f"{statistics.median(values):.3g}")


def measure(rounds: int, limit: int | None) -> dict[str, Any]:
    """Quality and speed; with `limit` of so many documents of each language."""
    sets = {lang: texts[:limit] for lang, texts in planted(paragraphs()).items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_documents(sets["en"][:64], folder / "warm" / "documents")
        found = {"speed": speed(folder, sets, rounds, limit)}
        if NEWS.is_file():
            with gzip.open(NEWS, "rt", encoding="utf-8") as stream:
                sets["news"] = [json.loads(line)["text"] for line in stream][:limit]
        return found | {"quality": quality(folder, sets, PEER_JUDGED)}


PARTS = {"minhash": minhash, "dedup": dedup}


def main() -> None:
    """Measure, print a table, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, help="of each language: a trial")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(PARTS[given.part](Path(given.arguments[0]), *given.arguments[1:])))
        return
    others = OthersShare()
    found = measure(given.rounds, given.documents)
    quick = found["speed"]
    judged = [found["quality"][lang]["skywright"] for lang in FILES]
    line = {
        **{name: quick[name] for name in ("minhash_mb_s", "dedup_mb_s", "minhash_ratio")},
        "precision": round(min(row["precision"] for row in judged), 4),
        "recall": round(min(row["recall"] for row in judged), 4),
    }
    for name, rows in found["quality"].items():
        print(
            f"{name:5} all {rows['documents']:6} {'skywright':11} {json.dumps(rows['skywright'])}"
        )
        beside = rows["beside_peers"]
        for contender in ("skywright", *PEERS):
            told = f"{contender:11} {json.dumps(beside[contender])}"
            print(f"{name:5} part {beside['documents']:5} {told}")
    print(json.dumps(quick))
    print(f"bytes shuffled: {quick['shuffled_bytes'] / 1e6:.1f} MB of {quick['megabytes']:.1f} MB")
    if given.out:
        write_record(given.out, {**line, **found, "cpu_share_of_others": others.share()})
    print(json.dumps(line))


if __name__ == "__main__":
    main()
