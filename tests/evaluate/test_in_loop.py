"""What the trainer says of a domain while it trains is what scoring the checkpoint says later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from skywright import checkpoint
from skywright.evaluate import EvaluateConfig, run
from skywright.evaluate.backends import Backend
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.backends.skywright import SkywrightBackend
from skywright.evaluate.doctor import examine
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score
from skywright.tokenizer import Tokenizer
from skywright.train.validation import validate
from tests.train.small import SEGMENTS, Small, make

SEGMENT = SEGMENTS[0] | {"tokens": 32 * 96}
STEP = "step-00000012"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    make(folder)
    return Small(folder)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def trained(
    request: pytest.FixtureRequest, small: Small, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp(request.param) / "run"
    small.train(out, segments=[SEGMENT], precision=request.param)
    return request.param, out


def told(out: Path) -> dict[str, dict[str, Any]]:
    """The domains of the last line of validation.jsonl."""
    lines = (out / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(lines[-1])["domains"]


def later(backend: Backend, small: Small) -> dict[str, dict[str, Any]]:
    return validate(backend, Tokenizer.load(small.tokenizer), small.sets, 4096)


def test_the_checkpoint_scored_on_the_same_path_and_dtype_loses_exactly_the_same(
    trained: tuple[str, Path], small: Small
) -> None:
    precision, out = trained
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = checkpoint.load_model(out / "checkpoints" / STEP).to(dtype)
    backend = SkywrightBackend(model, Tokenizer.load(small.tokenizer))
    assert later(backend, small) == told(out)


@pytest.mark.parametrize("trained", ["fp32"], indirect=True)
def test_eval_score_of_an_fp32_checkpoint_gives_the_trainers_loss_on_either_path(
    trained: tuple[str, Path], small: Small, tmp_path: Path
) -> None:
    _, out = trained
    expected = told(out)["held_out"]
    for path, tolerance in ((out / "checkpoints" / STEP, 1e-12), (out / "hf" / STEP, 1e-5)):
        summary = run(
            EvaluateConfig(),
            [{"name": STEP, "path": str(path), "tokens": 0, "segment": "one"}],
            small.sets,
            Tokenizer.load(small.tokenizer),
            tmp_path / path.parent.name,
        )
        row = summary["rows"][0]
        # Sums of the same losses, added up in another order.
        found = row["nats_per_reference_token"]["value"], row["bpb"]["value"]
        assert found == pytest.approx((expected["nats_per_token"], expected["bpb"]), rel=tolerance)


@pytest.mark.parametrize("trained", ["bf16"], indirect=True)
def test_a_bf16_checkpoint_scored_by_transformers_stays_within_the_noise_floor_that_doctor_prints(
    trained: tuple[str, Path], small: Small
) -> None:
    _, out = trained
    folder, tokenizer = out / "hf" / STEP, Tokenizer.load(small.tokenizer)
    there = HFBackend(folder, dtype="bfloat16")
    texts = [document.text for item in small.sets for document in item.documents]
    floor = examine(there, STEP, texts, lambda: HFBackend(folder)).noise_floor
    assert floor is not None
    found = later(there, small)["held_out"]["nats_per_token"]
    assert abs(found - told(out)["held_out"]["nats_per_token"]) <= floor.maximum
    model = checkpoint.load_model(out / "checkpoints" / STEP).to(torch.bfloat16)
    ours, theirs = (
        score(backend, small.sets[0], Protocol(), tokenizer)
        for backend in (SkywrightBackend(model, tokenizer), there)
    )
    gaps = (ours["nll_nats"].to_numpy() - theirs["nll_nats"].to_numpy()) / ours["tokens"].to_numpy()
    assert abs(gaps).max() <= floor.maximum
