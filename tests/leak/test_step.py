from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate import EvaluatedModel
from skywright.leak import LeakConfig, run
from skywright.leak.arithmetic import problems
from skywright.leak.reference import build_reference
from skywright.leak.step import read_reference_file
from skywright.sets import EvaluationSet, load
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import make, write_llama


def texts(first: int, count: int) -> tuple[str, ...]:
    made = []
    for i in range(first, first + count):
        a, b = 20 + i, 11 + i % 7
        made.append(
            f"Tom buys {a} pens and loses {b} of them. How many pens are left?\n"
            f"There are {a} - {b} = <<{a}-{b}={a - b}>>{a - b} pens left.\n#### {a - b}"
        )
    return tuple(made)


SETS = [
    make((*texts(0, 12), "No arithmetic?\nNone at all.\n#### 3"), "gsm8k_test", "leak_test"),
    make(texts(20, 8), "gsm8k_seen", "leak_train_seen"),
    make(texts(40, 8), "gsm8k_unseen", "leak_train_unseen"),
]
CONFIG = LeakConfig()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    folder = write_llama(tmp_path_factory.mktemp("m"), context=128)
    return {"name": "step-1", "path": str(folder), "tokens": 10, "segment": "a"}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_summary_has_all_losses_differences_and_a_verdict(
    model: EvaluatedModel, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(Path(model["path"]))
    summary = run(CONFIG, [model], SETS, tokenizer, tmp_path)
    assert summary == read_json(tmp_path / "summary.json")
    (row,) = summary["models"]
    for name in ("test", "train_seen", "train_unseen", "reference", "delta1", "delta2",
                 "seen_minus_unseen", "delta1_unpaired"):  # fmt: skip
        assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]
    assert row["delta2"]["value"] == pytest.approx(
        row["test"]["value"] - row["train_seen"]["value"]
    )
    assert row["seen_minus_unseen"]["value"] == pytest.approx(
        row["train_seen"]["value"] - row["train_unseen"]["value"]
    )
    assert row["verdict"] in ("leak", "trained on train split", "no evidence", "cannot tell")
    assert summary["sets"]["gsm8k_test"] == 13
    assert summary["look_alikes"] == {
        "made": 12, "refused": {"the annotations are not exact arithmetic": 1}
    }  # fmt: skip
    reference = load(tmp_path / "reference")
    assert reference.purpose == "leak_reference"
    assert not any(problems(d.text.partition("\n")[2]) for d in reference.documents)


def test_a_step_cut_short_goes_on_and_gives_the_same_bytes(
    model: EvaluatedModel, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(Path(model["path"]))

    class KilledError(Exception):
        pass

    def kill(done: float, total: float, text: str) -> None:
        if text.startswith("step-1 on train_seen"):
            raise KilledError

    run(CONFIG, [model], SETS, tokenizer, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(CONFIG, [model], SETS, tokenizer, tmp_path / "cut", kill)
    run(CONFIG, [model], SETS, tokenizer, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_fewer_items_and_another_reference_can_be_asked_for(
    model: EvaluatedModel, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(Path(model["path"]))
    path = tmp_path / "other.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        for text in texts(60, 5):
            stream.write(json.dumps({"text": text}) + "\n")
    config = CONFIG.model_copy(
        update={"items": 6, "reference_items": 4, "overlap_reference": path, "seen": None}
    )
    summary = run(config, [model], SETS, tokenizer, tmp_path / "out")
    assert summary["sets"]["gsm8k_test"] == 6
    assert summary["look_alikes"]["made"] == 4
    assert summary["models"][0]["other_reference"]["n"] == 5
    assert summary["models"][0]["delta2"] is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b'{"text": "half \\ud83d"}\n', "line 1: needs"),
        (b"\xff\xfe\n", "cannot be read"),
        (gzip.compress(b'{"text": "x"}\n' * 99)[:-12], "cannot be read"),
    ],
)
def test_a_reference_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / ("r.jsonl.gz" if data.startswith(b"\x1f\x8b") else "r.jsonl")
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_reference_file(path)


def test_a_set_that_is_not_there_is_named(model: EvaluatedModel, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(Path(model["path"]))
    with pytest.raises(UserError, match=r"leak\.seen: no set named 'gsm8k_seen'"):
        run(CONFIG, [model], SETS[:1], tokenizer, tmp_path)


def test_look_alikes_of_another_set_are_not_taken_for_these(tmp_path: Path) -> None:
    build_reference(SETS[0], None, 0, tmp_path)
    build_reference(SETS[0], None, 0, tmp_path)
    with pytest.raises(UserError, match="another test set, seed or number"):
        build_reference(SETS[0], None, 1, tmp_path)


def test_a_test_set_without_worked_solutions_is_refused(tmp_path: Path) -> None:
    plain: EvaluationSet = make(("A question?\nAn answer.",), "plain", "leak_test")
    with pytest.raises(UserError, match="no item can be redrawn"):
        build_reference(plain, None, 0, tmp_path)
