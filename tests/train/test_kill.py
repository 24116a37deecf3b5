"""A run that is killed, again and again, ends as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skywright.engine.files import read_json

ROOT = Path(__file__).parents[2]


def start(small, out):
    code = (
        "import sys; from pathlib import Path; from tests.train.small import Small;"
        "Small(Path(sys.argv[1])).train(Path(sys.argv[2]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(small.folder), str(out)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_when(process, condition):
    """SIGKILL as soon as `condition()` holds; False if the process ended before that."""
    while process.poll() is None:
        if condition():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
    assert process.returncode == 0
    return False


def results(out):
    journals = {}
    for name in ("metrics.jsonl", "validation.jsonl"):
        lines = [json.loads(line) for line in (out / name).read_text().splitlines()]
        journals[name] = [{k: v for k, v in x.items() if k != "tokens_per_s"} for x in lines]
    summary = read_json(out / "summary.json")
    del summary["seconds"]  # the clock
    exports = {
        path.relative_to(out): path.read_bytes()
        for path in sorted((out / "hf").rglob("*"))
        if path.is_file()
    }
    return journals, summary, exports


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_random_steps_ends_with_the_same_bytes(small, finished, tmp_path, seed):
    out = tmp_path / "run"
    step = random.Random(seed).randint(2, 38)
    metrics = out / "metrics.jsonl"
    assert kill_when(start(small, out), lambda: lines_of(metrics) >= step)
    assert not (out / "summary.json").exists()
    small.train(out)
    assert results(out) == results(finished)


def test_a_run_killed_while_it_saves_a_checkpoint_ends_with_the_same_bytes(
    small, finished, tmp_path
):
    out = tmp_path / "run"
    checkpoints = out / "checkpoints"

    def saving():
        # After the first checkpoint, as soon as the next one's temporary folder has a file.
        if not (checkpoints / "step-00000004").exists():
            return False
        return any(path.is_file() for path in checkpoints.glob(".tmp-*/*"))

    assert kill_when(start(small, out), saving)
    small.train(out)
    assert not list(out.rglob(".tmp-*"))
    assert results(out) == results(finished)
