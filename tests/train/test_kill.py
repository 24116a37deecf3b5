"""A run that is killed, again and again, ends as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skywright import checkpoint
from skywright.engine.files import read_json
from tests.train.faults import Noisy

ROOT = Path(__file__).parents[2]


GUARDED = {
    "guard": {"spike": "rollback", "sigmas": 4, "window_steps": 8, "rollback_steps": 2},
    "checkpoint_async": True,
    "keep_every": 2048,
}
BAD = (130, 182)  # samples of steps 17 and 23, which cost far more than their neighbours


def noisy(loader):
    return Noisy(loader, BAD)


def start(small, out, guarded=False):
    code = (
        "import sys; from pathlib import Path; from tests.train.small import Small;"
        "from tests.train.test_kill import GUARDED, noisy;"
        "Small(Path(sys.argv[1])).train(Path(sys.argv[2]), "
        + ("loader_wrapper=noisy, **GUARDED)" if guarded else ")")
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
    for name in ("metrics.jsonl", "validation.jsonl", "continuations.jsonl"):
        lines = [json.loads(line) for line in (out / name).read_text().split("\n")[:-1]]
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


@pytest.fixture(scope="module")
def guarded(small, tmp_path_factory):
    """A run that goes back twice, saving behind training's back; nothing else disturbs it."""
    out = tmp_path_factory.mktemp("guarded") / "run"
    summary = small.train(out, loader_wrapper=noisy, **GUARDED)
    assert [row["bad_step"] for row in summary["rollbacks"]] == [17, 23]
    return out


@pytest.mark.parametrize("seed", [1, 2])
def test_a_guarded_run_killed_at_random_steps_decides_the_same_and_ends_with_the_same_bytes(
    small, guarded, tmp_path, seed
):
    out = tmp_path / "run"
    step = random.Random(seed + 10).randint(14, 38)
    metrics = out / "metrics.jsonl"
    assert kill_when(start(small, out, guarded=True), lambda: lines_of(metrics) >= step)
    small.train(out, loader_wrapper=noisy, **GUARDED)
    assert results(out) == results(guarded)
    newest = [checkpoint.latest(folder / "checkpoints") for folder in (out, guarded)]
    states = [checkpoint.read_state(path)["guard"] for path in newest]
    assert states[0] == states[1]


def test_a_kill_while_a_checkpoint_is_saved_behind_training_resumes_from_the_one_before(
    small, guarded, tmp_path
):
    out = tmp_path / "run"
    checkpoints = out / "checkpoints"

    def saving():
        if not (checkpoints / "step-00000004").exists():
            return False
        return any(path.is_file() for path in checkpoints.glob(".tmp-*/*"))

    assert kill_when(start(small, out, guarded=True), saving)
    whole = sorted(path.name for path in checkpoints.glob("step-*"))
    before = checkpoint.latest(checkpoints)
    assert before is not None
    assert before.name == whole[-1]
    assert not list(checkpoints.glob(".tmp-*")), "what the killed save left is swept"
    small.train(out, loader_wrapper=noisy, **GUARDED)
    assert results(out) == results(guarded)


def test_permanent_checkpoints_stay_beside_the_newest_and_segment_ends(guarded):
    names = sorted(path.name for path in (guarded / "checkpoints").iterdir())
    # Every 2,048 tokens: the first steps that reach 2,048, 4,096, 6,144, 8,192 and 10,240.
    assert names == [
        "step-00000008", "step-00000016", "step-00000024", "step-00000028", "step-00000033",
        "step-00000037", "step-00000041",
    ]  # fmt: skip
    summary = read_json(guarded / "summary.json")
    assert summary["permanent"] == [f"checkpoints/{names[i]}" for i in (0, 1, 2, 4, 6)]
