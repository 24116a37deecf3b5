"""`skywright corpus classifier`: train, eval, apply, from the command line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skywright.cli.classifier import app
from skywright.corpus.classify.examples import read_examples
from skywright.errors import UserError

GOOD = "The treaty was signed in the year {n} by the ministers of both kingdoms. "
BAD = "Click now for the best cheap offer number {n}, buy today and save money! "


def write(path: Path) -> Path:
    rows = [
        {"text": text.format(n=n), "url": f"http://h{n % 12}.org/{n}", "good": good}
        for n in range(0, 80, 2)
        for good, text in enumerate((BAD, GOOD))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_train_eval_and_apply_agree(tmp_path: Path) -> None:
    data, model = write(tmp_path / "pages.jsonl"), tmp_path / "good.safetensors"
    run = CliRunner().invoke
    made = run(app, ["train", str(data), "--label", "good", "--out", str(model), "--json"])
    assert made.exit_code == 0, made.output
    told = json.loads(made.output)
    assert told["labels"][0]["auc"].startswith("1.000")
    again = run(app, ["eval", str(model), str(data), "--json"])
    assert json.loads(again.output)["labels"][0]["ones"] == 40
    applied = run(app, ["apply", str(model), str(data)])
    rows = [json.loads(line) for line in applied.output.splitlines()]
    assert [row["good"] > 0.5 for row in rows] == [False, True] * 40


def test_apply_gives_the_scores_of_a_shipped_model(tmp_path: Path) -> None:
    data = write(tmp_path / "pages.jsonl")
    result = CliRunner().invoke(app, ["apply", "safety", str(data)])
    labels = {"host", "pornography", "gambling", "violence", "advertising"}
    assert set(json.loads(result.output.splitlines()[0])) == labels


def test_a_file_that_ends_early_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"text": "a", "host": "a.org"}\n' * 100, mtime=0)
    for name, data in (("cut.jsonl.gz", packed[:-12]), ("latin.jsonl", b'{"text": "caf\xe9"}\n')):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}: cannot be read on after line \d+ .*UTF-8"):
            read_examples([tmp_path / name], ())
