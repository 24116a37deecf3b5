"""A step's edges: nothing to learn from, and scoring between updates. And the page's example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skywright.model.head import IGNORE
from skywright.parallel.config import ParallelConfig
from skywright.parallel.fsdp import split_again
from skywright.parallel.mesh import make_mesh
from skywright.parallel.step import ParallelModel
from skywright.train.optimizer import MasterOptimizer
from tests.parallel.processes import run
from tests.parallel.training import LR, MODEL, OPTIMIZER, Case, batch, decoder

PAGE = Path(__file__).parents[2] / "docs" / "parallel.md"


def scored_before_and_after_an_update() -> list[float]:
    config = ParallelConfig()
    mesh = make_mesh(config, MODEL)
    parallel = ParallelModel(decoder(MODEL), mesh, config)
    optimizer = MasterOptimizer(parallel.model, OPTIMIZER, mesh)
    inputs, labels, positions = batch(0, Case())
    nothing = parallel.forward_backward(inputs, torch.full_like(labels, IGNORE), positions)
    assert (nothing.nats, nothing.counted) == (0.0, 0)
    assert all(parameter.grad is None for parameter in parallel.model.parameters())

    def score() -> float:
        with torch.no_grad():
            nats = parallel.model.head(parallel.model(inputs, positions), labels).nats.item()
        split_again(parallel.model)
        return nats

    before = score()
    trained = parallel.forward_backward(inputs, labels, positions).nats
    optimizer.accumulate()
    optimizer.update(LR, optimizer.gradient_norm())
    return [before, trained, score(), parallel.forward_backward(inputs, labels, positions).nats]


def test_scoring_sees_the_weights_of_its_moment() -> None:
    before, trained, after, trained_after = run(scored_before_and_after_an_update, 1)[0]
    assert before == trained
    assert after == trained_after
    assert after < before


class Counted(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def messages_of_a_step(zeros: list[int]) -> list[tuple[int, int]]:
    """All-gathers and reduce-scatters of one step of two micro-batches."""
    counts = []
    for zero in zeros:
        config = ParallelConfig.model_validate({"data": 2, "zero": zero})
        parallel = ParallelModel(decoder(MODEL), make_mesh(config, MODEL), config)
        inputs, labels, positions = batch(0, Case())
        with Counted() as counted:
            parallel.forward_backward(inputs, labels, positions, micro_batch_rows=4)
        found = counted.counts.items()
        counts.append(
            (
                sum(count for op, count in found if op.startswith("c10d._allgather_base_")),
                sum(count for op, count in found if op.startswith("c10d._reduce_scatter_base_")),
            )
        )
    return counts


def test_zero_says_how_often_weights_are_gathered_and_gradients_split() -> None:
    units = MODEL.layers + 2  # and the head, and the rest
    one, two, three = run(messages_of_a_step, 2, [1, 2, 3])[0]
    assert one == (units, units)
    assert two == (units, 2 * units)
    # Layers are gathered for each pass of each micro-batch. What follows a forward pass at once,
    # the head, and what precedes the layers stay whole until its backward pass.
    assert three == (2 * (2 * MODEL.layers + 2), 2 * units)


@pytest.mark.full
def test_the_example_of_the_page_runs_under_torchrun(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert found
    (tmp_path / "example.py").write_text(found[1], "utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(tmp_path / "example.py")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(x) for x in re.findall(r"^step \d loss (\S+)", done.stdout, re.M)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
