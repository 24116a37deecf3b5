"""Runs on a processor: what is kept is what autograd keeps, and the peak is what a run reaches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.model import attention, head
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.flops import flops_per_token, parameters
from skywright.planner import HardwareConfig, Workload
from skywright.planner.cpu import (
    BLOCK_ROWS,
    BLOCKED_CONTEXT_TOKENS,
    EXPORT_BYTES,
    EXPORT_FACTOR,
    ends_kept_bytes,
    layer_kept_bytes,
    peak_memory,
    precision_on,
    step_seconds,
)
from skywright.planner.memory import HEAD_CHUNK_ROWS

ROOT = Path(__file__).parents[2]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def kept_by_autograd(model: ModelConfig, sequences: int, tokens: int, dtype: torch.dtype) -> int:
    """Bytes that a forward pass with its loss keeps, the weights themselves left out."""
    decoder = Decoder(model).to(dtype)
    decoder.initialise(0)
    weights = {p.untyped_storage().data_ptr() for p in decoder.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, model.vocab_size, (sequences, tokens + 1))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = decoder.head(decoder(ids[:, :-1]), ids[:, 1:])
    assert (
        loss.total.requires_grad
    )  # the graph, and with it every block counted, is alive until here
    return sum(kept.values())


SMALL = {"vocab_size": 300, "hidden": 64, "heads": 4, "context_tokens": 2048}
LLAMA = st.fixed_dictionaries(
    {"kv_heads": st.sampled_from([1, 2, 4]), "qk_norm": st.booleans()},
    optional={"head_dim": st.just(8)},
)
GPT = st.just({"architecture": "gpt"})


@settings(max_examples=20)
@given(
    precision=st.sampled_from(["bf16", "fp32"]),
    form=LLAMA | GPT,
    layers=st.integers(1, 3),
    ffn=st.sampled_from([96, 160]),
    sequences=st.integers(1, 3),
    # The last is too long for attention by blocks.
    tokens=st.sampled_from([64, 100, 192, BLOCKED_CONTEXT_TOKENS + 76]),
    tied=st.booleans(),
    dropout=st.sampled_from([0.0, 0.1]),
)
def test_what_is_kept_is_what_autograd_keeps(
    precision, form, layers: int, ffn: int, sequences: int, tokens: int, tied: bool, dropout: float
) -> None:
    model = ModelConfig(
        **SMALL, **form, layers=layers, ffn_hidden=ffn, tie_embeddings=tied, dropout=dropout
    )
    count = sequences * tokens
    planned = layers * count * layer_kept_bytes(model, tokens, precision)
    planned += ends_kept_bytes(model, count, tokens, precision)
    measured = kept_by_autograd(model, sequences, tokens, DTYPES[precision])
    assert planned == pytest.approx(measured, rel=0.005)


def test_constants_are_those_of_the_model() -> None:
    assert BLOCK_ROWS == attention.BLOCK_ROWS
    assert BLOCKED_CONTEXT_TOKENS == attention.BLOCKED_CONTEXT_TOKENS
    assert HEAD_CHUNK_ROWS == head.CHUNK_ROWS


MIDDLE = ModelConfig(
    vocab_size=4096, hidden=512, layers=6, heads=8, ffn_hidden=1376, context_tokens=256
)
MIDDLE_GPT = ModelConfig(
    architecture="gpt", vocab_size=4096, hidden=512, layers=6, heads=8, ffn_hidden=2048,
    context_tokens=256, dropout=0.1,
)  # fmt: skip


def planned_peak(
    precision, sequences: int, micro: int, tokens: int, exports: bool, model: ModelConfig = MIDDLE
):
    workload = Workload(
        sequence_tokens=tokens,
        global_batch_tokens=sequences * tokens,
        micro_batch_tokens=micro * tokens,
        tokens=sequences * tokens,
    )
    return peak_memory(model, workload, precision, exports)


def test_state_and_phases_by_hand() -> None:
    count = parameters(MIDDLE)["total"]
    memory = planned_peak("bf16", 8, 8, 32, exports=True)
    assert memory.state == {"weights": 2 * count, "masters": 4 * count, "moments": 8 * count}
    assert memory.phases["export"] == EXPORT_FACTOR * EXPORT_BYTES * count
    assert memory.fullest == "export"
    assert memory.peak_bytes == memory.state_bytes + memory.phases["export"]
    alone = planned_peak("fp32", 8, 8, 32, exports=False)
    assert alone.state == {"weights": 0, "masters": 4 * count, "moments": 8 * count}
    assert "export" not in alone.phases


def test_a_second_micro_batch_meets_the_summed_gradients() -> None:
    once, twice = (planned_peak("bf16", n, 4, 256, exports=False) for n in (4, 8))
    added = twice.phases["forward"] - once.phases["forward"]
    assert added == pytest.approx(1.4 * 4 * parameters(MIDDLE)["total"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc for resident memory")
@pytest.mark.parametrize(
    ("model", "precision", "sequences", "micro", "tokens", "fullest"),
    [
        (MIDDLE, "bf16", 8, 4, 256, "forward"),  # two: the summed gradients are there too
        # Few tokens: the folder for Hugging Face needs most.
        pytest.param(MIDDLE, "bf16", 4, 4, 32, "export", marks=pytest.mark.full),
        pytest.param(MIDDLE_GPT, "bf16", 8, 4, 256, "forward", marks=pytest.mark.full),
    ],
)
def test_a_runs_peak_memory_is_within_15_percent(
    model: ModelConfig,
    precision,
    sequences: int,
    micro: int,
    tokens: int,
    fullest: str,
    tmp_path: Path,
) -> None:
    request = {
        "model": model.model_dump(),
        "precision": precision,
        "sequence_tokens": tokens,
        "global_batch_tokens": sequences * tokens,
        "micro_batch_tokens": micro * tokens,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.planner.peak", str(tmp_path), json.dumps(request)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    measured = json.loads(done.stdout.splitlines()[-1])["peak_bytes"]
    planned = planned_peak(precision, sequences, micro, tokens, True, model)
    assert planned.fullest == fullest
    assert planned.peak_bytes == pytest.approx(measured, rel=0.15)


def machine(**changes: float) -> HardwareConfig:
    fields = {"memory_bytes": 2**34, "bf16_flops": 4e11, "fp32_flops": 2e11}
    return HardwareConfig.model_validate(
        {"name": "made up", "kind": "cpu", "memory_bytes_per_s": 4e10, **fields, **changes}
    )


def test_a_steps_time_by_hand() -> None:
    workload = Workload(sequence_tokens=256, global_batch_tokens=1024, tokens=1024)
    parts = step_seconds(MIDDLE, workload, machine(), "bf16")
    assert parts["matmul"] == pytest.approx(flops_per_token(MIDDLE, 256, "causal") * 1024 / 4e11)
    assert parts["layers"] == pytest.approx(1600 * 512 * 6 * 1024 / 4e10)
    assert parts["loss"] == pytest.approx(75 * 4096 * 1024 / 4e10)
    assert parts["tables"] == pytest.approx(300 * 4096 * 512 / 4e10)
    assert parts["optimizer"] == pytest.approx(48 * parameters(MIDDLE)["total"] / 4e10)
    slow = step_seconds(MIDDLE, workload, machine(bf16_flops=2e11), "bf16")
    assert slow["matmul"] == 2 * parts["matmul"]
    dropping = MIDDLE.model_copy(update={"dropout": 0.1})
    more = step_seconds(dropping, workload, machine(), "bf16")["layers"] - parts["layers"]
    assert more == pytest.approx(450 * 512 * 6 * 1024 / 4e10)
    halves = workload.model_copy(update={"micro_batch_tokens": 512})
    twice = step_seconds(MIDDLE, halves, machine(), "bf16")
    assert twice["tables"] == 2 * parts["tables"]


def test_precision_is_what_the_processor_multiplies_faster() -> None:
    assert precision_on(machine(), "auto") == "bf16"
    assert precision_on(machine(bf16_flops=1e11), "auto") == "fp32"
    assert precision_on(machine(bf16_flops=1e11), "bf16") == "bf16"
