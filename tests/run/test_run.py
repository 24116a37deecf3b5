"""The whole way on a reduced recipe: one command, resumed after kills, the same bytes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from skywright.checkpoint import load_model
from skywright.engine.files import read_json, sha256_file

ROOT = Path(__file__).parents[2]
RECIPE = "tests/run/tiny.yaml"
STEPS = ["corpus", "tokenizer", "tokens", "train", "evaluate", "leak", "study", "report"]


def command(workdir: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "skywright", "run", RECIPE, "--workdir", str(workdir), *more]


def run(workdir: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(workdir, *more), cwd=ROOT, capture_output=True, text=True, check=False
    )


def in_terminal(arguments: list[str]) -> tuple[int, str]:
    """Exit status, and all that a command writes to a terminal of 50 lines, 110 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 110, 0, 0))
    process = subprocess.Popen(
        arguments, cwd=ROOT, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return process.wait(), shown.decode(errors="replace")


def current(workdir: Path, step: str) -> Path:
    return (workdir / step / "current").resolve()


def final_hashes(workdir: Path) -> dict[str, str]:
    """sha256 of what the run is for: corpus files, tokenizer, token shards, model weights."""
    files = [
        *sorted((current(workdir, "corpus") / "documents").glob("*.parquet")),
        current(workdir, "corpus") / "ledger.parquet",
        current(workdir, "tokenizer") / "tokenizer.json",
        *sorted(p for p in current(workdir, "tokens").iterdir() if p.name != "step.json"),
        *sorted(current(workdir, "train").glob("hf/*/model.safetensors")),
        *sorted(current(workdir, "study").glob("branch/hf/*/model.safetensors")),
        current(workdir, "evaluate") / "summary.json",
        current(workdir, "leak") / "summary.json",
        current(workdir, "study") / "summary.json",
    ]
    return {str(path.relative_to(workdir.resolve())): sha256_file(path) for path in files}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An undisturbed run and how long it took."""
    workdir = tmp_path_factory.mktemp("calm")
    started = time.monotonic()
    done = run(workdir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("report.html")
    return workdir, time.monotonic() - started


def test_every_step_is_done_and_the_report_stands(calm: tuple[Path, float]) -> None:
    workdir, _ = calm
    assert list(read_json(workdir / "steps.json")) == sorted(STEPS)
    page = (current(workdir, "report") / "report.html").read_text()
    for section in ("Corpus", "Perplexity", "Leaks", "In-domain branch"):
        assert section in page
    assert "not measured yet" not in page  # what a section says whose step is not done
    assert (workdir / "recipe.resolved.yaml").is_file()
    assert read_json(workdir / "environment.json")["packages"]["torch"]


def test_running_again_does_nothing(calm: tuple[Path, float]) -> None:
    workdir, _ = calm
    stamps = {p: p.stat().st_mtime_ns for p in workdir.glob("*/*/step.json")}
    again = run(workdir, "--json")
    assert [step["skipped"] for step in json.loads(again.stdout)] == [True] * len(STEPS)
    assert stamps == {p: p.stat().st_mtime_ns for p in workdir.glob("*/*/step.json")}


def test_training_is_a_live_picture_on_a_terminal_and_what_follows_a_bar_again(
    calm: tuple[Path, float], tmp_path: Path
) -> None:
    # The study trains a branch and scores it.
    workdir = tmp_path / "run"
    shutil.copytree(calm[0], workdir, symlinks=True)
    status, shown = in_terminal(command(workdir, "--only", "study", "--set", "study.seed=9"))
    assert status == 0, shown
    ended = shown.rindex("╰")
    picture = shown[shown.rindex("╭") : ended]
    for part in ("8/8", "tokens/s", "MFU = ", "GiB", "left", "goes on (step 8)"):
        assert part in picture
    assert re.search(r"\w+ on \w+", shown[ended:]), "the bar of the scoring after training"
    assert re.search("study +done", shown[ended:])


def test_training_is_lines_where_there_is_no_terminal(
    calm: tuple[Path, float], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(calm[0], workdir, symlinks=True)
    done = run(workdir, "--only", "train", "--set", "train.seed=9")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    for part in (
        "MFU = ",
        "step 32/32",
        "step 32 held out: ",
        "step 32 after 'Once upon a time': ",
    ):
        assert part in done.stderr
    assert done.stderr.splitlines()[-1].startswith("train ")
    journal = current(workdir, "train") / "continuations.jsonl"
    assert journal.read_text(encoding="utf-8").count("\n") == 8


def test_ledger_rows_are_input_records_and_why_answers(calm: tuple[Path, float]) -> None:
    workdir, _ = calm
    ledger = pq.read_table(current(workdir, "corpus") / "ledger.parquet").to_pylist()
    waterfall = read_json(current(workdir, "corpus") / "waterfall.json")
    assert len(ledger) == waterfall["input_records"] == len({row["record"] for row in ledger})
    assert sum(row["kept"] for row in ledger) == waterfall["kept"]
    for row in (next(r for r in ledger if r["kept"]), next(r for r in ledger if not r["kept"])):
        answer = subprocess.run(
            [sys.executable, "-m", "skywright", "corpus", "why", str(workdir), row["record"]],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (row["rule"] or "kept") in answer.stdout
    unknown = subprocess.run(
        [sys.executable, "-m", "skywright", "corpus", "why", str(workdir), "no such page"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert unknown.returncode == 1
    assert "no such URL, record or id" in unknown.stderr


def test_no_held_out_document_is_in_the_corpus(calm: tuple[Path, float]) -> None:
    workdir, _ = calm
    held_out = read_json(current(workdir, "corpus") / "waterfall.json")["heldout"]
    assert held_out["sets"]["zh_wiki"]["dropped"] >= 40
    assert held_out["max_containment_kept"] < held_out["threshold"]


def test_the_exported_model_is_the_checkpoint(calm: tuple[Path, float]) -> None:
    workdir, _ = calm
    train = current(workdir, "train")
    last = read_json(train / "summary.json")["checkpoints"][-1]
    assert read_json(train / last["path"] / "export.json")["max_logit_difference"] <= 1e-4
    theirs = AutoModelForCausalLM.from_pretrained(train / last["path"], dtype=torch.float32)
    ours = load_model(train / "checkpoints" / last["name"])
    ids = torch.arange(64).reshape(2, 32)
    with torch.no_grad():
        difference = (theirs(ids).logits - ours.logits(ids)).abs().max().item()
    assert difference <= 1e-4


def test_a_changed_threshold_redoes_what_depends_on_it_and_keeps_the_rest(
    calm: tuple[Path, float], tmp_path: Path
) -> None:
    workdir = tmp_path / "changed"
    shutil.copytree(calm[0], workdir, symlinks=True)
    extracted = {p: p.stat().st_mtime_ns for p in workdir.glob("corpus/stages/extract/*/done.json")}
    done = run(workdir, "--only", "corpus", "--set", "corpus.rules.lang.en.thresholds."
               "gopher_tokens_min=120", "--json")  # fmt: skip
    assert json.loads(done.stdout)[0]["skipped"] is False
    assert extracted == {
        p: p.stat().st_mtime_ns for p in workdir.glob("corpus/stages/extract/*/done.json")
    }


def test_wrong_use_has_its_exit_status_and_one_line(tmp_path: Path) -> None:
    typo = tmp_path / "typo.yaml"
    typo.write_text((ROOT / RECIPE).read_text().replace("vocab_size: 2048, h", "vocab: 1, h"))
    for arguments, status, text in (
        (["run", str(typo)], 1, f"{typo}:27: unknown key 'model.vocab'; did you mean 'vocab_size'"),
        (["run", "nowhere.yaml"], 1, "no such recipe"),
        (["run", RECIPE, "--only", "corpsu"], 1, "no step 'corpsu'"),
        (["run", RECIPE, "--only", "train", "--workdir", str(tmp_path)], 1, "is not done"),
        (["run"], 2, "Missing argument"),
        (["corpus", "why", str(tmp_path), "x"], 1, "no finished step 'corpus'"),
        (["run", RECIPE, "--workdir", str(typo)], 1, "cannot be written to"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "skywright", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, text in done.stderr) == (status, True), done.stderr
        assert "Traceback" not in done.stderr


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    import fcntl

    with open(tmp_path / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = run(tmp_path)
    assert done.returncode == 1
    assert "another run is writing here" in done.stderr


def kill_after(workdir: Path, delay_s: float, with_workers: bool) -> bool:
    """Start the run, kill -9 it after `delay_s`; True if it was still at work."""
    process = subprocess.Popen(
        command(workdir), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(timeout=delay_s)
        return False
    except subprocess.TimeoutExpired:
        if with_workers:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        return True


def test_killed_five_times_in_a_row_and_run_again_gives_the_same_bytes(
    calm: tuple[Path, float], tmp_path: Path
) -> None:
    whole_s, kills = calm[1], 0
    while kills < 2:
        draw, kills = random.Random(5), 0
        for number in range(5):
            kills += kill_after(tmp_path, draw.uniform(0.1, 0.5) * whole_s, number % 2 == 0)
        if kills < 2:
            # Runs are quicker than the calm one, which compiled: begin again, kill earlier.
            shutil.rmtree(tmp_path)
            whole_s *= 0.5
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert final_hashes(tmp_path) == final_hashes(calm[0])


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(5))
def test_killed_at_a_random_moment_and_run_again_gives_the_same_bytes(
    calm: tuple[Path, float], tmp_path: Path, number: int
) -> None:
    delay_s = random.Random(100 + number).uniform(0, 0.95) * calm[1]
    finished = tmp_path / "report" / "current"
    while not kill_after(tmp_path, delay_s, number % 2 == 0) or finished.exists():
        # This run was quicker than the calm one and was done first: begin again, kill earlier.
        shutil.rmtree(tmp_path)
        delay_s *= 0.8
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert final_hashes(tmp_path) == final_hashes(calm[0])


def test_weights_are_finite_and_moved(calm: tuple[Path, float]) -> None:
    folders = sorted((current(calm[0], "train") / "hf").iterdir())
    first, last = (load_file(f / "model.safetensors") for f in (folders[0], folders[-1]))
    assert all(torch.isfinite(tensor).all() for tensor in last.values())
    assert any(not torch.equal(first[name], last[name]) for name in first)
