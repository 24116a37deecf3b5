"""The twin of recipes/skywork-13b.yaml: its layout, segments and ramp, smaller in numbers alone.

Four processes under torchrun stand for the report's 512: two data ranks, two stages, ZeRO-1.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from skywright.engine.files import read_json
from skywright.parallel.config import ParallelConfig

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "skywork-13b.yaml"
BATCH, LENGTH = 8, 64
STEPS = {"stage-1-session-1": 24, "stage-1-session-2": 8, "stage-2": 16}
CRAWL = {  # each of the recipe's sources -> the shipped file that stands in, and every how-many-th
    "en_web": ("en_blogs", 0, 2), "en_books": ("en_blogs", 1, 2), "en_papers": ("en_peps", 0, 3),
    "en_encyclopedia": ("en_peps", 1, 3), "en_miscellany": ("en_peps", 2, 3),
    "zh_web": ("zh_wiki", 0, 4), "zh_social": ("zh_wiki", 1, 4),
    "zh_encyclopedia": ("zh_wiki", 2, 4), "zh_miscellany": ("zh_wiki", 3, 4),
    "other_encyclopedia": ("en_literature", 0, 1), "github": ("gsm8k", 0, 40),
    "stem": ("gsm8k", 1, 40),
}  # fmt: skip


def twin(folder: Path) -> dict[str, Any]:
    """The recipe with other inputs and smaller numbers."""
    recipe: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    for item in recipe["corpus"]["inputs"]:
        name, first, every = CRAWL[item["source"]]
        item["path"] = str(folder / f"{item['source']}.jsonl")
        with open(item["path"], "w", encoding="utf-8") as stream:
            stream.writelines([*lines(name)][first::every][:80])
    recipe["corpus"]["partitions"] = 2
    recipe["corpus"]["rules"] = {"source": {source: {"off": ["*"]} for source in CRAWL}}
    recipe["corpus"]["code"] = {"min_lines": 0}  # what stands for code here is no code
    recipe["tokenizer"] = {"vocab_size": 2048, "sample_bytes": "1 MB", "character_coverage": 0.98}
    recipe["model"] |= {
        "vocab_size": 2048, "hidden": 32, "layers": 4, "heads": 4, "ffn_hidden": 80,
        "context_tokens": LENGTH,
    }  # fmt: skip
    train = recipe["train"]
    train |= {
        "sequence_tokens": LENGTH, "global_batch_tokens": BATCH * LENGTH,
        "micro_batch_tokens": LENGTH, "validate_every": 4096, "checkpoint_every": 4096,
        "export_every": 8192, "validate_max_chars": 200,
    }  # fmt: skip
    for segment in train["segments"]:
        segment["tokens"] = STEPS[segment["name"]] * BATCH * LENGTH
    train["segments"][0]["schedule"]["warmup_tokens"] = 4 * BATCH * LENGTH
    recipe["parallel"] |= {"data": 2}
    recipe["evaluate"] = {"max_chars": 200}
    recipe["workdir"] = str(folder / "run")
    return recipe


def lines(name: str) -> Iterator[str]:
    with gzip.open(ROOT / "examples" / "crawl" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as s:
        yield from s


def torchrun(recipe: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4",
         "-m", "skywright", "run", str(recipe)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


def test_the_recipes_layout_is_the_reports() -> None:
    parallel = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["parallel"]
    layout = ParallelConfig.model_validate(parallel)
    assert (layout.processes, layout.name) == (512, "dp256+pp2")


def test_the_twin_runs_from_pages_to_report_on_four_processes(tmp_path: Path) -> None:
    (path := tmp_path / "twin.yaml").write_text(yaml.safe_dump(twin(tmp_path)), encoding="utf-8")
    done = torchrun(path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "run"
    train = (run / "train" / "current").resolve()
    summary = read_json(train / "summary.json")
    assert summary["execution"]["layout"] == "dp2+pp2"
    assert summary["execution"]["processes"] == 4
    with open(train / "metrics.jsonl", encoding="utf-8") as stream:
        steps = [json.loads(line) for line in stream]
    assert [row["segment"] for row in steps] == [
        n for n, count in STEPS.items() for _ in range(count)
    ]
    losses = [row["loss_nats"] for row in steps]
    assert sum(losses[-8:]) < sum(losses[:8])
    ramp = read_json(train / "plan.json")["segments"][-1]
    assert ramp["shares"]["stem"] == pytest.approx(0.20, abs=0.03)
    curve = [point["shares"].get("stem", 0.0) for point in ramp["curve"]]
    assert curve[0] < 0.2 < curve[-1]
    rows = read_json(run / "evaluate" / "current" / "summary.json")["rows"]
    assert {row["domain"] for row in rows} == {"en_wiki", "zh_wiki", "macro"}
    assert (run / "report" / "current" / "report.html").is_file()
    again = torchrun(path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stderr.count("already done") == 6
