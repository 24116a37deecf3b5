"""What `skywright eval` takes for a model and its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from skywright.cli.comparison import named_model, own_name
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


@pytest.mark.parametrize("text", ["", "=runs/a", "small="])
def test_a_model_without_a_name_or_a_folder_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write FOLDER, or NAME=FOLDER"):
        named_model(text)
