"""Takedown in a run: only the shards that held a page are made anew, with the same vocabulary."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from skywright.corpus.remove import requests
from skywright.engine.files import read_json, sha256_file
from skywright.run import load_recipe, plan_steps, run_recipe, takedown
from skywright.run.recipe import Recipe
from skywright.tokens import Shards
from tests.corpus.pages import write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run up to its tokens; each file gives shards of its own."""
    os.chdir(ROOT)
    made = load_recipe(
        ROOT / "tests" / "run" / "tiny.yaml", workdir=tmp_path_factory.mktemp("takedown")
    )
    for step in ("corpus", "tokenizer", "tokens"):
        list(run_recipe(made, only=step, executor="inline"))
    return made


def current(recipe: Recipe, step: str) -> Path:
    return (recipe.workdir / step / "current").resolve()


def bins(recipe: Recipe) -> dict[str, str]:
    return {path.stem: sha256_file(path) for path in current(recipe, "tokens").glob("*.bin")}


def addresses(recipe: Recipe, source: str) -> list[str]:
    files = sorted((current(recipe, "corpus") / "documents").glob("*.parquet"))
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    return [row["url"] for row in rows if row["source"] == source]


def test_a_page_goes_from_documents_and_shards_and_nothing_else_changes(
    recipe: Recipe, tmp_path: Path
) -> None:
    asked = addresses(recipe, "zh_wiki")[3]
    entries = requests(write(tmp_path / "urls.txt", asked.encode()), None, "2026-01-01", "")
    old_bins, old_tokens = bins(recipe), current(recipe, "tokens")
    old_documents = Shards.open(old_tokens).manifest.sources["zh"].documents
    looked = takedown.look(recipe, entries)
    assert [row["url"] for row in looked.documents] == [asked] * len(looked.documents)
    assert set(looked.shards) == {"zh"}
    (held,) = looked.shards["zh"]
    assert bins(recipe) == old_bins  # looking changes nothing

    removed, _ = takedown.take_down(recipe, entries, executor="inline")
    assert removed.documents == looked.documents
    assert asked not in addresses(recipe, "zh_wiki")
    assert Shards.open(current(recipe, "tokens")).manifest.sources["zh"].documents == (
        old_documents - len(looked.documents)
    )
    assert {name for name, content in bins(recipe).items() if content != old_bins[name]} == {held}
    told = read_json(current(recipe, "tokenizer") / "step.json")
    assert told["carried_from"] != told["key"]
    steps = {row["step"]: row["done"] for row in plan_steps(recipe)}
    assert (steps["corpus"], steps["tokenizer"], steps["tokens"]) == (True, True, True)
    assert not steps["train"]

    # Older outputs hold the page until they are purged.
    assert takedown.look(recipe, entries).folders != []
    gone = takedown.purge(recipe)
    assert old_tokens in gone
    assert takedown.look(recipe, entries).folders == []
    assert not (recipe.workdir / "corpus" / "stages").exists()


def test_it_says_what_it_does_and_what_it_does_not() -> None:
    found = takedown.Removal([{}], {"en": ["en-00001"]}, [{"url": "http://x.org/"}], [])
    told = "\n".join(takedown.sentences(found, False, False, []))
    assert "1 document would go" in told
    assert "en-00001" in told
    assert "http://x.org/" in told
    assert "nothing is changed yet" in told
    done = "\n".join(takedown.sentences(found, True, False, []))
    assert "a model that was trained on them is not changed" in done
