"""How a run is computed is chosen once, kept with the run, and told when it changes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from skywright.engine.files import read_json
from skywright.parallel.config import ParallelConfig
from skywright.parallel.world import ALONE
from skywright.train import TrainConfig, execution
from skywright.train.execution import Execution, execution_of
from tests.train.small import MODEL, TRAIN, Small


def choose(out: Path, **changes: Any) -> Execution:
    config = TrainConfig.model_validate(TRAIN | changes)
    return execution_of(config, MODEL, ParallelConfig(), ALONE, torch.float32, out)


def test_a_measured_choice_is_kept_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def pays(*_: Any) -> bool:
        asked.append(True)
        return True

    monkeypatch.setattr(execution, "compiling_pays", pays)
    first = choose(tmp_path)
    assert first.compiled
    assert len(asked) == 1
    assert read_json(tmp_path / "execution.json") == first.model_dump()
    assert choose(tmp_path) == first
    assert len(asked) == 1


def test_threads_are_taken_as_the_run_began(tmp_path: Path) -> None:
    assert choose(tmp_path, threads=1).threads == 1
    assert choose(tmp_path, threads=None).threads == 1


def test_going_on_otherwise_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    choose(tmp_path, threads=1, compile="off")
    with caplog.at_level(logging.WARNING):
        changed = choose(tmp_path, threads=2, compile="layers")
    assert (changed.threads, changed.compiled) == (2, True)
    assert "threads 1 -> 2, compiled False -> True: the same samples" in caplog.text


def test_a_short_run_is_not_compiled(tmp_path: Path) -> None:
    assert not choose(tmp_path).compiled


@pytest.mark.full
def test_compiling_is_measured_and_a_compiled_run_goes_on_to_the_same_bytes(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(execution, "SHORT_S", 0.0)
    with caplog.at_level(logging.INFO):
        choose(tmp_path / "measured")
    assert "compiling took" in caplog.text or "not compiled" in caplog.text
    calm = small.train(tmp_path / "calm", compile="layers")
    small.train(tmp_path / "halved", compile="layers", segments=TRAIN["segments"][:1])
    again = small.train(tmp_path / "halved")  # auto takes what the run has
    assert again["execution"]["compiled"]
    assert again["weights_sha256"] == calm["weights_sha256"]
