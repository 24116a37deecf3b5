"""A corpus alone: a recipe without a model is built, asked, and refused what it does not name."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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
    assert capsys.readouterr().err.startswith("error: No space left on device; free some space and")


# ---------------------------------------------------------------- what goes wrong, and is said

TEXT = (
    "Sentence {n} of the text {t} says of the river that it is {n} miles long and that the boats "
    "go down to the sea with a cargo of {t} barrels."
)


def lines(count: int, field: str = "text") -> str:
    """JSON lines of texts that are no copies of each other."""
    texts = [" ".join(TEXT.format(n=n, t=t * 97) for n in range(t, t + 6)) for t in range(count)]
    rows = [{field: text, "url": f"https://a.org/{t}"} for t, text in enumerate(texts)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def own_recipe(folder: Path, more: str = "", count: int = 3, field: str = "text") -> Path:
    """A recipe in a folder of its own, over JSON lines; `more` goes into the part `corpus`."""
    (folder / "lines.jsonl").write_text(lines(count, field))
    (folder / "recipes").mkdir()
    path = folder / "recipes" / "own.yaml"
    path.write_text(RECIPE.format(folder=folder) + more)
    return path


def test_a_takedown_finds_the_modules_beside_the_recipe_and_a_failed_build_harms_none(
    tmp_path: Path,
) -> None:
    recipe = own_recipe(tmp_path, "  signals: {length: 'mine:length'}\n")
    module = recipe.with_name("mine.py")
    module.write_text("def length(texts):\n    return [len(text.as_py()) for text in texts]\n")
    assert ask("build", str(recipe), "--engine", "inline").exit_code == 0
    resolved = (tmp_path / "run" / "recipe.resolved.yaml").read_bytes()

    failed = ask(
        "build", str(recipe), "--engine", "inline", "--set", "corpus.inputs=[{source: a, path: no}]"
    )
    assert isinstance(failed.exception, UserError)
    failed = ask("build", str(recipe), "--engine", "inline", "--set", "corpus.signals.other=no:no")
    assert isinstance(failed.exception, UserError)
    assert (tmp_path / "run" / "recipe.resolved.yaml").read_bytes() == resolved

    asked = tmp_path / "asked.txt"
    asked.write_text("https://a.org/1\n")
    taken = tmp_path / "run" / "corpus" / "takedown.json"
    remove = ("remove", str(tmp_path / "run"), "--urls", str(asked), "--engine", "inline", "--yes")
    module.rename(module.with_suffix(".away"))
    assert "no module 'mine'" in str(ask(*remove).exception)
    assert not taken.exists()
    module.with_suffix(".away").rename(module)
    done = ask(*remove)
    assert done.exit_code == 0, done.exception
    assert "1 document was removed" in done.output
    assert taken.exists()


def test_a_wrong_field_of_text_is_told_with_the_fields_that_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = own_recipe(tmp_path, field="content")
    assert ask("build", str(recipe), "--engine", "inline").exit_code == 0
    (said,) = caplog.messages
    assert "source 'lines' keeps 0 of 3 records" in said
    assert "no text in the field 'text'; the other fields are content; set `fields.text`" in said
    assert "the other fields are content" in ask("why", str(recipe), "lines/lines.jsonl:1").output


@pytest.mark.parametrize("column", [[1, 2, 3], [b"a", b"b", b"c"]])
def test_a_parquet_column_that_is_no_text_is_refused(tmp_path: Path, column: list[object]) -> None:
    recipe = own_recipe(tmp_path)
    pq.write_table(pa.table({"text": column}), tmp_path / "numbers.parquet")
    built = ask(
        "build", str(recipe), "--engine", "inline",
        "--set", f"corpus.inputs=[{{source: numbers, path: {tmp_path}/numbers.parquet}}]",
        "--set", "corpus.rules.source={}",
    )  # fmt: skip
    assert "numbers.parquet: the column 'text' is of the type " in str(built.exception)


def test_the_end_of_a_build_names_damaged_inputs(tmp_path: Path) -> None:
    recipe = own_recipe(tmp_path, count=40)
    packed = gzip.compress((tmp_path / "lines.jsonl").read_bytes())
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    inputs = f"[{{source: lines, path: {tmp_path}/cut.jsonl.gz, lang: en}}]"
    built = ask("build", str(recipe), "--engine", "inline", "--set", f"corpus.inputs={inputs}")
    assert built.exit_code == 0, built.exception
    assert "damaged: lines/cut.jsonl.gz (truncated 1)" in built.output
    assert "1 input is damaged" in built.output
    assert "--rule read/truncated" in built.output


def test_a_signal_that_fails_at_every_text_stops_the_build(tmp_path: Path) -> None:
    recipe = own_recipe(tmp_path, "  signals: {length: 'mine:length'}\n")
    module = recipe.with_name("mine.py")
    module.write_text("def length(texts):\n    raise KeyError('oh')\n")
    built = ask("build", str(recipe), "--engine", "inline")
    told = (
        "corpus.signals.length: fails at every one of 3 texts, the first time with KeyError: 'oh'"
    )
    assert isinstance(built.exception, UserError)
    assert told in str(built.exception)
    module.write_text(
        "def length(texts):\n"
        "    if texts[0].as_py().startswith('Sentence 0'): raise KeyError('oh')\n"
        "    return [1.0] * len(texts)\n"
    )
    assert ask("build", str(recipe), "--engine", "inline").exit_code == 0
    asked = ask("whatif", str(recipe), "gopher_tokens_min=1")
    assert "1 document has no signals, because measuring it failed" in asked.output


def test_pages_of_a_folder_are_taken_down_by_their_file_address(tmp_path: Path) -> None:
    recipe = own_recipe(tmp_path)
    (tmp_path / "pages").mkdir()
    for row in map(json.loads, lines(3).splitlines()):
        name = row["url"].rpartition("/")[2]
        page = f"<html><body><p>{row['text']}</p></body></html>"
        (tmp_path / "pages" / f"{name}.html").write_text(page)
    more = (
        "--set", f"corpus.inputs=[{{source: lines, path: {tmp_path}/pages, lang: en}}]",
        "--set", "corpus.extraction.tier=fast",
    )  # fmt: skip
    assert ask("build", str(recipe), "--engine", "inline", *more).exit_code == 0
    (tmp_path / "asked.txt").write_text("file:///lines/1.html\n")
    run = str(tmp_path / "run")
    asked = ask("remove", run, "--urls", str(tmp_path / "asked.txt"), "--engine", "inline")
    assert "1 document would go" in asked.output, asked.exception


def test_dedup_reads_a_release_and_says_what_else_it_wants(recipe: Path, tmp_path: Path) -> None:
    released = ask("release", str(recipe), str(tmp_path / "given"), "--to", "parquet")
    assert released.exit_code == 0, released.exception
    done = ask(
        "dedup", str(tmp_path / "given"), "--out", str(tmp_path / "new"), "--engine", "inline"
    )
    assert done.exit_code == 0, done.exception
    assert "1 of 1 documents stay" in done.output
    (tmp_path / "other").mkdir()
    pq.write_table(pa.table({"id": ["a"], "text": ["b"]}), tmp_path / "other" / "a.parquet")
    refused = ask("dedup", str(tmp_path / "other"), "--out", str(tmp_path / "no"))
    assert "the field 'id' must be 16 bytes, and is string" in str(refused.exception)
