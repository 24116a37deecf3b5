"""Models by name and hardware files: counts by hand, a source for every figure."""

from __future__ import annotations

import threading

import pytest

from skywright.errors import UserError
from skywright.model.flops import parameters
from skywright.model.presets import PRESETS, preset
from skywright.planner import HardwareConfig, load_hardware, load_preset, measure_machine
from skywright.planner.hardware.config import known_hardware
from skywright.planner.workload import check


def test_shapes_are_those_of_the_model_room() -> None:
    # Skywork-13B: 52 layers of 4 h^2 + 3 h f + 2 h, a last norm, two tables of 65,536 x 4,608.
    body = 52 * (4 * 4608**2 + 3 * 4608 * 12288 + 2 * 4608) + 4608
    assert parameters(load_preset("skywork-13b").model) == {
        "body": body, "embedding": 65536 * 4608, "positions": 0, "head": 65536 * 4608,
        "total": body + 2 * 65536 * 4608,
    }  # fmt: skip
    for name in PRESETS:
        changed = {"vocab_size": 65536, "context_tokens": 4096} if name == "llama-7b" else {}
        assert load_preset(name).model == preset(name).model_copy(update=changed)


@pytest.mark.parametrize("name", PRESETS)
def test_every_model_has_a_run_that_names_its_sources_and_fits_its_own_layout(name: str) -> None:
    run = load_preset(name)
    assert run.name == name
    assert {"workload", "layout"} <= run.sources.keys()
    check(run.model, run.layout, run.workload)


def test_a_ladders_run_has_twenty_tokens_a_parameter_of_its_body() -> None:
    run = load_preset("ladder-10m")
    assert run.workload.tokens == 20 * parameters(run.model)["body"]
    assert (run.hardware, run.layout.processes) == ("this", 1)


def test_a_preset_takes_overrides_and_refuses_wrong_ones() -> None:
    assert load_preset("Skywork-13B", ["model.layers=26"]).model.layers == 26
    assert load_preset("ladder-5m", ["workload.tokens=1B"]).workload.tokens == 10**9
    with pytest.raises(UserError, match=r"unknown key 'model\.hiden'; did you mean 'hidden'"):
        load_preset("skywork-13b", ["model.hiden=2"])
    with pytest.raises(UserError, match="architecture gpt has no kv_heads"):
        load_preset("gpt-7b", ["model.kv_heads=8"])
    with pytest.raises(UserError, match="model 'gpt-9': no such preset; did you mean 'gpt-7b'"):
        load_preset("gpt-9")
    with pytest.raises(UserError, match="no such preset"):
        load_preset("../hardware/a800")


def test_every_figure_of_a_hardware_file_has_a_source() -> None:
    assert known_hardware() == ["a100", "a800", "h100", "h200"]
    for name in known_hardware():
        hardware = load_hardware(name)
        figures = {
            field
            for field, value in hardware.model_dump(exclude_unset=True).items()
            if isinstance(value, int | float)
        }
        assert figures == hardware.sources.keys()


def test_a_hardware_file_of_ones_own_is_read_and_checked(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nkind: gpu\nmemory_bytes: 24 GB\nbf16_flops: 70e12\nfp32_flops: 35e12\n"
        "memory_bytes_per_s: 1e12\n"
    )
    assert load_hardware(str(file)).memory_bytes == 24 * 10**9
    file.write_text("name: mine\nkind: gpu\nmemory_bites: 24 GB\n")
    with pytest.raises(UserError, match="unknown key 'memory_bites'; did you mean 'memory_bytes'"):
        load_hardware(str(file))
    with pytest.raises(UserError, match="hardware 'b900': no such file; name one, or one of a100"):
        load_hardware("b900")


def test_this_machine_is_measured_and_left_as_it_was() -> None:
    import torch

    before, alive = torch.get_num_threads(), threading.active_count()
    machine = measure_machine(threads=1)
    assert isinstance(machine, HardwareConfig)
    assert machine.kind == "cpu"
    assert machine.threads == 1
    # A core of any machine that runs this: between 1 GFLOP/s and 10 TFLOP/s, 0.1 GB/s and 1 TB/s.
    assert 1e9 < machine.fp32_flops < 1e13
    assert 1e8 < machine.memory_bytes_per_s < 1e12
    assert machine.memory_bytes > 2**30
    assert {"bf16_flops", "fp32_flops", "memory_bytes_per_s"} <= machine.sources.keys()
    assert torch.get_num_threads() == before
    assert threading.active_count() == alive
