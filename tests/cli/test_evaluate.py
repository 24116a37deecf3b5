"""What `skywright eval` takes for models, names and options."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skywright.cli.comparison import named_model, own_name
from skywright.cli.evaluate import _show, app
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.statistics import Estimate


def test_a_model_is_named_after_its_folder_or_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, name, path in (
        ("runs/a/hf", "hf", "runs/a/hf"),
        ("runs/a/hf/", "hf", "runs/a/hf/"),
        ("small=runs/a", "small", "runs/a"),
        ("runs/lr=2/hf", "hf", "runs/lr=2/hf"),
    ):
        found = named_model(text)
        assert (found["name"], found["path"]) == (name, path)
    (tmp_path / "model" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "model" / "inner")
    assert own_name(".") == "inner"
    assert named_model("..")["name"] == "model"


def test_a_number_without_an_interval_shows_no_bound(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"model": "m", "domain": "d", "documents": 1, "bpb": {"value": 2.5},
           "perplexity": {"value": 31.5, "low": None, "high": None}}  # fmt: skip
    _show({"rows": [row]}, as_json=False)
    cells = [cell.strip() for cell in capsys.readouterr().out.splitlines()[3].split("│")]
    assert cells == ["", "m", "d", "1", "31.5", "", "", "2.5", ""]


@pytest.mark.parametrize("text", ["", "=runs/a", "small="])
def test_a_model_without_a_name_or_a_folder_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write FOLDER, or NAME=FOLDER"):
        named_model(text)


@pytest.mark.parametrize(
    "command", ["score m s", "protocols m n --set s", "compare m n --sets s", "compare m n --set s",
                "stability m n --first s --second t"],
)  # fmt: skip
@pytest.mark.parametrize("below", ["", "more/of/it"])
def test_a_file_in_the_way_of_out_is_told_before_anything_is_computed(
    tmp_path: Path, command: str, below: str
) -> None:
    (tmp_path / "taken").write_text("x")
    out = tmp_path / "taken" / below
    result = CliRunner().invoke(app, [*command.split(), "--out", str(out)])
    assert result.exit_code == 2
    assert "is a file; name a folder" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("command", ["compare m n --sets s", "stability m n --first s --second t"])
def test_a_noise_floor_is_a_finite_number(tmp_path: Path, command: str) -> None:
    arguments = [*command.split(), "--out", str(tmp_path), "--noise-floor", "inf"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "inf is not a finite number" in result.output


def test_a_cut_is_refused_with_a_protocol_that_has_its_own(tmp_path: Path) -> None:
    arguments = ["score", "m", "s", "--out", str(tmp_path), "--protocol", "lm-eval"]
    result = CliRunner().invoke(app, [*arguments, "--max-chars", "300"])
    assert result.exit_code == 2
    assert "goes with --protocol skywright" in result.output


def test_a_protocols_number_is_shown_and_written_with_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"uncheatable": {"m": Estimate(9.424, 9.31, 9.54, 0.06, 9),
                             "n": Estimate(12.5, -math.inf, math.inf, math.nan, 1)}}  # fmt: skip
    monkeypatch.setattr("skywright.evaluate.differences.headlines", lambda *_, **__: found)
    monkeypatch.setattr("skywright.evaluate.step.load_domain_sets", lambda _: [])
    monkeypatch.setattr("skywright.evaluate.step.sets_by_domain", lambda _: {})
    monkeypatch.setattr("skywright.evaluate.reference.open_reference", lambda _: None)
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["protocols", "m", "n", "--set", "s", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "9.42 (9.31 to 9.54), rank 1" in result.output
    assert "12.500 (no interval), rank 2" in result.output
    (row,) = read_json(tmp_path / "differences.json")
    assert row["values"] == {
        "m": {"value": 9.424, "low": 9.31, "high": 9.54, "n": 9},
        "n": {"value": 12.5, "low": None, "high": None, "n": 1},
    }


def test_another_protocols_number_stands_in_the_rows_with_its_interval(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    row = {"model": "m", "domain": "d", "documents": 9, "bpb": {"value": 2.5},
           "perplexity": {"value": 31.5, "low": 30.0, "high": 33.0},
           "headline": {"value": 9.424, "low": 9.31, "high": 9.54, "n": 9}}  # fmt: skip
    mean = {key: value for key, value in row.items() if key != "headline"} | {"domain": "macro"}
    _show({"rows": [row, mean], "headline_unit": "compression rate, %"}, as_json=False)
    told = capsys.readouterr().out
    assert "9.42" in told
    assert "9.31 to 9.54" in told
