from __future__ import annotations

import math
import re
import weakref
from pathlib import Path

import numpy as np
import pytest

from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate import EvaluateConfig, EvaluatedModel, run
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.models import dtype_of, score_models
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score
from skywright.evaluate.step import find_model, load_domain_sets, sets_by_domain
from skywright.evaluate.unigram import unigram_nats
from skywright.sets import freeze
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, make, write_llama

SETS = [make(TEXTS, "one"), make(TEXTS[:4], "two"), make(TEXTS[:2], "test", "leak_test")]


def models(*folders: Path) -> list[EvaluatedModel]:
    return [
        {"name": f"step-{i}", "path": str(f), "tokens": 10 * i, "segment": "a"}
        for i, f in enumerate(folders)
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_rows_hold_every_model_and_domain_and_their_macro_mean(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = write_llama(tmp_path / "other", seed=3)
    config = EvaluateConfig()
    counts = np.arange(400)
    summary = run(
        config, models(llama, other), SETS, tokenizer, tmp_path / "out", unigram_counts=counts
    )
    assert summary == read_json(tmp_path / "out" / "summary.json")
    assert [(r["model"], r["domain"]) for r in summary["rows"]] == [
        (m, d) for m in ("step-0", "step-1") for d in ("one", "two", "macro")
    ]
    one, two, macro = summary["rows"][:3]
    nats = [r["nats_per_reference_token"]["value"] for r in (one, two, macro)]
    assert nats[2] == pytest.approx((nats[0] + nats[1]) / 2)
    for row, value in zip((one, two, macro), nats, strict=True):
        assert row["perplexity"]["value"] == pytest.approx(math.exp(value))
        assert row["perplexity"]["low"] < row["perplexity"]["value"] < row["perplexity"]["high"]
        assert row["bpb"]["low"] < row["bpb"]["value"] < row["bpb"]["high"]
    assert one["documents"] == one["nats_per_reference_token"]["n"] == 6
    assert set(summary["unigram"]) == {"one", "two", "macro"}
    assert one["flags"] == {"windowed": 1}
    assert [r["from_bytes"] for r in one["by_position"]] == [0]
    assert one["by_position"][0]["bpb"]["value"] == pytest.approx(one["bpb"]["value"])
    assert one["headline"] == pytest.approx(one["bpb"])


def test_micro_and_macro_means_are_what_their_formulas_say(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    config = EvaluateConfig()
    summary = run(config, models(llama), SETS, tokenizer, tmp_path)
    tables = [score(HFBackend(llama), s, Protocol(max_chars=4096), tokenizer) for s in SETS[:2]]
    nll, size = ([t[name].to_numpy() for t in tables] for name in ("nll_nats", "chars"))
    bits = [n / math.log(2) for n in nll]
    found = summary["aggregates"][0]["bits_per_char"]
    both, sizes = np.concatenate(bits), np.concatenate(size)
    assert found["micro"]["value"] == pytest.approx(both.sum() / sizes.sum())
    assert found["document_macro"]["value"] == pytest.approx((both / sizes).mean())
    domains = [b.sum() / s.sum() for b, s in zip(bits, size, strict=True)]
    assert found["domain_macro"]["value"] == pytest.approx(np.mean(domains))
    for estimate in found.values():
        assert estimate["low"] < estimate["value"] < estimate["high"]


def test_a_run_cut_short_goes_on_and_gives_the_same_bytes(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    config = EvaluateConfig()

    class KilledError(Exception):
        pass

    def kill(done: float, total: float, text: str) -> None:
        if done > 1:  # the first set is scored, the second has begun
            raise KilledError

    run(config, models(llama), SETS, tokenizer, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(config, models(llama), SETS, tokenizer, tmp_path / "cut", kill)
    assert len(list((tmp_path / "cut").rglob("docs.parquet"))) == 1
    run(config, models(llama), SETS, tokenizer, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_one_model_is_in_memory_at_a_time(llama: Path, tokenizer: Tokenizer) -> None:
    seen: list[weakref.ref] = []
    sets = {"one": SETS[0]}
    for scored in score_models(models(llama, llama, llama), sets, Protocol(), tokenizer):
        assert [ref() for ref in seen] == [None] * len(seen)
        seen.append(weakref.ref(scored.backend))
    assert len(seen) == 3


def test_progress_tells_tokens_a_second_and_the_time_that_is_left(
    llama: Path, tokenizer: Tokenizer
) -> None:
    told: list[str] = []
    (_,) = score_models(
        models(llama), {"one": SETS[0]}, Protocol(), tokenizer,
        progress=lambda done, total, text: told.append(text), batch_tokens=64,
    )  # fmt: skip
    assert told[0] == "step-0 on one"
    assert re.fullmatch(r"step-0 on one: [\d,]+ tokens/s, \d+ s left", told[-1])


def test_checkpoints_can_be_named_and_wrong_names_are_refused(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    config = EvaluateConfig(checkpoints=["step-1"])
    summary = run(config, models(llama, llama), SETS, tokenizer, tmp_path)
    assert {row["model"] for row in summary["rows"]} == {"step-1"}
    with pytest.raises(UserError, match="no checkpoint 'step-7'; there are step-0"):
        run(EvaluateConfig(checkpoints=["step-7"]), models(llama), SETS, tokenizer, tmp_path)


MODELS: list[EvaluatedModel] = [
    {"name": "step-1", "path": "a", "tokens": 10, "segment": "one"},
    {"name": "step-2", "path": "b", "tokens": 20, "segment": "one"},
    {"name": "step-3", "path": "c", "tokens": 30, "segment": "two"},
]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("first", "step-1"), ("last", "step-3"), ("segment:one", "step-2"), ("segment:two", "step-3"),
     ("step-2", "step-2")],
)  # fmt: skip
def test_a_checkpoint_is_found_by_place_segment_or_name(wanted: str, name: str) -> None:
    assert find_model(MODELS, wanted)["name"] == name


@pytest.mark.parametrize("wanted", ["segment:three", "step-9", ""])
def test_a_checkpoint_that_is_not_there_is_refused_with_what_is(wanted: str) -> None:
    with pytest.raises(UserError, match="step-1 \\(segment one\\)"):
        find_model(MODELS, wanted)


def test_two_sets_of_one_domain_are_refused(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="are both of domain 'one'"):
        run(EvaluateConfig(), models(llama), [SETS[0], SETS[0]], tokenizer, tmp_path)


def test_the_dtype_is_what_the_models_were_computed_in() -> None:
    assert dtype_of({"a": "float32", "b": "float32"}) == "float32"
    assert dtype_of({"a": "served"}) == "served"
    assert dtype_of({"a": "float32", "b": "Q4_1"}) == "a float32, b Q4_1"


@pytest.mark.parametrize("name", ["macro", "all"])
def test_a_domain_cannot_have_the_name_of_a_mean(name: str) -> None:
    with pytest.raises(UserError, match=f"{name!r} names a row of the results"):
        sets_by_domain([make(TEXTS, name)])


def test_a_set_that_is_named_is_scored_or_refused_and_never_left_out(tmp_path: Path) -> None:
    for item in SETS:
        freeze(tmp_path / item.name, item.name, item.name, "en", item.documents, item.purpose, "-")
    found = load_domain_sets([tmp_path / "one", tmp_path / "two"])
    assert [item.name for item in found] == ["one", "two"]
    with pytest.raises(UserError, match=r"test: its purpose is 'leak_test'.*leave it out"):
        load_domain_sets([tmp_path / "one", tmp_path / "test"])


def test_unigram_loss_is_the_cross_entropy_under_smoothed_counts() -> None:
    # Counts 3, 0, 1 become 4/7, 1/7, 2/7.
    nats = unigram_nats(np.array([3, 0, 1]), [np.array([0, 1]), np.array([2, 2])])
    expected = -(math.log(4 / 7) + math.log(1 / 7) + 2 * math.log(2 / 7)) / 4
    assert nats == pytest.approx(expected, rel=1e-12)
