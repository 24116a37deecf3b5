"""Two periods of the same domains: the command, the interaction, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skywright.cli.evaluate import app
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate.compare import compare_periods
from skywright.evaluate.models import EvaluatedModel
from skywright.evaluate.protocols import Protocol
from skywright.sets import EvaluationSet, freeze
from skywright.statistics import Period, ranking_stability
from skywright.tokenizer import Tokenizer
from tests.evaluate.compared import made_set, texts
from tests.evaluate.tiny import write_llama

FIRST = [made_set("one", texts(1, 24)), made_set("two", texts(2, 20))]
SECOND = [made_set("one", texts(3, 18)), made_set("two", texts(4, 22))]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[EvaluatedModel]:
    """Two models apart, and a twin of the first."""
    root = tmp_path_factory.mktemp("models")
    return [
        {
            "name": name,
            "path": str(write_llama(root / name, seed, context=256)),
            "tokens": 0,
            "segment": "",
        }
        for name, seed in (("a", 0), ("b", 1), ("twin", 0))
    ]


@pytest.fixture(scope="module")
def reference(models: list[EvaluatedModel]) -> Tokenizer:
    return Tokenizer.load(Path(models[0]["path"]))


def folders(root: Path, sets: Sequence[EvaluationSet], option: str) -> list[str]:
    """The sets frozen under `root`, as options of the command."""
    found = []
    for item in sets:
        freeze(root / item.name, item.name, item.domain, "en", item.documents, "domain", "made")
        found += [option, str(root / item.name)]
    return found


def test_both_rankings_and_their_change_are_those_of_the_scores(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path
) -> None:
    found = compare_periods(models, FIRST, SECOND[::-1], Protocol(), reference, tmp_path, draws=200)
    assert found.models == ("a", "b", "twin")
    by_pair = {(pair.a, pair.b): pair for pair in found.stability.interactions}
    twins = by_pair["a", "twin"]
    assert twins.before.value == twins.after.value == twins.change.value == 0
    assert twins.verdict == "cannot tell"
    for board, when in zip(found.boards, ("before", "after"), strict=True):
        loss = {standing.model: standing.loss.value for standing in board.standings}
        difference = getattr(by_pair["a", "b"], when).value
        assert difference == pytest.approx(loss["a"] - loss["b"])
    assert read_json(tmp_path / "stability.json") == found.as_json()
    first, second = (found.as_json()["periods"][name] for name in ("first", "second"))
    assert first["documents"] == {"one": 24, "two": 20}
    assert second["documents"] == {"one": 18, "two": 22}
    assert (first["first"], first["last"]) == ("2024-06-30", "2024-06-30")
    # Nothing is scored twice, and a turned order of models changes names only.
    stored = sorted(p.stat().st_mtime_ns for p in tmp_path.glob("store/**/docs.parquet"))
    again = compare_periods(models[::-1], FIRST, SECOND, Protocol(), reference, tmp_path, draws=200)
    assert sorted(p.stat().st_mtime_ns for p in tmp_path.glob("store/**/docs.parquet")) == stored
    assert again.stability.kendall.value == found.stability.kendall.value


def test_a_model_that_knew_the_first_period_is_seen(reference: Tokenizer) -> None:
    # 60 documents a period; the second model has read half of the first period's.
    def period(known: float) -> Period:
        losses = [2.0 + 0.01 * (n % 7) for n in range(60)]
        other = [
            loss * (known if n % 2 else 1.0) + 0.001 * (n % 5) for n, loss in enumerate(losses)
        ]
        return Period({"a": losses, "b": other}, [1.0] * 60)

    (pair,) = ranking_stability(period(0.8), period(1.0), draws=200).interactions
    assert pair.verdict == "changed"
    assert pair.change.high < 0


def test_the_command_prints_both_rankings_and_the_changes(
    models: list[EvaluatedModel], tmp_path: Path
) -> None:
    command = ["stability", *(f"{m['name']}={m['path']}" for m in models[:2])]
    command += folders(tmp_path / "july", FIRST, "--first")
    command += folders(tmp_path / "september", SECOND, "--second")
    command += ["--out", str(tmp_path / "out"), "--no-doctor"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "ranks, second" in done.stdout
    assert "change, nats" in done.stdout
    assert "Kendall's tau of the two rankings: " in done.stdout
    as_json = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(as_json.stdout) == read_json(tmp_path / "out" / "stability.json")


def test_periods_that_cannot_be_compared_are_refused(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path
) -> None:
    def compared(chosen: Sequence[EvaluatedModel], second: Sequence[EvaluationSet]) -> None:
        compare_periods(chosen, FIRST, second, Protocol(), reference, tmp_path)

    with pytest.raises(UserError, match="name at least two models"):
        compared(models[:1], SECOND)
    with pytest.raises(UserError, match="domain two is missing in the second period"):
        compared(models, SECOND[:1])
    with pytest.raises(UserError, match="stands in both periods"):
        compared(models, [FIRST[0], SECOND[1]])
