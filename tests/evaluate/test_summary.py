from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from skywright.evaluate.compare import gather
from skywright.evaluate.compare.board import board
from skywright.evaluate.store import SCORES
from skywright.evaluate.summary import aggregates, by_position, domain_rows, flagged
from skywright.statistics import ratio_interval


def table(nll: list[float], sizes: list[int], flags: list[list[str]] | None = None) -> pa.Table:
    """Scores of documents with these losses and bytes, three bytes a reference token."""
    rows = [
        {
            "doc_id": str(number), "domain": "d", "nll_nats": loss, "tokens": size // 3,
            "scored_tokens": size // 3, "reference_tokens": size // 3, "bytes": size,
            "chars": size, "windows": 1, "flags": flags[number] if flags else [],
            "position_nll_nats": [loss / 2, loss / 2, 0.0, 0.0, 0.0],
        }
        for number, (loss, size) in enumerate(zip(nll, sizes, strict=True))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCORES)


def test_rows_and_means_are_of_the_same_losses() -> None:
    tables = {"a": table([10.0, 30.0], [30, 60]), "b": table([50.0, 20.0], [300, 30])}
    rows = domain_rows(tables, {"a": "en", "b": "zh"})
    found = aggregates(tables)
    assert rows[-1]["domain"] == "macro"
    for unit in ("nats_per_reference_token", "bpb", "bits_per_char"):
        assert rows[-1][unit] == found[unit]["domain_macro"]
    bits = [10, 30, 50, 20]
    sizes = [30, 60, 300, 30]
    assert found["bpb"]["micro"]["value"] == pytest.approx(sum(bits) / sum(sizes) / math.log(2))
    assert found["bpb"]["document_macro"]["value"] == pytest.approx(
        np.mean([b / s for b, s in zip(bits, sizes, strict=True)]) / math.log(2)
    )


def test_the_mean_of_one_domain_is_the_domain() -> None:
    row, macro = domain_rows({"a": table([10.0, 31.0, 20.0], [30, 60, 50])}, {"a": "en"})
    for name in ("nats_per_reference_token", "perplexity", "bpb", "bits_per_char"):
        assert macro[name] == row[name]


def test_means_over_documents_speak_of_new_documents_of_the_same_domains() -> None:
    # Domains far apart, documents within them alike: nothing but the domains varies.
    tables = {
        "a": table([10.0, 10.1, 9.9, 10.0], [30] * 4),
        "b": table([90.0, 90.1, 89.9, 90.0], [30] * 4),
    }
    for found in aggregates(tables)["bpb"].values():
        assert found["value"] == pytest.approx(50 / 30 / math.log(2))
        assert found["high"] - found["low"] < 0.02
    both = pa.concat_tables(list(tables.values()))
    pooled, within = by_position(both), by_position(both, np.repeat(["a", "b"], 4))
    assert within[0]["bpb"]["value"] == pytest.approx(pooled[0]["bpb"]["value"])
    assert pooled[0]["bpb"]["high"] - pooled[0]["bpb"]["low"] > 0.8
    assert within[0]["bpb"]["high"] - within[0]["bpb"]["low"] < 0.01


def test_a_domain_has_the_t_interval_and_perplexity_its_exponential() -> None:
    nats, sizes = [10.0, 31.0, 20.0, 8.0, 55.0], [30, 60, 51, 27, 90]
    row, _ = domain_rows({"a": table(nats, sizes)}, {"a": "en"})
    expected = ratio_interval(nats, np.array(sizes) / 3)
    loss, perplexity = row["nats_per_reference_token"], row["perplexity"]
    assert (loss["low"], loss["high"]) == pytest.approx((expected.low, expected.high))
    assert perplexity["low"] == pytest.approx(math.exp(loss["low"]))
    assert perplexity["high"] == pytest.approx(math.exp(loss["high"]))
    bits = ratio_interval(np.array(nats) / math.log(2), sizes)
    assert (row["bpb"]["low"], row["bpb"]["high"]) == pytest.approx((bits.low, bits.high))


def test_a_domain_of_one_document_has_no_bound_and_a_mean_needs_four_of_each() -> None:
    tables = {"a": table([10.0], [30]), "b": table([9.0, 7.0, 8.0], [30] * 3)}
    one, three, macro = domain_rows(tables, {"a": "en", "b": "zh"})
    for name in ("nats_per_reference_token", "perplexity", "bpb", "bits_per_char"):
        assert one[name]["low"] is one[name]["high"] is None
        assert macro[name]["low"] is macro[name]["high"] is None
        assert three[name]["low"] < three[name]["value"] < three[name]["high"]
    for documents, known in ((3, False), (4, True)):
        tables["a"] = table([10.0, 8.0, 7.0, 9.0][:documents], [30] * documents)
        *_, macro = domain_rows(tables | {"b": tables["a"]}, {"a": "en", "b": "zh"})
        assert (macro["perplexity"]["low"] is not None) is known
        assert (macro["bpb"]["high"] is not None) is known


def test_score_rows_and_the_leaderboard_give_a_figure_one_interval() -> None:
    rng = np.random.default_rng(0)
    tables: dict[str, dict[str, pa.Table]] = {
        model: {
            domain: table(list(rng.uniform(20, 90, 9)), list(range(60, 330, 30)))
            for domain in ("a", "b")
        }
        for model in ("m", "n")
    }
    rows, _ = board(gather(tables), 0.0, 100, 0, 0.95)
    for row in rows:
        *domains, macro = domain_rows(tables[row.model], {"a": "en", "b": "zh"})
        for expected, cell in [
            *zip(domains, row.domains.values(), strict=True),
            (macro, row.macro),
        ]:
            for name in ("perplexity", "nats_per_reference_token", "bpb", "bits_per_char"):
                assert cell.as_json()[name] == pytest.approx(expected[name])


def test_loss_by_position_counts_the_documents_that_reach_it() -> None:
    rows = by_position(table([100.0, 3000.0], [500, 2000]))
    assert [(r["from_bytes"], r["to_bytes"], r["documents"]) for r in rows] == [
        (0, 1024, 2), (1024, 4096, 1)
    ]  # fmt: skip
    assert rows[0]["bpb"]["value"] == pytest.approx((50 + 1500) / (500 + 1024) / math.log(2))
    assert rows[1]["bpb"]["value"] == pytest.approx(1500 / (2000 - 1024) / math.log(2))


def test_flags_are_counted() -> None:
    assert flagged(table([1.0, 1.0], [9, 9], [["lossy"], ["cut", "lossy"]])) == {
        "cut": 1, "lossy": 2
    }  # fmt: skip
