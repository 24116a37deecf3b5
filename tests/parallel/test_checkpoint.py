"""A checkpoint of one layout is read into another, and by one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from skywright.parallel.config import ParallelConfig
from skywright.parallel.mesh import make_mesh, rows_of
from skywright.parallel.step import ParallelModel
from skywright.train.optimizer import MasterOptimizer
from tests.parallel.processes import run
from tests.parallel.training import LR, MODEL, OPTIMIZER, Case, batch, decoder, whole


def save_after_two_steps(layouts: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    out = {}
    for name, layout in layouts.items():
        config = ParallelConfig.model_validate(layout)
        mesh = make_mesh(config, MODEL)
        parallel = ParallelModel(decoder(MODEL), mesh, config)
        optimizer = MasterOptimizer(parallel.model, OPTIMIZER, mesh)
        for step in range(2):
            parts = (tensor[rows_of(mesh)].contiguous() for tensor in batch(step, Case()))
            parallel.forward_backward(*parts, micro_batch_rows=2)
            optimizer.accumulate()
            optimizer.update(LR, optimizer.gradient_norm())
        tensors = optimizer.tensors()
        dcp.save(tensors, checkpoint_id=folder / name)
        out[name] = {
            group: {key: whole(tensor) for key, tensor in named.items()}
            for group, named in tensors.items()
        }
    return out


@pytest.mark.full
def test_one_process_reads_what_two_have_saved(tmp_path: Path) -> None:
    layouts: dict[str, dict[str, Any]] = {
        "fsdp": {"data": 2, "zero": 3},
        "tp": {"tensor": 2},
        "pp": {"pipeline": 2},
    }
    ranks = run(save_after_two_steps, 2, layouts, tmp_path)
    for name in layouts:
        optimizer = MasterOptimizer(decoder(MODEL), OPTIMIZER)
        tensors = optimizer.tensors()
        dcp.load(tensors, checkpoint_id=tmp_path / name)
        for group, named in tensors.items():
            saved = ranks[0][name][group] | ranks[1][name][group]
            assert named.keys() == saved.keys()
            for key, tensor in named.items():
                assert torch.equal(tensor, saved[key]), f"{name}: {group} of {key}"
        assert float(tensors["steps"]["norm.weight"]) == 2
