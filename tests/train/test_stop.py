"""Runs that are asked to stop, hang, or find no room: what is left and how they end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skywright import checkpoint
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.train import HANG_EXIT, Stopped, signals
from tests.train.faults import At
from tests.train.small import TRAIN

ROOT = Path(__file__).parents[2]
QUICK = {"sets": [], "export_at_segment_ends": False}


def steps(out):
    return [json.loads(line)["step"] for line in (out / "metrics.jsonl").open(encoding="utf-8")]


def child(small, out, code, **changes):
    """A process that trains with `changes`, `code` being run when sample 150 (step 19) is read."""
    script = (
        "import json, os, signal, sys, time; from pathlib import Path;"
        "from tests.train.small import Small; from tests.train.faults import At;"
        "from skywright.errors import UserError\n"
        f"def act(): {code}\n"
        "try:\n"
        "    Small(Path(sys.argv[1])).train(Path(sys.argv[2]),"
        " loader_wrapper=lambda x: At(x, 150, act), **json.loads(sys.argv[3]))\n"
        "except UserError as error:\n"
        "    sys.exit(f'error: {error}')"
    )
    changes = QUICK | changes
    return subprocess.run(
        [sys.executable, "-c", script, str(small.folder), str(out), json.dumps(changes)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR2, 128 + signal.SIGUSR2)],
)
def test_a_signal_saves_after_the_step_and_the_run_goes_on_as_if_nothing_was(
    small, finished, tmp_path, number, status
):
    out, before = tmp_path / "run", signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        small.train(
            out, loader_wrapper=lambda x: At(x, 150, lambda: os.kill(os.getpid(), number)), **QUICK
        )
    assert stopped.value.code == status
    assert signal.getsignal(number) is before
    newest = checkpoint.latest(out / "checkpoints")
    assert newest is not None
    last = checkpoint.read_state(newest)["step"]
    assert steps(out) == list(range(1, last + 1))
    assert last % 4 != 0, "a step that no period would have saved"
    assert not (out / "summary.json").exists()
    again = small.train(out, **QUICK)
    assert again["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]


def test_a_signal_that_comes_twice_at_once_is_one_request(small, finished, tmp_path):
    # As from Slurm and, through torchrun, once more.
    def twice():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)  # Python has noted the first one
        os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with pytest.raises(Stopped):
        small.train(out, loader_wrapper=lambda x: At(x, 150, twice), **QUICK)
    again = small.train(out, **QUICK)
    assert again["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]


@pytest.fixture
def interruptible():
    """SIGINT as Python has it; a shell's background jobs ignore it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, former)


def test_a_second_signal_later_acts_at_once(monkeypatch, interruptible):
    monkeypatch.setattr(signals, "SAME_REQUEST_S", 0.0)
    with signals.listening() as requests:
        os.kill(os.getpid(), signal.SIGINT)
        assert requests.take() == (signal.SIGINT, False)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is interruptible


def test_usr1_saves_and_training_goes_on(small, finished, tmp_path):
    out = tmp_path / "run"
    summary = small.train(
        out, keep=100, checkpoint_every=None, **QUICK,
        loader_wrapper=lambda x: At(x, 150, lambda: os.kill(os.getpid(), signal.SIGUSR1)),
    )  # fmt: skip
    assert summary["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]
    saved = [int(p.name.removeprefix("step-")) for p in sorted((out / "checkpoints").iterdir())]
    assert len(saved) == 3
    assert saved[0] < 28
    assert saved[1:] == [28, 41]


def test_a_signal_ends_the_command_with_its_status_and_says_what_to_do(small, tmp_path):
    ended = child(small, tmp_path / "run", "os.kill(os.getpid(), signal.SIGTERM)")
    assert ended.returncode == 143
    assert "Traceback" not in ended.stderr
    assert "which is saved; run the same command again to go on" in ended.stderr


def test_outside_the_main_thread_signals_are_left_alone(small, tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    seen = []
    thread = threading.Thread(
        target=lambda: seen.append(small.train(tmp_path / "run", **QUICK)["steps"])
    )
    thread.start()
    thread.join()
    assert seen == [41]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_run_that_hangs_ends_with_its_stacks_and_goes_on_later(small, finished, tmp_path):
    out = tmp_path / "run"
    ended = child(small, out, "time.sleep(1000)", hang_after=6)
    assert ended.returncode == HANG_EXIT
    assert "run the same command again to go on" in ended.stderr
    assert "in act" in (out / "stacks.txt").read_text()
    assert checkpoint.latest(out / "checkpoints") is not None
    again = small.train(out, **QUICK)
    assert again["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]


# ---------------------------------------------------------------- no room


@pytest.mark.parametrize("asynchronous", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_checkpoint_too_large_to_write_is_one_line_and_the_last_one_is_intact(
    small, finished, tmp_path, asynchronous
):
    # The limit on a file's size, set while training goes on, stands for a quota.
    out = tmp_path / "run"
    ended = child(
        small, out,
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))",
        checkpoint_async=asynchronous,
    )  # fmt: skip
    assert ended.returncode == 1
    (line,) = [x for x in ended.stderr.splitlines() if x.startswith("error:")]
    assert "cannot be written (File too large); make room and run the same command again" in line
    assert "Traceback" not in ended.stderr
    newest = checkpoint.latest(out / "checkpoints")
    assert newest is not None
    assert f"{newest.name} is intact" in line
    assert not list(out.rglob(".tmp-*"))
    again = small.train(out, **QUICK)
    assert again["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]


@pytest.fixture
def disk(tmp_path):
    """A file system of 8 MiB of its own, and a function that makes it read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        ended = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
        if ended.returncode:
            pytest.skip(f"a file system cannot be mounted here: {ended.stderr.strip()}")

    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs")
    yield folder, lambda how: mount("-o", f"remount,{how}")
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("changes", [QUICK, {"sets": [], "export_every": 256}])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    small, finished, disk, changes
):
    out, filler = disk[0] / "run", disk[0] / "filler"

    def fill():
        with open(filler, "wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(65536))
            except OSError:
                pass

    with pytest.raises(UserError, match=r"No space left on device\); make room .* is intact"):
        small.train(out, loader_wrapper=lambda x: At(x, 150, fill), **changes)
    newest = checkpoint.latest(out / "checkpoints")
    assert newest is not None
    with pytest.raises(UserError, match="No space left on device"):
        small.train(out, **changes)  # still full
    assert checkpoint.problem(newest) is None
    filler.unlink()
    again = small.train(out, **QUICK)
    assert again["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]


def test_a_read_only_folder_is_one_line(small, finished, disk):
    folder, remount = disk
    out = folder / "run"
    small.train(out, segments=TRAIN["segments"][:1], **QUICK)
    remount("ro")
    with pytest.raises(UserError, match=r"Read-only file system\); make the folder writable .*28"):
        small.train(out, **QUICK)
    with pytest.raises(UserError, match=r"Read-only file system\).*; nothing is saved yet"):
        small.train(folder / "other", **QUICK)
    remount("rw")
    again = small.train(out, **QUICK)
    assert again["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]
