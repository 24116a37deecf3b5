"""What `skywright eval` takes for models, names and options."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from typer.testing import CliRunner

from skywright.cli import main
from skywright.cli.eval_options import named_model, own_name
from skywright.cli.evaluate import _show, app
from skywright.engine.files import read_json, write_json
from skywright.errors import UserError
from skywright.sets import freeze
from tests.evaluate.tiny import TEXTS, make, write_llama


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


@pytest.mark.parametrize(
    ("command", "option", "told"),
    [
        ("score vllm+http://h:1#m s --out o", "--device cpu", "a server computes where"),
        ("score vllm+http://h:1#m s --out o", "--dtype float32", "a server computes where"),
        ("doctor sglang+http://h:1#m", "--dtype bfloat16", "a server computes where"),
        ("score llama-cpp+m.gguf s --out o", "--dtype float32", "llama.cpp computes on cpu"),
        ("compare a llama-cpp+m.gguf --set s --out o", "--device cpu", "llama.cpp computes on"),
        ("protocols llama-cpp+m.gguf --set s --out o", "--device cpu", "llama.cpp computes on"),
        ("score m s --out o", "--concurrency 16", "this model runs here"),
        ("doctor m.gguf", "--concurrency 4", "this model runs here"),
    ],
)
def test_an_option_that_a_back_end_has_no_use_for_is_refused_where_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, [*command.split(), *option.split()])
    assert refused.exit_code == 2
    words = " ".join(refused.output.replace("│", " ").split())
    assert f"Invalid value for {option.split()[0]}" in words
    assert told in words
    left_out = CliRunner().invoke(app, command.split())
    assert left_out.exit_code == 1  # for what it is: no such model or server


def test_every_protocol_and_model_is_checked_before_the_first_score(tmp_path: Path) -> None:
    item = make(TEXTS)
    freeze(tmp_path / "set", item.name, item.domain, "en", item.documents, "domain", "made")
    good = write_llama(tmp_path / "good", context=512)
    short = write_llama(tmp_path / "short", seed=1, context=64)
    unsound = write_llama(tmp_path / "unsound", seed=2, context=512)
    path = unsound / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.save(str(path))
    common = ["--set", str(tmp_path / "set"), "--window-tokens", "100", "--out"]
    for model, told in ((short, "short: protocol"), (unsound, "unsound: round trip")):
        out = tmp_path / f"out-{model.name}"
        command = ["protocols", str(good), str(model), *common, str(out)]
        refused = CliRunner().invoke(app, command)
        assert isinstance(refused.exception, UserError)
        assert str(refused.exception).startswith(told)
        assert not out.exists()
    # What is scored is not examined again.
    done = [*command, "--no-doctor"]
    assert CliRunner().invoke(app, done).exit_code == 0
    assert CliRunner().invoke(app, command).exit_code == 0


def fails_with(make_error: Callable[[], OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(prog_name: str) -> None:
        raise make_error()

    monkeypatch.setattr("skywright.cli.app.app", fail)
    main()


@pytest.mark.parametrize("kind", [errno.ENOTDIR, errno.EEXIST, errno.EIO, errno.EACCES])
def test_a_path_that_cannot_be_used_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: int
) -> None:
    with pytest.raises(SystemExit, match="1"):
        fails_with(lambda: OSError(kind, os.strerror(kind), "some/where"), monkeypatch)
    told = capsys.readouterr().err
    assert told.startswith(f"error: some/where: {os.strerror(kind)}; mend that")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "gone", "ours"), ConnectionError("no"),
              OSError(errno.EIO, "no path"), OSError(errno.EBADF, "closed", "x")],
)  # fmt: skip
def test_errors_that_may_be_the_programs_own_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    with pytest.raises(type(error), match=str(error.args[-1])) as raised:
        fails_with(lambda: error, monkeypatch)
    assert raised.value is error


@pytest.mark.parametrize("named", [True, False])
def test_a_full_disk_names_the_file_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    def full(descriptor: int) -> None:
        (beside,) = tmp_path.iterdir()
        raise OSError(errno.ENOSPC, "full", *([str(beside)] if named else []))

    monkeypatch.setattr("skywright.engine.files.os.fsync", full)
    with pytest.raises(OSError, match="full") as raised:
        write_json(tmp_path / "summary.json", {})
    assert raised.value.filename == str(tmp_path / "summary.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("documents", [6, 1])
def test_a_protocols_number_is_shown_and_written_with_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: int
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    item = make([text * 9 for text in TEXTS[:documents]])
    freeze(tmp_path / "set", item.name, item.domain, "en", item.documents, "domain", "made")
    models = [str(write_llama(tmp_path / name, seed, 256)) for seed, name in enumerate("mn")]
    common = ["--set", str(tmp_path / "set"), "--window-tokens", "100", "--no-doctor"]
    arguments = ["protocols", *models, *common, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = read_json(tmp_path / "out" / "differences.json")
    assert len(rows) == 5
    for row in rows:
        for value in row["values"].values():
            if documents == 1:
                assert value["low"] is value["high"] is None
            else:
                assert value["low"] < value["value"] < value["high"]
    shown = [result.output.count(words) for words in ("(no interval), rank", " to ")]
    assert shown == ([10, 0] if documents == 1 else [0, 10])


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
