"""Given datatrove's own words, what it measures and we measure too is equal.

The golden values were computed by datatrove 0.10.1 (scripts/golden_datatrove.py). Shares are
compared as the counts behind them, because denominators differ: datatrove divides by the length of
the text and counts blank lines, we divide by token characters and by lines that are not blank.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from skywright.corpus import signals
from skywright.corpus.signals import ngrams

ROWS = json.loads((Path(__file__).parent / "golden_datatrove.json").read_text())
EN_ROWS = [row for row in ROWS if row["language"] == "eng"]


def repeats(words: list[str]) -> dict[str, int]:
    hashes = np.array([xxhash.xxh3_64_intdigest(word.encode()) for word in words], dtype=np.uint64)
    sizes = np.array([len(word) for word in words], dtype=np.int32)
    counted = ngrams.repeats(hashes, sizes, np.array([0, len(words)], dtype=np.int64))
    return dict(zip(ngrams.COLUMNS, counted[0].tolist(), strict=True))


@pytest.fixture(scope="module")
def measured() -> list[dict[str, Any]]:
    return signals.measure(pa.array([row["text"] for row in ROWS])).to_pylist()


def test_duplicate_ngrams_have_the_characters_that_datatrove_counts() -> None:
    for row in ROWS:
        found = repeats(row["words"])
        assert [found[f"dup_{n}"] for n in range(5, 11)] == [row[f"dup_{n}"] for n in range(5, 11)]
    assert sum(row["dup_10"] > 0 for row in ROWS) > 5


def test_the_most_frequent_ngram_is_datatroves() -> None:
    """It joins words with spaces; where no n-gram repeats it counts the first one, we count 0."""
    for row in ROWS:
        found = repeats(row["words"])
        for n in (2, 3, 4):
            count, chars = found[f"top_{n}_count"], found[f"top_{n}_chars"]
            if count:
                assert count * (chars + n - 1) == row[f"top_{n}"]
            elif len(row["words"]) >= n:
                assert row[f"top_{n}"] == len(" ".join(row["words"][:n]))


def test_lines_and_paragraphs_are_datatroves(measured: list[dict[str, Any]]) -> None:
    for row, found in zip(ROWS, measured, strict=True):
        lines = found["lines"]
        line_chars = found["mean_line_chars"] * lines
        assert found["dup_line_share"] * lines == pytest.approx(row["dup_lines"][0])
        assert found["dup_line_char_share"] * line_chars == pytest.approx(row["dup_lines"][1])
        if row["paragraphs"] > 1:
            repeated = found["dup_paragraph_share"] * row["paragraphs"]
            assert repeated == pytest.approx(row["dup_paragraphs"][0])
            repeated = found["dup_paragraph_char_share"] * line_chars
            assert repeated == pytest.approx(row["dup_paragraphs"][1])
        ellipses = sum(line.endswith("…") for line in row["text"].split("\n"))  # no end there
        assert found["terminal_line_share"] == pytest.approx(
            row["terminal_share"] + ellipses / lines
        )
        assert found["short_line_share"] == pytest.approx(row["short_share"])
        assert found["bullet_line_share"] * lines == pytest.approx(row["bullets"])
        assert found["ellipsis_line_share"] * lines == pytest.approx(row["ellipsis_lines"])
        newlines = found["newline_token_ratio"] * found["tokens"]
        assert newlines == pytest.approx(row["newline_ratio"] * len(row["words"]))


def test_c4_lines_are_datatroves(measured: list[dict[str, Any]]) -> None:
    for row, found in zip(ROWS, measured, strict=True):
        for name, ours in (
            ("javascript_lines", "javascript_line_share"),
            ("policy_lines", "policy_line_share"),
            ("few_word_lines", "few_word_line_share"),
        ):
            assert found[ours] * found["lines"] == pytest.approx(row[name]), name


def test_symbols_and_stop_words_are_datatroves(measured: list[dict[str, Any]]) -> None:
    pairs = [(row, found) for row, found in zip(ROWS, measured, strict=True) if row in EN_ROWS]
    for row, found in pairs:
        words, tokens = len(row["words"]), found["tokens"]
        assert found["hash_token_ratio"] * tokens == pytest.approx(row["hash_ratio"] * words)
        assert found["ellipsis_token_ratio"] * tokens == pytest.approx(
            row["ellipsis_ratio"] * words
        )
        stop_words = set(signals.EN_STOP_WORDS) & set(row["words"])
        assert len(stop_words) == row["stop_words"]
