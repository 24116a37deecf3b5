"""The line models: trees read as written, decisions on pages whose main content is labelled."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from benchmarks import gold
from skywright.corpus.extract import own
from skywright.corpus.extract.context import CONTEXT, OWN, context
from skywright.corpus.extract.features import FEATURES, features
from skywright.corpus.extract.model import ASSET, chosen, kept, scores, shipped, trees
from tests.corpus.pages import needs_data

PAGE = (
    "<title>The bridge - The Paper</title><nav><ul><li><a href=/>Home</a><li><a href=/a>News</a>"
    "</ul></nav><div class=article><div class=article-body><h1>The bridge</h1>{}</div></div>"
    "<footer>Copyright 2024. All rights reserved. <a href=/p>Privacy</a></footer>"
)
PROSE = [
    "The old bridge over the river was closed on Monday, after engineers found that two of its "
    "piers had moved since the flood of last spring, and it will not open again this year.",
    "“We had hoped to repair it in the summer,” said the mayor, who has asked the county for help. "
    "The people of the two villages now drive twenty miles to see each other.",
    "A ferry is to carry those who walk. It is small, and in a strong wind it does not sail.",
]


def walked(written: dict[str, Any], row: np.ndarray) -> float:
    """The sum of the leaves a row falls into, one step at a time."""
    total = np.float32(written["start"])
    for node in written["roots"]:
        while written["feature"][node] >= 0:
            at_most = row[written["feature"][node]] <= np.float32(written["limit"][node])
            node = written["left" if at_most else "right"][node]
        total += written["value"][node]
    return 1 / (1 + float(np.exp(-total)))


def found_of(page: str) -> tuple[list[str], np.ndarray]:
    """Lines of a page, and whether the shipped model keeps each."""
    rows = features(own.page_lines(page), own.title_of(page))
    return gold.lines_of(page), kept(rows, shipped())


def test_trees_give_what_a_walk_through_them_gives() -> None:
    written = json.loads((files("skywright.corpus.extract") / ASSET).read_text())
    draw = np.random.default_rng(0)
    for name, width in (("first", len(FEATURES)), ("second", len(CONTEXT) + len(OWN))):
        rows = draw.normal(0, 3, (20, width)).astype(np.float32)
        expected = [walked(written[name], row) for row in rows]
        assert scores(rows, trees(written[name])) == pytest.approx(expected, rel=1e-4)


def test_an_article_stays_and_what_is_around_it_goes() -> None:
    lines, keep = found_of(PAGE.format("".join(f"<p>{text}</p>" for text in PROSE)))
    stay = [line for line, k in zip(lines, keep, strict=True) if k]
    assert [line for line in stay if line != "The bridge"] == PROSE


def test_features_are_numbers_for_any_page() -> None:
    for page in ("", "<p>", "<p>x", "<a href=x>y</a>" * 50, "<table>" + "<td>中文。" * 300):
        rows = features(own.page_lines(page), "x")
        assert np.isfinite(rows.rows).all()
        assert np.isfinite(context(rows, np.ones(len(rows.rows)))).all()
        assert kept(rows, shipped()).shape == (len(rows.rows),)


def test_a_page_without_a_sure_line_keeps_its_best_ones() -> None:
    assert chosen(np.array([0.1, 0.3, 0.2]), 0.5).tolist() == [False, True, True]
    assert chosen(np.array([0.1, 0.9, 0.5]), 0.5).tolist() == [False, True, True]


def test_line_numbers_are_written_and_read() -> None:
    marks = np.array([True, False, True, True, True, False, True])
    assert gold.ranges(marks) == "0 2-4 6"
    assert (gold.mask("0 2-4 6", 7) == marks).all()


@needs_data
def test_the_labelled_chinese_pages_are_read_as_a_person_reads_them() -> None:
    """Pages the model has seen: a guard against breaking features or trees, no measure of quality
    (for that see benchmarks/extraction.py)."""
    pages = list(gold.labelled(None))
    texts = [own.main_text(own.page_lines(p.html), own.title_of(p.html)) for p in pages]
    tokens = zip(gold.token_lists(texts), gold.token_lists([p.gold for p in pages]), strict=True)
    pairs = np.array([gold.overlap(ours, theirs) for ours, theirs in tokens])
    assert len(pages) == 35
    assert gold.f1(pairs) > 0.95
