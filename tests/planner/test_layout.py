"""Layouts are read from short texts, and refused in one line where they cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.parallel.config import layers_of_stages
from skywright.planner import ParallelConfig, Workload, load_preset, parse_layout
from skywright.planner.workload import check

powers = st.sampled_from([1, 2, 4, 8, 16])


@given(
    data=powers,
    tensor=powers,
    pipeline=powers,
    zero=st.sampled_from([0, 1, 2, 3]),
    shard=st.none() | powers,
    sequence_parallel=st.sampled_from([None, False]),
    checkpointing=st.sampled_from(["none", "full"]),
    schedule=st.sampled_from(["1f1b", "gpipe"]),
)
def test_a_layouts_name_reads_back_as_the_layout(**fields) -> None:
    if fields["zero"] == 0 or fields["data"] % (fields["shard"] or 1):
        fields["shard"] = None
    layout = ParallelConfig(**fields)
    assert parse_layout(layout.name, layout.processes) == layout


def test_data_ranks_are_what_the_devices_leave() -> None:
    assert parse_layout("tp2+pp4", 512) == ParallelConfig(data=64, tensor=2, pipeline=4)
    assert parse_layout("fsdp64", 64) == ParallelConfig(data=64, zero=3)


@pytest.mark.parametrize(
    ("text", "devices", "message"),
    [
        ("dp256+qq2", None, "'qq2' is not one of dpN, tpN, ppN"),
        ("dp", None, "'dp' is not one of"),
        ("nosp3", None, "'nosp3' is not one of"),
        ("", None, "'' is not one of"),
        ("dp2+dp4", None, "'dp4' says again what another part said"),
        ("zero1+fsdp4", None, "'fsdp4' says again"),
        ("dp256+tp4", 512, "makes 1024 ranks, but there are 512 devices"),
        ("tp3", 512, "512 devices do not divide by 3"),
        ("tp0", 512, "512 devices do not divide by 0"),
        ("dp0", None, "data: Input should be greater than or equal to 1 (got 0)"),
        ("dp8+zero5", None, "zero: Input should be 0, 1, 2 or 3 (got 5)"),
        ("dp8+shard3", None, "shard 3 does not divide the 8 data ranks"),
    ],
)
def test_a_bad_layout_is_one_clear_line(text: str, devices: int | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_layout(text, devices)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        (ParallelConfig(tensor=8), {}, "8 tensor ranks do not divide the model's heads, 36"),
        (ParallelConfig(pipeline=64), {}, "64 stages for 52 layers"),
        (ParallelConfig(data=3), {}, "a batch of 16,777,216 tokens does not divide"),
        (
            ParallelConfig(data=256),
            {"micro_batch_tokens": 131_072},
            "micro-batches of 131,072 on 256 data ranks",
        ),
        (
            ParallelConfig(),
            {"sequence_tokens": 8192, "micro_batch_tokens": 8192},
            "sequence_tokens 8192 is more than the model's context_tokens, 4096",
        ),
    ],
)
def test_what_does_not_divide_is_named(layout: ParallelConfig, changes: dict, message: str) -> None:
    preset = load_preset("skywork-13b")
    workload = Workload.model_validate(preset.workload.model_dump() | changes)
    with pytest.raises(UserError, match=message):
        check(preset.model, layout, workload)


def test_a_micro_batch_left_out_is_the_ranks_whole_share() -> None:
    workload = Workload(sequence_tokens=8, global_batch_tokens=64, tokens=640)
    assert workload.micro_batch(ParallelConfig(data=4)) == 16
    assert workload.micro_batches(ParallelConfig(data=4)) == 1


@given(layers=st.integers(1, 100), stages=st.integers(1, 16))
def test_every_layer_is_on_one_stage(layers: int, stages: int) -> None:
    counts = [len(stage) for stage in layers_of_stages(layers, stages)]
    assert sum(counts) == layers
    assert max(counts) - min(counts) <= 1
