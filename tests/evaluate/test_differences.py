from __future__ import annotations

from pathlib import Path

import pytest

from skywright.errors import UserError
from skywright.evaluate.differences import differences, headlines
from skywright.evaluate.models import EvaluatedModel
from skywright.evaluate.protocols import PROTOCOLS, named
from skywright.evaluate.store import Store
from skywright.statistics import Estimate
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, make, write_llama


def known(**values: float) -> dict[str, Estimate]:
    return {model: Estimate(v, v - 0.1, v + 0.1, 0.05, 9) for model, v in values.items()}


def test_ranks_and_moves_are_counted_against_the_first_protocol() -> None:
    rows = differences({"ours": known(a=1.0, b=2.0, c=3.0), "other": known(a=20.0, b=10.0, c=40.0)})
    assert rows[0]["ranks"] == {"a": 1, "b": 2, "c": 3}
    assert (rows[0]["moved"], rows[0]["kendall_tau"]) == (0, 1.0)
    assert rows[1]["ranks"] == {"a": 2, "b": 1, "c": 3}
    assert (rows[1]["moved"], rows[1]["largest_move"]) == (2, 1)
    assert rows[1]["kendall_tau"] == pytest.approx(1 / 3)
    assert rows[1]["spread"] == pytest.approx(3.0)


def test_protocols_of_other_models_are_refused() -> None:
    with pytest.raises(UserError, match="score the same models under both"):
        differences({"ours": known(a=1.0), "other": known(b=1.0)})


def test_two_models_of_one_name_are_refused(tokenizer: Tokenizer) -> None:
    twice: list[EvaluatedModel] = [
        {"name": "hf", "path": path, "tokens": 0, "segment": ""} for path in ("a/hf", "b/hf")
    ]
    with pytest.raises(UserError, match="a name stands twice"):
        headlines(twice, {"mixed": make(TEXTS)}, [named("skywright")], tokenizer)


def test_every_protocol_gives_every_model_a_number(
    wide: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = write_llama(tmp_path / "other", seed=5, context=512)
    models: list[EvaluatedModel] = [
        {"name": name, "path": str(path), "tokens": 0, "segment": ""}
        for name, path in (("one", wide), ("other", other))
    ]
    protocols = [named(name, window_tokens=100) for name in PROTOCOLS]
    found = headlines(
        models, {"mixed": make(TEXTS)}, protocols, tokenizer, Store(tmp_path / "store")
    )
    rows = differences(found)
    assert [row["protocol"] for row in rows] == [protocol.name for protocol in protocols]
    assert all(set(row["values"]) == {"one", "other"} for row in rows)
    for found in (one for row in rows for one in row["values"].values()):
        assert found["low"] < found["value"] < found["high"]
        assert found["n"] == len(TEXTS)
    assert len(list((tmp_path / "store").glob("*/*/*/docs.parquet"))) == 2 * len(PROTOCOLS)
