"""Published models and hardware files: counts by hand, a source for every figure."""

from __future__ import annotations

import threading

import pytest

from skywright.errors import UserError
from skywright.model.flops import parameters
from skywright.planner import HardwareConfig, load_hardware, load_preset, measure_machine
from skywright.planner.hardware.config import known_hardware
from skywright.planner.presets import known_presets


def test_parameters_of_the_published_models() -> None:
    # Skywork-13B: 52 layers of 4 h^2 + 3 h f + 2 h, a last norm, two tables of 65,536 x 4,608.
    body = 52 * (4 * 4608**2 + 3 * 4608 * 12288 + 2 * 4608) + 4608
    assert parameters(load_preset("skywork-13b").model) == {
        "body": body, "embedding": 65536 * 4608, "head": 65536 * 4608,
        "total": body + 2 * 65536 * 4608,
    }  # fmt: skip
    assert round(body / 1e9, 2) == 13.25
    assert round(65536 * 4608 / 1e9, 3) == 0.302
    # The counts of the weights released on Hugging Face.
    assert parameters(load_preset("llama2-13b").model)["total"] == 13_015_864_320
    assert parameters(load_preset("llama-7b").model)["total"] == 6_738_415_616


def test_every_preset_names_its_sources_and_fits_its_own_layout() -> None:
    from skywright.planner.layout import check

    assert known_presets() == ["llama-7b", "llama2-13b", "skywork-13b"]
    for name in known_presets():
        preset = load_preset(name)
        assert preset.name == name
        assert {"model", "workload", "layout"} <= preset.sources.keys()
        check(preset.model, preset.layout, preset.workload)


def test_a_preset_takes_overrides_and_refuses_wrong_ones() -> None:
    assert load_preset("Skywork-13B", ["model.layers=26"]).model.layers == 26
    with pytest.raises(UserError, match=r"unknown key 'model\.hiden'; did you mean 'hidden'"):
        load_preset("skywork-13b", ["model.hiden=2"])
    with pytest.raises(UserError, match="model 'gpt-9' is not known; name one of llama-7b"):
        load_preset("gpt-9")
    with pytest.raises(UserError, match="is not known"):
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
