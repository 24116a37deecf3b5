"""`skywright estimate` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skywright.cli.app import app
from skywright.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # a recipe's paths are relative to the working folder


def run(*arguments: str):
    result = CliRunner().invoke(app, ["estimate", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def asked(*arguments: str):
    return json.loads(run(*arguments, "--json").stdout)


def test_skywork_at_its_measured_rate() -> None:
    answer = asked("--model", "skywork-13b", "--tokens-per-s", "1873", "--price", "2")
    (layout,) = answer["layouts"]
    given = layout["measured"]
    assert 38 < given["days"] < 40  # the report: 39
    shown = {name: round(100 * value, 1) for name, value in given["utilisation"].items()}
    assert (shown["body_and_head"], shown["all_parameters"], shown["causal"]) == (55.9, 57.0, 52.3)
    assert layout["reported"]["mfu"] == 56.5
    assert given["device_hours"] == pytest.approx(3.2e12 / 1873 / 3600)
    assert given["cost_usd"] == pytest.approx(2 * given["device_hours"])
    assert layout["calibrated"]["tokens_per_s"] == pytest.approx(1873, rel=0.01)
    assert answer["parameters"]["total"] == 13_854_269_952


def test_the_tables_show_formula_peak_and_report() -> None:
    result = run("--model", "skywork-13b", "--tokens-per-s", "1873")
    for text in ("6 (body + head) + 12 L w T", "peak 312 TFLOP/s", "55.9", "57.0", "52.3", "38.6"):
        assert text in result.stdout
    assert "MFU 56.5 %, 77.1 GB" in result.stderr
    assert "pipeline bubble (p-1)/(m+p-1) 5.9 %" in result.stderr


def test_out_of_memory_is_said() -> None:
    result = run("--model", "skywork-13b", "--layout", "dp512")
    assert "OUT OF MEMORY" in result.stderr
    assert "table 10: out of memory" in result.stderr


def test_layouts_are_compared_best_first_and_those_that_do_not_fit_last() -> None:
    layouts = asked("--model", "llama2-13b", "--layout", "all")["layouts"]
    names = [layout["layout"] for layout in layouts]
    assert len(set(names)) == len(names) > 10
    assert {"dp256+pp2", "dp128+tp2+pp2", "dp512+zero3", "dp512"} <= set(names)
    fits = [layout["calibrated"]["fits"] for layout in layouts]
    assert fits == sorted(fits, reverse=True)
    assert names[-1] == "dp512"
    assert all(layout["devices"] == 512 for layout in layouts)
    assert "no measured row here backs" in run("--model", "llama2-13b", "--layout", "all").stderr


def test_options_change_the_question() -> None:
    def rate(*arguments: str) -> float:
        (layout,) = asked("--model", "llama-7b", "--gpus", "64", *arguments)["layouts"]
        return layout["calibrated"]["tokens_per_s"]

    assert rate("--hardware", "h100") > 2 * rate("--hardware", "a800")
    answer = asked(
        "--model", "llama-7b", "--gpus", "32", "--layout", "tp2+pp2+ckpt", "--micro-batch", "2",
        "--global-batch", "512", "--tokens", "1T", "--set", "model.layers=16",
        "--software", "skywright", "--no-flash",
    )  # fmt: skip
    (layout,) = answer["layouts"]
    assert layout["layout"] == "dp8+tp2+pp2+ckpt"
    assert layout["micro_batch_tokens"] == 8192
    assert layout["calibrated"]["micro_batches"] == 32
    assert answer["workload"]["tokens"] == 10**12
    assert answer["software"]["logits"] == "chunked"
    assert layout["reported"] is None


def test_a_recipe_is_estimated_on_this_machine_and_on_gpus() -> None:
    answer = asked("recipes/laptop.yaml")
    run_ = answer["processor"]
    assert answer["name"] == "laptop"
    assert answer["hardware"]["kind"] == "cpu"
    assert answer["workload"]["tokens"] == 1_300_000
    assert run_["fits"]
    assert run_["memory_bytes"] == pytest.approx(
        sum(run_["memory_state_bytes"].values()) + max(run_["memory_phases_bytes"].values())
    )
    assert run_["seconds"] == pytest.approx(1_300_000 / run_["tokens_per_s"])
    (layout,) = asked("recipes/laptop.yaml", "--hardware", "h100", "--gpus", "2")["layouts"]
    assert layout["layout"] == "dp2"
    assert layout["raw"]["fits"]


def test_a_gpt_is_estimated_by_name() -> None:
    answer = asked("--model", "gpt-7b", "--layout", "dp32+tp2")
    assert answer["parameters"]["positions"] == 4096 * 4096
    (layout,) = answer["layouts"]
    # Kept a token and layer: 8 h + dropout's masks 2 h + 8 w + 4 f, f = 4 h, and 4 a head.
    kept = 32 * 4096 * (34 * 4096 + 4 * 32) / 2
    assert layout["raw"]["memory_terms_bytes"]["activations"] == kept
    llama = asked("--model", "llama-7b", "--layout", "dp32+tp2")["layouts"][0]
    assert layout["raw"]["tokens_per_s"] == pytest.approx(llama["raw"]["tokens_per_s"], rel=0.05)


def test_a_model_of_the_ladder_is_estimated_on_this_machine() -> None:
    answer = asked("--model", "ladder-5m", "--set", "model.layers=6", "--tokens", "10M")
    assert answer["hardware"]["kind"] == "cpu"
    assert answer["processor"]["seconds"] > 0
    assert answer["workload"]["tokens"] == 10**7


def test_the_planner_is_shown_against_the_report() -> None:
    answer = asked("--against-report")
    assert len(answer["tokens_per_s"]) == len(answer["memory"]) == 12
    assert set(answer["constants"]) == {
        "all rows", "tested on llama2-13b", "tested on skywork-13b",
    }  # fmt: skip
    result = run("--against-report")
    assert "llama2-13b dp128+tp4 is not used for time" in result.stderr
    assert "(too much)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name either a recipe or a --model"),
        (("recipes/laptop.yaml", "--model", "skywork-13b"), "name either a recipe or a --model"),
        (("--model", "skywork"), "did you mean 'skywork-13b'?"),
        (("--model", "skywork-13b", "--layout", "dp3"), "a batch of 16,777,216 tokens does not"),
        (("--model", "skywork-13b", "--layout", "x"), "'x' is not one of dpN"),
        (("--model", "skywork-13b", "--hardware", "abacus"), "hardware 'abacus': no such file"),
        (("--model", "skywork-13b", "--software", "excel"), "software 'excel' is not known"),
        (("--model", "skywork-13b", "--tokens", "many"), "tokens: 'many' is not a number of"),
        (("--model", "skywork-13b", "--gpus", "7", "--layout", "all"), "no layout of 7 devices"),
        (("recipes/laptop.yaml", "--gpus", "8"), "an estimate for a processor is for one process"),
        (("recipes/none.yaml",), "no such recipe"),
    ],
)
def test_bad_input_gets_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        run(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_published_model_is_estimated_without_importing_torch() -> None:
    code = (
        "import sys; sys.argv = ['skywright', 'estimate', '--model', 'skywork-13b', '--json']\n"
        "from skywright.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
