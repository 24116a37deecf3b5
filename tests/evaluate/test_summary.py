from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from skywright.evaluate.store import SCORES
from skywright.evaluate.summary import aggregates, by_position, domain_rows, flagged
from skywright.statistics import Estimate, mean_of, perplexity

# Skywork report (arXiv 2310.19341), table 6: six domains, then the average that it prints.
TABLE_6 = {
    "ChatGLM3-6B": (12.48, 23.48, 5.07, 18.45, 5.67, 7.47, 10.25),
    "MOSS-7B": (20.83, 39.66, 11.08, 31.24, 10.59, 13.25, 18.50),
    "InternLM-7B": (13.43, 24.90, 5.88, 19.78, 6.17, 8.10, 11.17),
    "Qwen-7B": (13.39, 25.16, 5.55, 19.26, 5.76, 7.78, 10.83),
    "Baichuan2-7B": (12.89, 23.26, 5.34, 18.36, 5.68, 7.62, 10.41),
    "LLaMA2-13B": (23.26, 50.66, 18.09, 32.52, 14.85, 16.55, 23.54),
    "Xverse-13B": (12.55, 23.49, 5.20, 17.69, 5.54, 7.46, 10.19),
    "Baichuan-13B": (12.38, 22.46, 5.21, 17.59, 5.42, 7.37, 10.03),
    "Baichuan2-13B": (12.14, 21.85, 5.05, 17.15, 5.35, 7.24, 9.81),
    "Qwen-14B": (11.90, 22.43, 4.89, 16.94, 5.24, 7.03, 9.67),
    "InternLM-20B": (12.34, 22.06, 5.75, 17.45, 5.73, 7.78, 10.34),
    "Aquila2-34B": (14.62, 29.09, 5.72, 21.78, 5.83, 8.45, 11.73),
    "Skywork-13B": (11.58, 21.84, 4.76, 17.28, 4.92, 6.82, 9.42),
}


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


@pytest.mark.parametrize("model", list(TABLE_6))
def test_the_domain_macro_is_the_average_of_table_6(model: str) -> None:
    *domains, printed = TABLE_6[model]
    nats = [Estimate(math.log(p), -math.inf, math.inf, 0.01, 100) for p in domains]
    # Two decimals in seven numbers leave 0.06 %.
    assert perplexity(mean_of(nats)).value == pytest.approx(printed, rel=1e-3)


def test_rows_and_means_are_of_the_same_losses() -> None:
    tables = {"a": table([10.0, 30.0], [30, 60]), "b": table([50.0, 20.0], [300, 30])}
    rows = domain_rows(tables, {"a": "en", "b": "zh"}, draws=200, seed=0)
    found = aggregates(tables, rows)
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
    row, macro = domain_rows({"a": table([10.0, 31.0, 20.0], [30, 60, 50])}, {"a": "en"}, 200, 0)
    for name in ("nats_per_reference_token", "perplexity", "bpb", "bits_per_char"):
        assert macro[name] == row[name]


def test_means_over_documents_speak_of_new_documents_of_the_same_domains() -> None:
    # Domains far apart, documents within them alike: nothing but the domains varies.
    tables = {"a": table([10.0, 10.1, 9.9], [30] * 3), "b": table([90.0, 90.1, 89.9], [30] * 3)}
    rows = domain_rows(tables, {"a": "en", "b": "zh"}, draws=200, seed=0)
    for found in aggregates(tables, rows)["bpb"].values():
        assert found["value"] == pytest.approx(50 / 30 / math.log(2))
        assert found["high"] - found["low"] < 0.02


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
