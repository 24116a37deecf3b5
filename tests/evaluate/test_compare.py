from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from skywright.cli.evaluate import app
from skywright.errors import UserError
from skywright.evaluate.alignment import losses_by_byte
from skywright.evaluate.compare import compare, compare_scores, gather
from skywright.evaluate.compare.board import board
from skywright.evaluate.compare.cells import character_bytes, losses_by_character
from skywright.evaluate.compare.result import ModelComparison
from skywright.evaluate.models import EvaluatedModel
from skywright.evaluate.protocols import Protocol
from skywright.sets import freeze
from skywright.tokenizer import Tokenizer
from tests.evaluate.compared import (
    DOMAINS,
    TABLE_6,
    made_scores,
    made_set,
    score_table,
    texts,
)
from tests.evaluate.tiny import TEXTS, make, write_llama

DRAWS = 400


def compared(
    rates: dict[str, float], domains: tuple[str, ...] = ("one", "two"), noise_floor: float = 0.0
) -> ModelComparison:
    sets = {d: made_set(d, texts(number, 30)) for number, d in enumerate(domains)}
    return compare_scores(
        gather(made_scores(sets, rates)), sets, protocol={"name": "by hand"},
        reference_tokenizer="none", draws=DRAWS, worst=5, noise_floor=noise_floor,
    )  # fmt: skip


# ---------------------------------------------------------------- the leaderboard


def test_table_6_of_the_skywork_report_comes_out_of_its_columns() -> None:
    sets = {domain: made_set(domain, texts(n, 4)) for n, domain in enumerate(DOMAINS)}
    tables = {
        model: {
            domain: score_table(
                sets[domain],
                [math.log(perplexity) * len(d.text) for d in sets[domain].documents],
            )
            for domain, perplexity in zip(DOMAINS, columns[:-1], strict=True)
        }
        for model, columns in TABLE_6.items()
    }
    rows, _ = board(gather(tables), 0.0, 50, 0, 0.95)
    for row in rows:
        *columns, average = TABLE_6[row.model]
        assert row.macro.perplexity.value == pytest.approx(average, rel=1e-3)
        for domain, perplexity in zip(DOMAINS, columns, strict=True):
            assert row.domains[domain].perplexity.value == pytest.approx(perplexity, rel=1e-9)
    assert rows[0].model == "Skywork-13B"
    assert [row.macro.rank for row in rows] == list(range(1, 14))


def test_models_that_are_far_apart_have_one_rank_and_close_ones_share_a_range() -> None:
    found = compared({"far": 1.5, "close": 1.0001, "lowest": 1.0})
    ranges = {row.model: (row.macro.best_rank, row.macro.worst_rank) for row in found.rows}
    assert ranges == {"lowest": (1, 2), "close": (1, 2), "far": (3, 3)}
    for row in found.rows:
        own, joint = row.macro.perplexity, row.macro.simultaneous
        assert own.low < own.value < own.high
        assert joint.high / joint.low > own.high / own.low
        assert row.macro.perplexity.value == pytest.approx(
            math.exp(np.mean([c.nats_per_reference_token.value for c in row.domains.values()]))
        )


def test_every_unit_is_the_sum_of_losses_over_the_sum_of_sizes() -> None:
    item = made_set("zh", ["语言模型按顺序预测", "每一个词元", "abc"], "zh")
    nats = [20.0, 11.0, 5.0]
    tables = {m: {"zh": score_table(item, nats)} for m in ("a", "b")}
    rows, _ = board(gather(tables), 0.0, 50, 0, 0.95)
    cell = rows[0].domains["zh"]
    assert cell.bpb.value == pytest.approx(36 / math.log(2) / (27 + 15 + 3))
    assert cell.bits_per_char.value == pytest.approx(36 / math.log(2) / (9 + 5 + 3))
    assert cell.nats_per_reference_token.value == pytest.approx(36 / 17)


# ---------------------------------------------------------------- pairs


def test_pairs_name_the_lower_model_and_a_noise_floor_silences_them() -> None:
    found = compared({"a": 1.0, "b": 1.1})
    assert found.pairs[0].verdict == "a lower"
    assert found.pairs[0].domains_won == {"a lower": 2}
    assert found.pairs[0].joint.difference.value == pytest.approx(
        found.pairs[0].alone.macro.difference.value
    )
    silent = compared({"a": 1.0, "b": 1.1}, noise_floor=0.5)
    assert silent.pairs[0].verdict == "below noise"
    assert {row.macro.worst_rank for row in silent.rows} == {2}


def test_a_model_and_its_copy_cannot_be_told_apart() -> None:
    item = made_set("one", texts(0, 12))
    nats = np.random.default_rng(0).uniform(50, 300, 12)
    scores = gather({m: {"one": score_table(item, nats)} for m in ("model", "copy")})
    found = compare_scores(
        scores, {"one": item}, protocol={}, reference_tokenizer="none", draws=DRAWS
    )
    assert found.pairs[0].verdict == "cannot tell"
    assert found.gaps[0].a_worse == found.gaps[0].b_worse == ()
    assert {row.macro.worst_rank for row in found.rows} == {2}


# ---------------------------------------------------------------- places, documents, flags


def test_worst_documents_are_those_with_the_largest_gap_in_either_direction() -> None:
    item = made_set("one", texts(3, 12))
    sizes = np.array([len(d.text.encode()) for d in item.documents])
    even = sizes * math.log(2)  # one bit a byte
    other = even.copy()
    other[4] *= 3
    other[7] *= 0.5
    scores = gather({"a": {"one": score_table(item, even)},
                     "b": {"one": score_table(item, other, ["lossy"])}})  # fmt: skip
    found = compare_scores(
        scores, {"one": item}, protocol={}, reference_tokenizer="none", draws=DRAWS
    )
    (gap,) = found.gaps
    assert [line.doc_id for line in gap.b_worse] == [item.documents[4].id]
    assert [line.doc_id for line in gap.a_worse] == [item.documents[7].id]
    line = gap.b_worse[0]
    assert (line.bpb["a"], line.bpb["b"]) == pytest.approx((1.0, 3.0))
    assert line.url == item.documents[4].url
    assert item.documents[4].text.startswith(line.opening.removesuffix("…"))
    assert found.costliest["b"][0].doc_id == item.documents[4].id
    assert [(f.model, f.domain, f.flag, f.share) for f in found.flags] == [
        ("b", "all", "lossy", 1.0), ("b", "one", "lossy", 1.0)
    ]  # fmt: skip


def test_loss_by_place_counts_only_documents_that_reach_it() -> None:
    item = made_set("one", ["a" * 500, "b" * 3000, "c" * 2000])
    nats = [len(d.text) * math.log(2) for d in item.documents]
    scores = gather({m: {"one": score_table(item, nats)} for m in ("a", "b")})
    found = compare_scores(
        scores, {"one": item}, protocol={}, reference_tokenizer="none", draws=DRAWS
    )
    places = [(p.domain, p.from_bytes, p.to_bytes, p.documents) for p in found.positions]
    assert places == [("all", 0, 1024, 3), ("all", 1024, 4096, 2),
                      ("one", 0, 1024, 3), ("one", 1024, 4096, 2)]  # fmt: skip
    for place in found.positions:
        assert [bpb["value"] for bpb in place.bpb.values()] == pytest.approx([1.0, 1.0])


# ---------------------------------------------------------------- refusals


def test_one_model_and_other_documents_are_refused() -> None:
    item = made_set("one", texts(0, 5))
    table = score_table(item, [9.0] * 5)
    with pytest.raises(UserError, match="at least two"):
        gather({"a": {"one": table}})
    with pytest.raises(UserError, match="b: scored on two, but a on one"):
        gather({"a": {"one": table}, "b": {"two": table}})
    cut = score_table(made_set("one", [d.text[:20] for d in item.documents]), [9.0] * 5)
    with pytest.raises(UserError, match="domain one, doc_id: not as for a"):
        gather({"a": {"one": table}, "b": {"one": cut}})


# ---------------------------------------------------------------- characters


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.data())
def test_losses_of_characters_add_up_wherever_tokens_end(text: str, data: st.DataObject) -> None:
    size = len(text.encode())
    inner = data.draw(st.lists(st.integers(0, size), max_size=8))
    ends = np.array([*sorted(inner), size])
    losses = np.array(data.draw(st.lists(st.floats(0, 20), min_size=len(ends), max_size=len(ends))))
    found = losses_by_character(text, losses, ends)
    assert character_bytes(text).tolist() == [len(c.encode()) for c in text]
    assert len(found) == len(text)
    assert found.sum() == pytest.approx(losses.sum(), abs=1e-9)


def test_a_character_of_several_bytes_is_one_cell() -> None:
    # "语" is three bytes: the first token holds two of them, the second the third and "a".
    found = losses_by_character("语a", np.array([2.0, 3.0]), np.array([2, 4]))
    assert found.tolist() == [2.0 + 1.5, 1.5]
    by_byte = losses_by_byte(np.array([2.0, 3.0]), np.array([2, 4]))
    assert by_byte.tolist() == [1.0, 1.0, 1.5, 1.5]
    with pytest.raises(ValueError, match="a text of 4 bytes, but tokens end at 3"):
        losses_by_character("语a", np.array([2.0]), np.array([3]))


# ---------------------------------------------------------------- models


def listed(**folders: Path) -> list[EvaluatedModel]:
    return [
        {"name": name, "path": str(path), "tokens": 0, "segment": ""}
        for name, path in folders.items()
    ]


def test_models_are_compared_from_their_folders_and_again_from_the_store(
    wide: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = write_llama(tmp_path / "other", seed=5, context=512)
    sets = [make(TEXTS, "mixed"), make(TEXTS[:4], "short")]
    models, protocol = listed(one=wide, other=other), Protocol(max_chars=300)
    first = compare(models, sets, protocol, tokenizer, tmp_path / "out", draws=DRAWS)
    assert {row.model for row in first.rows} == {"one", "other"}
    assert first.sets["mixed"].documents == len(TEXTS)
    assert first.protocol["dtype"] == "float32"
    written = json.loads((tmp_path / "out/compare.json").read_text())
    assert written == json.loads(json.dumps(first.as_json()))
    pages = [(tmp_path / "out" / name).read_bytes() for name in ("compare.html", "documents.html")]
    store = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/store").rglob("*.parquet")}
    assert len(store) == 2 * 2 * 2  # models, sets, documents and tokens
    again = compare(models, sets, protocol, tokenizer, tmp_path / "out", draws=DRAWS)
    assert again.as_json() == first.as_json()
    assert store == {p: p.stat().st_mtime_ns for p in (tmp_path / "out/store").rglob("*.parquet")}
    assert pages == [
        (tmp_path / "out" / name).read_bytes() for name in ("compare.html", "documents.html")
    ]


def test_the_command_prints_the_leaderboard_and_writes_the_pages(
    wide: Path, llama: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("one", "two")):
        item = made_set(name, texts(number, 3))
        freeze(tmp_path / name, name, name, "en", item.documents, "domain", "For a test.")
    arguments = ["compare", f"whole={wide}", str(llama), "--sets", str(tmp_path / "one"),
                 "--sets", str(tmp_path / "two"), "--out", str(tmp_path / "out"),
                 "--max-chars", "80", "--noise-floor", "0.001"]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for word in ("whole", llama.name, "perplexity", "verdict", "one", "two"):
        assert word in result.output
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert found["noise_floor"] == 0.001
    assert found["models"] == ["whole", llama.name]
    as_json = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(as_json.stdout)["rows"] == found["rows"]


def test_two_models_of_one_name_are_refused(
    wide: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    twice = [listed(one=wide)[0]] * 2
    with pytest.raises(UserError, match="a name stands twice"):
        compare(twice, [make(TEXTS)], Protocol(), tokenizer, tmp_path)
