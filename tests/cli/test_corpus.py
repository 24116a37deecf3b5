"""A corpus alone: a recipe without a model is built, asked, and refused what it does not name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from skywright.cli import main
from skywright.cli.app import app
from skywright.errors import UserError
from skywright.run import CorpusRecipe, Recipe, load_corpus_recipe, plan_steps

ROOT = Path(__file__).parents[2]
LAPTOP = ROOT / "recipes/laptop.yaml"

RECIPE = """
name: pages
workdir: {folder}/run
corpus:
  partitions: 2
  inputs:
    - {{source: lines, path: {folder}/lines.jsonl, lang: en}}
  rules: {{source: {{lines: {{only: [gopher_tokens_min]}}}}}}
  classify: {{models: []}}
"""


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["corpus", *arguments])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of five short texts, all dropped for their length, and a long one; built."""
    folder = tmp_path_factory.mktemp("corpus")
    long = " ".join(
        f"Sentence {n} says of the river that it is {n} miles long and that the boats go down to "
        f"the sea with a cargo of {7 * n} barrels." for n in range(1, 12)
    )  # fmt: skip
    texts = [*(f"A short text of the number {n}." for n in range(5)), long]
    lines = [
        json.dumps({"text": text, "url": f"https://a.org/{n}"}) for n, text in enumerate(texts)
    ]
    (folder / "lines.jsonl").write_text("\n".join(lines) + "\n")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(folder=folder))
    built = ask("build", str(path), "--engine", "inline")
    assert built.exit_code == 0, built.output
    assert "1 of 6 records kept" in built.output
    return path


def test_a_recipe_may_be_of_a_corpus_alone(recipe: Path) -> None:
    loaded = load_corpus_recipe(recipe)
    assert type(loaded) is CorpusRecipe
    assert [row["step"] for row in plan_steps(loaded)] == ["corpus"]
    with pytest.raises(UserError, match="no step 'tokens' in this recipe; it names no part that"):
        plan_steps(loaded, "tokens")


def test_a_recipe_that_names_one_part_of_a_model_must_name_all(recipe: Path) -> None:
    with pytest.raises(UserError, match="the key 'tokens' is missing"):
        load_corpus_recipe(recipe, ["tokenizer.vocab_size=8192"])
    assert type(load_corpus_recipe(LAPTOP)) is Recipe


def test_the_waterfall_reads_from_the_left(recipe: Path) -> None:
    asked = ask("waterfall", str(recipe))
    heads = [asked.output.index(name) for name in ("step", "rule", "dropped", "bytes_dropped")]
    assert heads == sorted(heads)
    assert "gopher_tokens_min" in asked.output


def test_whatif_counts_documents_and_shows_what_they_say(recipe: Path) -> None:
    asked = ask("whatif", str(recipe), "gopher_tokens_min=1", "--json")
    found = json.loads(asked.stdout)
    counts = [found["by"][0][name] for name in ("documents_before", "documents_after")]
    assert [json.dumps(count) for count in counts] == ["1", "6"]  # 1, not true
    for row in found["newly_kept"]["examples"]:
        assert row["excerpt"].startswith("A short text of the number")


def test_a_question_needs_no_torch_and_no_valid_recipe(recipe: Path) -> None:
    changed = recipe.with_name("changed.yaml")
    changed.write_text(recipe.read_text().replace("partitions: 2", "partition: 2"))
    code = (
        "import sys; from pathlib import Path; from skywright.cli.shared import step_folder\n"
        f"step_folder(Path({str(changed)!r}), 'corpus'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_a_sample_raises_no_alarm() -> None:
    from skywright.corpus.waterfall import Tally

    columns = ("source", "kept", "step", "rule", "lang", "bytes", "chars", "tokens")
    out = ("lines", False, "read", "not_in_sample", None, 9, None, None)
    kept, short = ("lines", True, None, None, "en", 9, 9, 2), ("lines", False, "rules", "short")
    for rows, alarms in (
        ([out] * 990 + [kept] * 10, []),
        ([out] * 970 + [(*short, "en", 9, 9, 2)] * 30, ["short"]),
    ):
        tally = Tally()
        tally.add(pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows]))
        assert [alarm["rule"] for alarm in tally.as_json({}, [])["alarms"]] == alarms


def test_copies_are_sought_among_a_runs_documents(recipe: Path, tmp_path: Path) -> None:
    for place in (recipe, recipe.parent / "run"):
        made = ask("dedup", str(place), "--out", str(tmp_path / place.name), "--engine", "inline")
        assert "1 of 1 documents stay" in made.output


def test_a_full_disk_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(prog_name: str) -> None:
        with open("/dev/full", "w") as stream:
            stream.write("a" * 10**5)

    monkeypatch.setattr("skywright.cli.app.app", write)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith("error: No space left on device; mend that and")
