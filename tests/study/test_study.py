from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate import EvaluatedModel
from skywright.leak.arithmetic import ANNOTATION, evaluate, problems
from skywright.study import StudyConfig, run
from skywright.study.arithmetic import CHANCE, OPTIONS, make_benchmark
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, make, write_llama

ITEMS = make_benchmark(400, 7)


def numbers(text: str) -> set[int]:
    return {int(n) for n in re.findall(r"\d+", text)}


def test_one_option_is_right_and_the_others_are_wrong_in_three_ways() -> None:
    for item in ITEMS:
        kinds = Counter()
        for place, option in enumerate(item.options):
            (annotation,) = ANNOTATION.findall(option)
            holds = evaluate(annotation[0]) == int(annotation[1])
            own = numbers(annotation[0]) <= numbers(item.context)
            repeats = not problems(option) if holds else option.endswith(f"#### {annotation[1]}")
            kinds[holds, own, repeats] += 1
            assert (place == item.answer) == (holds and own and repeats)
        assert kinds == {
            (True, True, True): 1, (False, True, True): 1, (True, False, True): 1,
            (True, True, False): 1,
        }  # fmt: skip


def test_places_are_balanced_and_length_gives_nothing_away() -> None:
    assert Counter(item.answer for item in ITEMS) == dict.fromkeys(range(OPTIONS), 100)
    shortest = sum(
        len(item.options[item.answer]) < min(len(o) for i, o in enumerate(item.options)
                                             if i != item.answer)
        for item in ITEMS
    )  # fmt: skip
    assert shortest / len(ITEMS) < 0.05
    assert CHANCE == 1 / OPTIONS


def test_the_benchmark_follows_its_seed_and_its_beginning_stays() -> None:
    assert make_benchmark(400, 7) == ITEMS
    assert [i.context for i in make_benchmark(40, 7)] == [i.context for i in ITEMS[:40]]
    assert make_benchmark(400, 8) != ITEMS
    assert len({item.id for item in ITEMS}) == 400


def test_gain_and_harm_are_measured_before_and_after(tmp_path: Path) -> None:
    start = write_llama(tmp_path / "start", context=256)
    tokenizer = Tokenizer.load(start)
    models: list[EvaluatedModel] = [
        {"name": "step-1", "path": str(start), "tokens": 10, "segment": "one"}
    ]
    asked = []

    def train_branch(checkpoint: EvaluatedModel, folder: Path) -> list[EvaluatedModel]:
        asked.append((checkpoint["name"], folder))
        path = write_llama(folder / "hf", seed=1, context=256)
        return [{"name": "end", "path": str(path), "tokens": 15, "segment": "branch"}]

    config = StudyConfig(tokens=5, source="stem", peak_lr=1e-3, benchmark_items=24)
    sets = [make(TEXTS, "one"), make(TEXTS[:4], "two")]
    summary = run(config, models, sets, tokenizer, train_branch, tmp_path / "out")
    assert summary == read_json(tmp_path / "out" / "summary.json")
    assert asked == [("step-1", tmp_path / "out" / "branch")]
    assert [row["domain"] for row in summary["domains"]] == ["one", "two", "macro"]
    for row in [*summary["domains"], summary["benchmark"]]:
        assert row["difference"]["value"] == pytest.approx(
            row["after"]["value"] - row["before"]["value"]
        )
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
    assert summary["benchmark"]["items"] == 24
    first = (tmp_path / "out" / "summary.json").read_bytes()
    run(config, models, sets, tokenizer, train_branch, tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").read_bytes() == first


def test_a_branch_without_a_model_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_llama(tmp_path / "start"))
    config = StudyConfig(tokens=5, source="stem", peak_lr=1e-3)
    start: EvaluatedModel = {"name": "step-1", "path": "a", "tokens": 10, "segment": "one"}
    with pytest.raises(UserError, match="exported no checkpoint"):
        run(config, [start], [make(TEXTS)], tokenizer, lambda _, __: [], tmp_path)
