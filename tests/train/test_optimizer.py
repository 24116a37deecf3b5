import json
from copy import deepcopy

import pytest
import torch

from skywright import checkpoint
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.train.optimizer import MasterOptimizer, OptimizerConfig, check_layout
from tests.train.small import MODEL

IDS = torch.arange(60).reshape(2, 30) % MODEL.vocab_size


def made(model_config: ModelConfig = MODEL, dtype=torch.float32, **changes):
    model = Decoder(model_config)
    model.initialise(0)
    optimizer = MasterOptimizer(model, OptimizerConfig(**changes))
    return model.to(dtype), optimizer


def gradient(model, optimizer):
    (model.head(model(IDS), IDS).total / IDS.numel()).backward()
    optimizer.accumulate()
    return optimizer.gradient_norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_discarded_gradient_leaves_weights_and_state_as_they_were(dtype):
    model, optimizer = made(dtype=dtype)
    optimizer.update(1e-3, gradient(model, optimizer))
    before = deepcopy(optimizer.tensors())
    gradient(model, optimizer)
    optimizer.discard()
    for group, named in optimizer.tensors().items():
        assert all(torch.equal(before[group][name], tensor) for name, tensor in named.items())
    assert optimizer.gradient_norm() == 0.0


def test_adamw_with_clipping_is_torchs_own():
    model, optimizer = made(weight_decay=0.0, clip=0.5)
    other, _ = made()
    reference = torch.optim.AdamW(
        other.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True
    )
    for _ in range(3):
        norm = gradient(model, optimizer)
        optimizer.update(1e-2, norm)
        (other.head(other(IDS), IDS).total / IDS.numel()).backward()
        assert torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5).item() == norm
        reference.step()
        reference.zero_grad()
    own, theirs = model.state_dict(), other.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def decayed(**changes):
    """Names of the weights that shrink although their gradient is zero."""
    model, optimizer = made(weight_decay=0.5, **changes)
    before = {name: weight.clone() for name, weight in optimizer.weights.items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.accumulate()
    optimizer.update(0.1, 0.0)
    return {n for n, w in optimizer.weights.items() if not torch.equal(w, before[n])}


def test_matrices_decay_norms_do_not_and_embeddings_as_asked():
    matrices = {name for name, p in Decoder(MODEL).named_parameters() if p.ndim >= 2}
    assert decayed() == matrices
    assert decayed(decay_embeddings=False) == matrices - {"embed_tokens.weight"}
    assert decayed(kind="muon") == matrices
    assert decayed(kind="muon", decay_embeddings=False) == matrices - {"embed_tokens.weight"}


def test_muon_takes_the_layers_matrices_and_adamw_the_rest():
    _, optimizer = made(kind="muon")
    tensors = optimizer.tensors()
    assert all(".self_attn." in name or ".mlp." in name for name in tensors["momentum"])
    assert len(tensors["momentum"]) == MODEL.layers * 7
    assert tensors["momentum"].keys() | tensors["exp_avg"].keys() == tensors["weights"].keys()
    assert not tensors["momentum"].keys() & tensors["exp_avg"].keys()


def test_a_muon_step_has_the_size_that_adamws_has():
    # Liu et al. 2025, section 2.2: steps of root mean square 0.2 (their AdamW's) times the rate.
    model, optimizer = made(kind="muon", weight_decay=0.0)
    name = "layers.0.mlp.up_proj.weight"
    before = optimizer.weights[name].clone()
    optimizer.update(1.0, gradient(model, optimizer))
    step = (optimizer.weights[name] - before).square().mean().sqrt().item()
    # Newton-Schulz leaves singular values between 0.7 and 1.2.
    assert 0.2 * 0.6 < step < 0.2 * 1.3


def test_muon_is_refused_wherever_its_matrices_would_be_split():
    muon = OptimizerConfig(kind="muon")
    check_layout(muon, {})
    check_layout(muon, {"shard": 1, "tensor": 1})
    check_layout(OptimizerConfig(), {"shard": 8, "tensor": 2})
    with pytest.raises(UserError, match=r"muon, on a layout of shard 2, pipeline 2"):
        check_layout(muon, {"shard": 2, "tensor": 1, "pipeline": 2})


def test_a_muon_run_learns_and_goes_on_from_its_checkpoint_to_the_bit(small, tmp_path):
    changes = {"optimizer": {"kind": "muon"}, "sets": [], "export_at_segment_ends": False}
    whole = small.train(tmp_path / "whole", keep=20, **changes)
    losses = [json.loads(x)["loss_nats"] for x in (tmp_path / "whole/metrics.jsonl").open()]
    assert sum(losses[-5:]) / 5 < losses[0] - 1.0
    again = tmp_path / "again"
    state = checkpoint.read_state(tmp_path / "whole/checkpoints/step-00000012")
    assert state["settings"]["optimizer"]["kind"] == "muon"
    (again / "checkpoints").mkdir(parents=True)
    (tmp_path / "whole/checkpoints/step-00000012").rename(again / "checkpoints/step-00000012")
    assert small.train(again, **changes)["weights_sha256"] == whole["weights_sha256"]
