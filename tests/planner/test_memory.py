"""Bytes of a rank: hand computed for Skywork-13B, and moving the right way with the layout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.model.config import ModelConfig
from skywright.model.flops import parameters
from skywright.planner import ParallelConfig, Workload, load_preset, parse_layout
from skywright.planner.memory import (
    TERMS,
    fullest,
    kept_bytes_per_token,
    rank_memory,
    stage_parameters,
)
from skywright.planner.shape import Shape
from skywright.planner.software import SOFTWARE

SKYWORK = load_preset("skywork-13b")
SHAPE = Shape.of(SKYWORK.model)
MEGATRON = SOFTWARE["megatron"]


def ranks(text: str, reserve_bytes: float = 0.0, software: str = "megatron", **options):
    layout = parse_layout(text)
    habits = SOFTWARE[software]
    return rank_memory(SKYWORK.model, SKYWORK.workload, layout, habits, reserve_bytes, **options)


def total(text: str, **options) -> float:
    return fullest(ranks(text, **options)).total_bytes


def test_the_first_stage_of_skywork_by_hand() -> None:
    # 26 layers of 4 h^2 + 3 h f + 2 h parameters and the embedding; h 4608, f 12288, V 65536.
    count = 26 * (4 * 4608**2 + 3 * 4608 * 12288 + 2 * 4608) + 65536 * 4608
    first = ranks("dp256+pp2", reserve_bytes=5e9)[0]
    assert first.parameters == count == 6_927_132_672
    assert first.in_flight == 2
    assert set(first.terms) == set(TERMS)
    assert first.terms["weights"] == 2 * count
    assert first.terms["gradients"] == 4 * count
    assert first.terms["optimizer"] == 12 * count / 256
    # Kept a token and layer: 32 h bytes and an fp32 log-sum-exp for each of 36 heads.
    assert first.terms["activations"] == 26 * 2 * 4096 * (32 * 4608 + 4 * 36)
    assert first.terms["head"] == first.terms["gathered"] == 0
    assert first.terms["reserve"] == 5e9
    assert first.total_bytes == pytest.approx(78.63e9, abs=0.01e9)


def test_the_logits_stand_whole_in_megatron_and_in_chunks_in_skywright() -> None:
    whole = ranks("dp256+tp2")[0].terms["head"]
    logits = 4096 * 65536 / 2
    assert whole == pytest.approx(14 * logits + 2 * 2 * 4608 * 4096 / 2)
    chunked = ranks("dp256+tp2", software="skywright")[0].terms["head"]
    assert chunked < whole
    # The head's gradient in fp32, in bf16 as a chunk's product and rounded; 512 rows of logits.
    gradients = 8 * 65536 * 4608 / 2
    rows = 6 * 512 * 65536 / 2
    assert chunked == pytest.approx(gradients + rows + 2 * 4608 * 4096 * (2 / 2 + 1))


@given(
    tensor=st.sampled_from([1, 2, 4]),
    pipeline=st.sampled_from([1, 2, 4]),
    tied=st.booleans(),
    kv_heads=st.sampled_from([4, 8]),
)
def test_the_stages_hold_every_parameter(
    tensor: int, pipeline: int, tied: bool, kv_heads: int
) -> None:
    model = ModelConfig(
        vocab_size=512, hidden=64, layers=8, heads=8, kv_heads=kv_heads, ffn_hidden=96,
        context_tokens=32, tie_embeddings=tied,
    )  # fmt: skip
    layout = ParallelConfig(tensor=tensor, pipeline=pipeline)
    held = sum(
        sum(stage_parameters(Shape.of(model), layout, stage).values()) for stage in range(pipeline)
    )
    extra = 512 * 64 if tied and pipeline > 1 else 0  # the tied table stands on both ends
    assert held * tensor == parameters(model)["total"] + extra


def test_learned_positions_stand_on_every_tensor_rank_of_the_first_stage() -> None:
    model = ModelConfig(
        architecture="gpt", vocab_size=512, hidden=64, layers=8, heads=8, ffn_hidden=256,
        context_tokens=32,
    )  # fmt: skip
    count, layout = parameters(model), ParallelConfig(tensor=2, pipeline=4)
    stages = [sum(stage_parameters(Shape.of(model), layout, s).values()) for s in range(4)]
    assert stages[0] > stages[1]
    assert 2 * sum(stages) == count["total"] + count["positions"]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("dp128+pp4", "dp256+pp2"),  # pipeline stages
        ("dp64+pp8", "dp128+pp4"),
        ("dp256+tp2", "dp512"),  # tensor ranks
        ("dp128+tp4", "dp256+tp2"),
        ("dp512+zero1", "dp512+zero0"),  # each level of ZeRO
        ("dp512+zero2", "dp512+zero1"),
        ("dp512+zero3", "dp512+zero2"),
        ("dp512+zero3", "dp512+zero3+shard8"),
        ("dp256+pp2+ckpt", "dp256+pp2"),
        ("dp256+pp2", "dp256+pp2+gpipe"),
        ("dp256+tp2", "dp256+tp2+nosp"),
    ],
)
def test_what_splits_or_recomputes_more_holds_less(less: str, more: str) -> None:
    assert total(less) < total(more)


def test_attention_without_flash_keeps_a_probability_for_every_pair() -> None:
    flash, plain = (
        kept_bytes_per_token(SHAPE, 4096, ParallelConfig(), MEGATRON, flash)
        for flash in (True, False)
    )
    assert plain - flash == 36 * (2 * 4096 - 4)


def test_checkpointing_keeps_a_layers_input_and_one_layer_whole() -> None:
    first = ranks("dp256+pp2+ckpt")[0]
    whole = kept_bytes_per_token(SHAPE, 4096, ParallelConfig(), MEGATRON, True)
    assert first.terms["activations"] == 26 * 2 * 4096 * 2 * 4608 + 4096 * whole


def test_1f1b_holds_fewer_micro_batches_the_later_the_stage() -> None:
    assert [rank.in_flight for rank in ranks("dp128+pp4")] == [4, 3, 2, 1]
    assert [rank.in_flight for rank in ranks("dp128+pp4+gpipe")] == [32] * 4
    assert fullest(ranks("dp128+pp4")).stage == 0


def test_the_pipeline_is_never_fuller_than_there_are_micro_batches() -> None:
    workload = Workload.model_validate(
        SKYWORK.workload.model_dump() | {"global_batch_tokens": 8192}
    )
    held = rank_memory(SKYWORK.model, workload, ParallelConfig(pipeline=4), MEGATRON, 0.0)
    assert [rank.in_flight for rank in held] == [2, 2, 2, 1]


@given(micro=st.sampled_from([1, 2, 4, 8]))
def test_activations_grow_with_the_micro_batch_and_nothing_else_does(micro: int) -> None:
    def terms(sequences: int) -> dict[str, float]:
        changes = {"micro_batch_tokens": 4096 * sequences}
        workload = Workload.model_validate(SKYWORK.workload.model_dump() | changes)
        layout = parse_layout("dp256+pp2")
        return rank_memory(SKYWORK.model, workload, layout, MEGATRON, 1.0)[0].terms

    one, many = terms(1), terms(micro)
    assert many["activations"] == micro * one["activations"]
    for name in ("weights", "gradients", "optimizer", "reserve"):
        assert many[name] == one[name]
