"""Stopping as soon as it is sure: right verdicts, less work, and the full comparison's number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from skywright.cli.evaluate import app
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate.compare import compare_early, early
from skywright.evaluate.models import EvaluatedModel
from skywright.evaluate.protocols import LLMCompression, Protocol
from skywright.evaluate.score import score
from skywright.sets import EvaluationSet, freeze
from skywright.tokenizer import Tokenizer
from tests.evaluate.compared import made_set, texts
from tests.evaluate.tiny import write_llama

SETS = [made_set("one", texts(1, 70)), made_set("two", texts(2, 50))]
DOCUMENTS = 120


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[EvaluatedModel]:
    """Two models apart, and a twin of the first."""
    root = tmp_path_factory.mktemp("models")
    folders = {
        name: write_llama(root / name, seed, context=256)
        for name, seed in (("a", 0), ("b", 1), ("twin", 0))
    }
    return [
        {"name": name, "path": str(path), "tokens": 0, "segment": ""}
        for name, path in folders.items()
    ]


@pytest.fixture(scope="module")
def reference(models: list[EvaluatedModel]) -> Tokenizer:
    return Tokenizer.load(Path(models[0]["path"]))


def macro_difference(
    models: list[EvaluatedModel], reference: Tokenizer, sets: list[EvaluationSet]
) -> float:
    """Mean over domains of the differences of nats per reference token, scored in full."""
    found = []
    for item in sets:
        tables = [
            score(early.open_model(model), item, Protocol(), reference) for model in models[:2]
        ]
        nats = [table["nll_nats"].to_numpy().sum() for table in tables]
        found.append((nats[0] - nats[1]) / tables[0]["reference_tokens"].to_numpy().sum())
    return float(np.mean(found))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_a_pair_that_is_clearly_apart_is_decided_before_all_is_read(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path
) -> None:
    found = compare_early(models[:2], SETS, Protocol(), reference, tmp_path)
    (pair,) = found.pairs
    truth = macro_difference(models, reference, SETS)
    assert pair.verdict == ("a lower" if truth < 0 else "b lower")
    assert pair.difference.low <= truth <= pair.difference.high
    assert pair.difference.n == found.scored_documents["a"] == early.FIRST_LOOK < DOCUMENTS
    assert 0.3 < found.saved < 0.7
    assert read_json(tmp_path / "early.json") == found.as_json()


def test_over_all_documents_the_difference_is_the_mean_over_domains(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(early, "_verdict", lambda a, b, found, floor: early.OPEN)
    found = compare_early(models[:2], SETS, Protocol(), reference, tmp_path)
    assert found.scored_documents == {"a": DOCUMENTS, "b": DOCUMENTS}
    assert found.saved == 0
    assert [look.n for look in found.pairs[0].looks] == [64, 96, 120]
    truth = macro_difference(models, reference, SETS)
    assert found.pairs[0].difference.value == pytest.approx(truth, rel=1e-6)


def test_of_three_models_those_that_are_decided_are_scored_no_further(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path
) -> None:
    found = compare_early(models, SETS, Protocol(), reference, tmp_path)
    verdicts = {(pair.a, pair.b): pair.verdict for pair in found.pairs}
    assert verdicts["a", "twin"] == "cannot tell"
    assert verdicts["a", "b"] == verdicts["b", "twin"].replace("twin", "a") != "cannot tell"
    assert found.scored_documents == {"a": DOCUMENTS, "b": early.FIRST_LOOK, "twin": DOCUMENTS}


def test_a_difference_within_the_noise_floor_is_decided_too(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path
) -> None:
    pair = [models[0], models[2]]
    found = compare_early(pair, SETS, Protocol(), reference, tmp_path, noise_floor=1e-3)
    assert found.pairs[0].verdict == "below noise"
    assert found.scored_documents == {"a": early.FIRST_LOOK, "twin": early.FIRST_LOOK}


def test_a_run_that_was_cut_short_goes_on_and_the_order_follows_the_seed(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    def kill(done: float, total: float, text: str) -> None:
        if text.startswith("b, documents 33"):
            raise KilledError

    arguments: tuple[Any, ...] = (models[:2], SETS, Protocol(), reference)
    compare_early(*arguments, tmp_path / "whole")
    with pytest.raises(KilledError):
        compare_early(*arguments, tmp_path / "cut", kill)
    compare_early(*arguments, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    # Neither the order of the sets nor that of the models moves a document.
    turned = compare_early(models[1::-1], SETS[::-1], Protocol(), reference, tmp_path / "turned")
    stores = [files(tmp_path / name / "store") for name in ("whole", "turned")]
    assert stores[0] == stores[1]
    assert turned.pairs[0].a == "b"
    compare_early(*arguments, tmp_path / "other", seed=1)
    assert not set(files(tmp_path / "other" / "store")) & set(stores[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": 1}, "name at least two models"),
        ({"budget_documents": 63}, "63 documents: the first look takes 64"),
        ({"protocol": LLMCompression()}, "joins documents"),
    ],
)
def test_what_cannot_be_stopped_is_refused(
    models: list[EvaluatedModel], reference: Tokenizer, tmp_path: Path, changes: Mapping[str, Any],
    message: str,
) -> None:  # fmt: skip
    options = dict(changes)
    chosen = models[: options.pop("models", 2)]
    protocol = options.pop("protocol", Protocol())
    with pytest.raises(UserError, match=message):
        compare_early(chosen, SETS, protocol, reference, tmp_path, **options)


def test_the_command_says_what_was_decided_and_what_was_saved(
    models: list[EvaluatedModel], tmp_path: Path
) -> None:
    command = ["compare", *(f"{m['name']}={m['path']}" for m in models[:2])]
    for item in SETS:
        freeze(tmp_path / item.name, item.name, item.domain, "en", item.documents, "domain", "made")
        command += ["--sets", str(tmp_path / item.name)]
    command += ["--out", str(tmp_path / "out"), "--no-doctor"]
    done = CliRunner().invoke(app, [*command, "--stop-when-sure", "--budget", "100"])
    assert done.exit_code == 0, done.output
    assert " lower" in done.stdout
    assert "of 120 documents were scored: a 64, b 64; 4" in done.stdout
    wrong = CliRunner().invoke(app, [*command, "--budget", "100"])
    assert wrong.exit_code == 2
