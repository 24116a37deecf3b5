"""A run over several processes is the run of one: samples, losses, checkpoints, exports."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skywright.checkpoint import load_model
from skywright.engine.files import read_json
from skywright.evaluate.backends.skywright import SkywrightBackend
from skywright.evaluate.batches import batched_nll
from skywright.model.decoder import Decoder, initial_weight
from skywright.parallel.config import ParallelConfig
from skywright.parallel.world import of_group
from skywright.tokenizer import Tokenizer
from skywright.train import MonitorConfig
from skywright.train.continuations import continuations
from skywright.train.learner import Spread
from skywright.train.optimizer import OptimizerConfig
from tests.parallel.processes import run
from tests.train.faults import At
from tests.train.small import MODEL, SEGMENTS, Small
from tests.train.test_continuations import lines
from tests.train.test_train import journal

UNTIED = MODEL.model_copy(update={"tie_embeddings": False, "layers": 4})
SHORT = [SEGMENTS[0] | {"tokens": 32 * 45}, SEGMENTS[1] | {"tokens": 32 * 17}]
# Steps of 8 samples; the last of the segments have 5 and 1, so that ranks have fewer, or none.
TRAIN: dict[str, Any] = {
    "segments": SHORT, "precision": "fp32", "micro_batch_tokens": 64, "checkpoint_every": 512,
    "validate_every": 512,
}  # fmt: skip


def train_here(
    folder: Path,
    out: Path,
    layouts: Sequence[dict[str, Any]],
    changes: dict[str, Any],
    killed_at: int | None = None,
) -> list[dict[str, Any]]:
    """In each process: train in each layout, into out/NAME."""
    world = of_group()
    small = Small(folder)
    found = []
    for layout in layouts:
        parsed = ParallelConfig.model_validate(layout)
        wrapper = None
        if killed_at is not None and world.rank == 1:
            wrapper = lambda loader: At(  # noqa: E731
                loader, killed_at, lambda: os.kill(os.getpid(), signal.SIGKILL)
            )
        summary = small.train(
            out / parsed.name, UNTIED, world=world, layout=parsed, loader_wrapper=wrapper,
            **TRAIN | changes,
        )  # fmt: skip
        found.append(summary)
    return found


@pytest.fixture(scope="module")
def alone(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    small.train(out, UNTIED, **TRAIN)
    return out


def assert_same_run(out: Path, alone: Path) -> None:
    for mine, its in zip(
        journal(out / "metrics.jsonl"), journal(alone / "metrics.jsonl"), strict=True
    ):
        assert {k: mine[k] for k in ("step", "tokens", "segment", "lr")} == {
            k: its[k] for k in ("step", "tokens", "segment", "lr")
        }
        assert mine["loss_nats"] == pytest.approx(its["loss_nats"], rel=1e-5)
        assert mine["grad_norm"] == pytest.approx(its["grad_norm"], rel=1e-4)
    for mine, its in zip(
        journal(out / "validation.jsonl"), journal(alone / "validation.jsonl"), strict=True
    ):
        assert mine["step"] == its["step"]
        for domain, row in its["domains"].items():
            assert mine["domains"][domain] == pytest.approx(row, rel=1e-5)
    exports = read_json(alone / "summary.json")["checkpoints"]
    assert read_json(out / "summary.json")["checkpoints"] == exports
    for export in exports:
        ours = load_model(out / export["path"]).state_dict()
        for name, tensor in load_model(alone / export["path"]).state_dict().items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4)
    # Whoever trains in fp32 says what its export says; spread over processes, only where it is one.
    said = {line["step"]: line["continuations"] for line in lines(out)}
    monitor = MonitorConfig()
    for export in exports:
        folder = out / export["path"]
        model = load_model(folder)
        wanted = continuations(model, folder, monitor.prompts, monitor.sampling)
        assert said[export["step"]] == wanted


TWO = [{"data": 2}, {"pipeline": 2}]
MORE = [{"data": 2, "zero": 3}, {"tensor": 2}, {"data": 2, "zero": 0}]


def test_two_processes_train_as_one(small: Small, alone: Path, tmp_path: Path) -> None:
    run(train_here, 2, small.folder, tmp_path, TWO, {})
    for layout in TWO:
        assert_same_run(tmp_path / ParallelConfig.model_validate(layout).name, alone)


@pytest.mark.full
def test_every_layout_of_two_trains_as_one(small: Small, alone: Path, tmp_path: Path) -> None:
    run(train_here, 2, small.folder, tmp_path, MORE, {})
    for layout in MORE:
        assert_same_run(tmp_path / ParallelConfig.model_validate(layout).name, alone)


@pytest.mark.full
def test_recomputed_and_compiled_layers_train_as_kept_ones(
    small: Small, alone: Path, tmp_path: Path
) -> None:
    checkpointed = {"data": 2, "zero": 3, "checkpointing": "full"}
    run(train_here, 2, small.folder, tmp_path, [checkpointed], {"compile": "layers"})
    assert_same_run(tmp_path / "dp2+zero3+ckpt", alone)


def test_a_run_goes_on_over_more_processes(small: Small, alone: Path, tmp_path: Path) -> None:
    """1 -> 2 -> 4: the first segment on one, a part of the second on two, the rest on four."""
    out = tmp_path / "dp2"
    small.train(out, UNTIED, **TRAIN | {"segments": SHORT[:1]})
    run(train_here, 2, small.folder, tmp_path, [{"data": 2}], {})
    assert_same_run(out, alone)
    assert read_json(out / "execution.json")["processes"] == 2
    whole = read_json(alone / "summary.json")
    for name in ("step-00000009", "step-00000008"):  # back to the end of the first segment
        for path in sorted((out / "checkpoints" / name).glob("*")):
            path.unlink()
    (out / "summary.json").unlink()
    out.rename(tmp_path / "dp2+pp2")
    run(train_here, 4, small.folder, tmp_path, [{"data": 2, "pipeline": 2}], {})
    assert_same_run(tmp_path / "dp2+pp2", alone)
    assert read_json(tmp_path / "dp2+pp2" / "summary.json")["tokens"] == whole["tokens"]


@pytest.mark.full
def test_a_process_killed_costs_nothing(small: Small, tmp_path: Path) -> None:
    """kill -9 of one process: the others end too, and the run goes on to the same bytes."""
    calm = run(train_here, 2, small.folder, tmp_path / "calm", TWO[:1], {})
    hard = tmp_path / "hard"
    for sample in (21, 43, 60):  # of a step's samples the second process reads every other one
        with pytest.raises(Exception, match="terminated with signal SIGKILL"):
            run(train_here, 2, small.folder, hard, TWO[:1], {}, sample)
    again = run(train_here, 2, small.folder, hard, TWO[:1], {})
    assert again[0][0]["weights_sha256"] == calm[0][0]["weights_sha256"]


def score_here(folder: Path, layouts: Sequence[dict[str, Any]]) -> list[list[np.ndarray]]:
    world, tokenizer = of_group(), Tokenizer.load(folder / "tokenizer")
    found = []
    for layout in layouts:
        spread = Spread(
            UNTIED, OptimizerConfig(), torch.float32, ParallelConfig.model_validate(layout), False,
            world, lambda name, shape: initial_weight(UNTIED, name, shape, 1),
        )  # fmt: skip
        found.append(batched_nll(spread.backend(tokenizer), *windows(), batch_tokens=100))
    return found


def windows() -> tuple[list[np.ndarray], list[int]]:
    draw = np.random.default_rng(0)
    made = [draw.integers(0, UNTIED.vocab_size, n) for n in (33, 7, 64, 12, 2, 41, 5)]
    return made, [1, 3, 20, 1, 1, 40, 2]


def test_domain_losses_do_not_depend_on_the_number_of_processes(small: Small) -> None:
    tokenizer = Tokenizer.load(small.tokenizer)
    model = Decoder(UNTIED)
    model.initialise(1)
    wanted = batched_nll(SkywrightBackend(model, tokenizer), *windows(), batch_tokens=100)
    layouts = [{"data": 2}, {"data": 2, "zero": 3}, {"pipeline": 2}, {"tensor": 2}]
    for rank in run(score_here, 2, small.folder, layouts):
        for layout, losses in zip(layouts, rank, strict=True):
            for mine, its in zip(losses, wanted, strict=True):
                if "tensor" in layout:
                    np.testing.assert_allclose(mine, its, rtol=1e-5)
                else:
                    np.testing.assert_array_equal(mine, its)
