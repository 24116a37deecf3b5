"""The commands extend and report, as they are typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from skywright.tokenizer import Tokenizer

from .conftest import write_parquet


def skywright(*words) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "skywright", "tokenizer", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


@pytest.fixture(scope="module")
def corpus(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "documents"
    write_parquet(folder / "a.parquet", documents)
    return folder


def test_extend_grows_a_model_by_words_of_a_corpus(folder, corpus, tmp_path):
    out = tmp_path / "grown"
    made = skywright(
        "extend", out, "--model", folder / "tokenizer.model", "--corpus", corpus.parent,
        "--size", 3100, "--reserved", 3,
    )  # fmt: skip
    assert (made.returncode, made.stdout.splitlines()[-1]) == (0, str(out)), made.stderr
    assert "3,100 ids: 3,000 of the model, 0 characters, 97 words, 3 reserved" in made.stderr
    assert Tokenizer.load(out).reserved_ids == (3097, 3098, 3099)

    # Side by side with the tokenizer it came from, on the corpus, as one JSON document.
    seen = skywright("report", folder, out, folder / "tokenizer.model", "--documents", corpus,
                     "--json")  # fmt: skip
    assert seen.returncode == 0, seen.stderr
    found = json.loads(seen.stdout)
    assert [item["tokenizer"] for item in found["vocabularies"]] == [
        "made", "grown", "tokenizer.model",
    ]  # fmt: skip
    zh = [row for row in found["rows"] if row["domain"] == "zh_wiki.jsonl.gz"]
    small, grown, model = (row["chars_per_token"]["value"] for row in zh)
    assert grown > small == model


def test_report_measures_on_the_example_sets_unless_told(folder):
    seen = skywright("report", folder)
    assert seen.returncode == 0, seen.stderr
    for word in ("characters a token", "zh_poetry", "en_peps", "code", "unreachable"):
        assert word in seen.stdout
    assert "multiple" not in seen.stdout  # of what, with one alone?


def test_report_of_one_finished_run_shows_what_its_step_measured(folder, tmp_path):
    step = tmp_path / "run" / "tokenizer" / "abc"
    shutil.copytree(folder, step)
    (step / "step.json").write_text("{}")
    (step.parent / "current").symlink_to("abc")
    for place in (tmp_path / "run", step):
        seen = skywright("report", place, "--json")
        assert seen.returncode == 0, seen.stderr
        assert json.loads(seen.stdout) == json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "absent.model"], "absent.model: cannot be read"),
        (["report", "absent"], "absent: no finished step 'tokenizer' here"),
        (["extend", "out", "--model", "absent.model", "--size", 400], "absent.model: cannot be"),
        (["extend", "out", "--model", "m", "--size", 400, "--sample", "6 lines"], "sample_bytes: "),
        (["extend", "out", "--model", "m", "--size", 400, "--corpus", "absent"],
         "absent: has no Parquet documents"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_exit_1(words, message):
    made = skywright(*words)
    assert made.returncode == 1
    assert message in made.stderr
    assert len(made.stderr.strip().splitlines()) == 1
