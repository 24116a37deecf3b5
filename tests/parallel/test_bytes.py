"""What a rank of 512 holds, against the planner; the processes are pretended, one is real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp import FSDPModule
from torch.testing._internal.distributed.fake_pg import FakeStore

from skywright.model.decoder import Decoder
from skywright.model.presets import preset
from skywright.parallel.config import ParallelConfig
from skywright.parallel.fsdp import set_last_micro_batch
from skywright.parallel.gradients import local
from skywright.parallel.mesh import make_mesh
from skywright.parallel.step import ParallelModel
from skywright.planner import load_preset, parse_layout
from skywright.planner.memory import RankMemory, rank_memory
from skywright.planner.software import SOFTWARE

WORLD = 512
TABLE_10 = ["dp512", "dp256+pp2", "dp256+tp2", "dp128+tp2+pp2", "dp128+pp4", "dp128+tp4"]
"""Layouts of the Skywork-13B report, table 10."""


def planned(name: str, layout: str) -> list[RankMemory]:
    """By stage."""
    run = load_preset(name)
    parsed = parse_layout(layout)
    return rank_memory(run.model, run.workload, parsed, SOFTWARE["skywright"], 0.0)


@contextmanager
def rank_of_512(rank: int) -> Iterator[None]:
    dist.init_process_group("fake", rank=rank, world_size=WORLD, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def config_of(layout: str) -> ParallelConfig:
    values = parse_layout(layout).model_dump(exclude={"checkpointing"})
    return ParallelConfig.model_validate(values)


@pytest.mark.parametrize("layout", TABLE_10)
@pytest.mark.parametrize("name", ["skywork-13b", "llama2-13b"])
def test_masters_and_moments_of_a_rank_are_what_the_planner_says(name: str, layout: str) -> None:
    config, stages = config_of(layout), planned(name, layout)
    for stage in (0, config.pipeline - 1):
        # The first data rank: FSDP cuts by rows, and where these do not divide the last have less.
        with rank_of_512(stage * WORLD // config.pipeline):
            with torch.device("meta"):
                whole = Decoder(preset(name))
            mesh = make_mesh(config, preset(name))
            model = ParallelModel(whole, mesh, config, torch.bfloat16).model
            held = sum(local(parameter).numel() for parameter in model.parameters())
        # A master and two moments of four bytes for each parameter. The planner divides norms by
        # tensor ranks too, which each hold them whole: less than a thousandth of all.
        assert 12 * held == pytest.approx(stages[stage].terms["optimizer"], rel=1e-3)


@pytest.mark.parametrize("stage", [0, 1])
def test_weights_and_gradients_in_flight_are_what_the_planner_says(stage: int) -> None:
    """A micro-batch through a stage of DP256 + PP2 with ZeRO-1, in torch's fake tensors."""
    shape, tokens, config = preset("skywork-13b"), 4096, config_of("dp256+pp2")
    terms = planned("skywork-13b", "dp256+pp2")[stage].terms
    with rank_of_512(stage * WORLD // 2):
        mesh = make_mesh(config, shape)
        with FakeTensorMode(allow_non_fake_inputs=True):
            model = ParallelModel(Decoder(shape), mesh, config, torch.bfloat16).model
            set_last_micro_batch(model, config, last=False)
            ids = torch.zeros(1, tokens, dtype=torch.long)
            if stage == 0:
                out = model(ids)
            else:
                x = torch.zeros(1, tokens, shape.hidden, dtype=torch.bfloat16, requires_grad=True)
                out = model.head(model(x), ids).total
            assert sum(p.numel() * p.element_size() for p in model.parameters()) == terms["weights"]
            out.backward(torch.ones_like(out))
            gradients = [
                parameter.unsharded_accumulated_grad
                for module in model.modules()
                if isinstance(module, FSDPModule)
                for group in module._get_fsdp_state()._fsdp_param_groups
                for parameter in group.fsdp_params
            ]
            assert all(gradient.dtype == torch.float32 for gradient in gradients)
            assert sum(4 * gradient.numel() for gradient in gradients) == terms["gradients"]
