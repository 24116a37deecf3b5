"""A recipe whose tokenizer grows a model instead of training from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.run import load_recipe, run_recipe
from skywright.tokenizer import Tokenizer, TokenizerConfig, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A small model to begin with."""
    folder = tmp_path_factory.mktemp("base") / "t"
    text = "我们今天看见一条河 the quick brown fox\n"
    config = TokenizerConfig(vocab_size=330, sample_bytes=50_000, character_coverage=1.0)
    train(config, [("zh-Hans", "made", text * 20 + str(i)) for i in range(9)], folder)
    return folder / "tokenizer.model"


def test_the_step_counts_words_on_its_corpus_and_is_redone_for_other_lists(
    base, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    characters = tmp_path / "characters.txt"
    characters.write_text("\n".join("的一是在不了有和人这中大为上个国我以要他"), encoding="utf-8")
    settings = f"{{model: {base}, characters: {characters}}}"

    def step(name: str) -> Path:
        recipe = load_recipe(
            Path("tests/run/tiny.yaml"),
            [f"tokenizer.extend={settings}", "tokenizer.vocab_size=360", "model.vocab_size=360",
             "tokenizer.reserved=2"],
            tmp_path / "run",
        )  # fmt: skip
        (result,) = run_recipe(recipe, only=name, executor="inline")
        return result.folder

    step("corpus")
    first = step("tokenizer")
    assert step("tokenizer") == first
    summary = read_json(first / "summary.json")
    assert summary["words"]["from"] == "corpus"
    assert summary["words"]["added"] == 360 - 330 - 2 - summary["characters"]["added"]
    assert {row["lang"] for row in summary["rows"]} >= {"en", "zh-Hans"}
    assert Tokenizer.load(first).reserved_ids == (358, 359)
    characters.write_text("\n".join("的一是在不了有和人这中大为上个国我以要"), encoding="utf-8")
    assert step("tokenizer") != first
    characters.unlink()
    with pytest.raises(UserError, match=r"tokenizer\.extend: .*characters\.txt is no file"):
        step("tokenizer")
