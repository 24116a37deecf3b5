"""What `skywright eval` takes for models, names and options."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from skywright.cli.comparison import named_model, own_name
from skywright.cli.evaluate import _show, app
from skywright.errors import UserError


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
