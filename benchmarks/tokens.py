"""What the model will see, in time: tokenising, the plan of Skywork-13B's run, lookups, loading.

    python -m benchmarks.tokens [--out benchmarks/results/tokens.json]

Each part runs in fresh processes, one core, compiled kernels cached; medians of RUNS. Tokenising is
measured beside its peers in pairs (benchmarks/tokenize.py), loading beside datatrove's and
Megatron's own readers of the same tokens. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tokenize
from benchmarks.tokenize import OthersShare

RUNS = 5
BATCH_SAMPLES = 4096  # Skywork's global batch, samples of 4,096 tokens
LENGTH = 4096
SEGMENT_BATCHES = (119_209, 65_565, 7_749)  # 2T, 1.1T and 130B tokens: 192,523 batches
LOADED_TOKENS = 60_000_000  # of one source, 120 MB: more than the caches, less than memory
LOADED_LENGTHS = (512, 4096)


def _skywork_plan() -> Any:
    from skywright.tokens import Plan, Ramp, SegmentMixture, SourceSize

    names = [f"source-{i:02}" for i in range(20)]
    shares = np.random.default_rng(0).dirichlet(np.full(19, 0.5))
    plain = {name: float(share) for name, share in zip(names, shares / shares.sum(), strict=False)}
    ramp = {names[-1]: Ramp(from_=0.1, to=0.4, mean=0.2)}
    segments = [
        SegmentMixture(
            name=f"segment-{i}",
            tokens=batches * BATCH_SAMPLES * LENGTH,
            mixture=plain if i < 2 else {**plain, **ramp},
        )
        for i, batches in enumerate(SEGMENT_BATCHES)
    ]
    sizes = {name: SourceSize.declared(4 * 10**12, [LENGTH]) for name in names}
    return Plan(1, LENGTH, sizes, segments)


def plan() -> dict[str, float]:
    """Seconds to lay out the whole run, peak MB of the process, microseconds a lookup."""
    import skywright.tokens  # noqa: F401  (importing is no part of planning)

    started = time.perf_counter()
    made = _skywork_plan()
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    draw = np.random.default_rng(1)
    batches = [draw.integers(0, made.samples, 1000) for _ in range(301)]
    made.locate(batches.pop())
    started = time.perf_counter()
    for batch in batches:
        made.locate(batch)
    lookup = (time.perf_counter() - started) / len(batches) / 1000
    return {"plan_s": seconds, "plan_mb": peak_mb, "lookup_us": lookup * 1e6}


class _NoTokenizer:
    """Turns texts into ids that are there already: loading does not ask what they mean."""

    vocab_size, bos_id, eos_id, fingerprint = 65_536, 1, 2, "benchmark"

    def encode_column(self, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        sizes = np.array([int(text) for text in texts.to_pylist()])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        return np.random.default_rng(len(sizes)).integers(3, 60_000, starts[-1]), starts


def make_shards(folder: Path) -> None:
    """Shards of documents as long as web pages are (log-normal), and the same for the peers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from skywright.tokens import Shards, TokensConfig, build
    from skywright.tokens.transfer import export

    draw = np.random.default_rng(3)
    lengths = np.clip(draw.lognormal(6.3, 1.1, 80_000), 20, 60_000).astype(int)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), LOADED_TOKENS))]
    table = pa.table(
        {
            "source": ["web"] * len(lengths),
            "lang": ["en"] * len(lengths),
            "text": [str(n) for n in lengths],
        }
    )
    pq.write_table(table, folder / "documents.parquet", row_group_size=8000)
    config = TokensConfig.model_validate({"sources": {"web": {"from": ["web"]}}})
    build(config, [folder / "documents.parquet"], _NoTokenizer(), folder / "shards")
    shards = Shards.open(folder / "shards")
    for system in ("megatron", "datatrove"):
        export(shards, "web", system, folder / system)


def _rate(read: Callable[[int], Any], tokens_at_once: int, seconds: float = 2.0) -> float:
    """Million tokens a second of read(0), read(1), ..., each of so many tokens."""
    for number in range(5):
        read(number)
    number, started = 5, time.perf_counter()
    while time.perf_counter() - started < seconds:
        read(number)
        number += 1
    return (number - 5) * tokens_at_once / (time.perf_counter() - started) / 1e6


def loader(folder: Path, length: int) -> float:
    """Our loader in batches of 32,768 tokens, in the plan's order."""
    from skywright.tokens import Loader, Plan, SegmentMixture, Shards

    shards = Shards.open(folder / "shards")
    tokens = 4 * shards.manifest.sources["web"].tokens
    part = SegmentMixture(name="s", tokens=tokens, mixture={"web": 1.0})
    made = Loader(shards, Plan(1, length, shards.sizes([length]), [part]))
    count = 32_768 // length
    limit = made.plan.samples - count
    return _rate(lambda i: made.batch(range(at := i * count % limit, at + count)), count * length)


def datatrove(folder: Path, length: int) -> float:
    """datatrove's folder dataset, shuffled, stacked into the same batches."""
    import torch
    from datatrove.utils.dataset import DatatroveFolderDataset

    dataset = DatatroveFolderDataset(
        str(folder / "datatrove"), length, shuffle=True, seed=1, token_size=2
    )
    count = 32_768 // length

    def read(number: int) -> Any:
        rows = [dataset[(number * count + i) % len(dataset)]["input_ids"] for i in range(count)]
        return torch.stack(rows)

    return _rate(read, count * length)


def megatron(folder: Path, length: int) -> float:
    """Megatron's indexed dataset: random stretches of the same length, stacked."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    dataset = IndexedDataset(str(folder / "megatron" / "web"))
    usable = np.flatnonzero(dataset.sequence_lengths >= length)
    draw = np.random.default_rng(5)
    count = 32_768 // length

    def read(number: int) -> Any:
        chosen = usable[draw.integers(0, len(usable), count)]
        rows = [dataset.get(int(i), 0, length).astype(np.int64) for i in chosen]
        return torch.from_numpy(np.stack(rows))

    return _rate(read, count * length)


PARTS: dict[str, Callable[..., Any]] = {
    "plan": plan, "loader": loader, "datatrove": datatrove, "megatron": megatron,
}  # fmt: skip


def fresh(part: str, *arguments: str) -> Any:
    """The result of a part in a process of its own on one core; None if it cannot run."""
    core = str(max(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "-c", core, sys.executable, "-m", "benchmarks.tokens", "--part", part,
         *arguments],
        capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def median(values: list[float]) -> float:
    """The median to three digits."""
    return float(f"{statistics.median(values):.3g}")


def measure() -> dict[str, Any]:
    """Every part RUNS times, peers in turn with ours; medians."""
    fresh("plan")  # compiles what is not cached
    plans = [fresh("plan") for _ in range(RUNS)]
    result: dict[str, Any] = {key: median([p[key] for p in plans]) for key in plans[0]}
    loaded: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        make_shards(Path(name))
        for length in LOADED_LENGTHS:
            fresh("loader", name, str(length))
            rows = [
                {
                    part: fresh(part, name, str(length))
                    for part in ("loader", "datatrove", "megatron")
                }
                for _ in range(RUNS)
            ]
            loaded[str(length)] = {
                part: "unavailable" if rows[0][part] is None else median([r[part] for r in rows])
                for part in rows[0]
            }
    result["loader_mtok_s"] = loaded["4096"]["loader"]
    result["loading_mtok_s"] = loaded
    return result


def main() -> None:
    """Measure, print a table, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=RUNS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        folder = [Path(given.arguments[0]), int(given.arguments[1])] if given.arguments else []
        print(json.dumps(PARTS[given.part](*folder)))
        return
    others = OthersShare()
    told = measure()
    tokenized = tokenize.measure(given.rounds)
    laptop = tokenized["vocabularies"][tokenize.LAPTOP]
    line = {
        # How many times as fast as SentencePiece, in the same round.
        "tokenize_share": {lang: row["times"]["sentencepiece"] for lang, row in laptop.items()},
        "tokenize_mb_s": {lang: row["mb_s"]["skywright"] for lang, row in laptop.items()},
        **{key: told[key] for key in ("plan_s", "plan_mb", "lookup_us", "loader_mtok_s")},
    }
    for name, by_lang in tokenized["vocabularies"].items():
        for lang, row in by_lang.items():
            print(f"{name:12} {lang:5} MB/s {json.dumps(row['mb_s'])}")
    for length, rates in told["loading_mtok_s"].items():
        print(f"loading, samples of {length} tokens, Mtok/s {json.dumps(rates)}")
    if given.out:
        record = {**tokenized, **told, **line, "cpu_share_of_others": others.share()}
        given.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
