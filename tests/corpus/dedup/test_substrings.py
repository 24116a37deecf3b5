"""Long runs of tokens that stand in several places: all are found, one copy stays."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus import kernels
from skywright.corpus.dedup import substrings
from skywright.corpus.dedup.cuts import at_line_ends
from skywright.corpus.dedup.stretches import stretches, windows
from skywright.corpus.dedup.substrings import STEP, SubstringParams, substring_edits
from skywright.corpus.edits import Cut, apply, edit_rows, restore
from skywright.engine.runner import Runner
from tests.corpus.dedup.families import identity
from tests.corpus.dedup.test_paragraphs import shards
from tests.corpus.pages import DATA, needs_data
from tests.corpus.signals import reference

BREAK = re.compile("[\n\u2028\u2029]")


# ---------------------------------------------------------------- by plain Python


def covered(texts: Sequence[str], size: int) -> dict[str, list[bool]]:
    """Of every token whether it is in a window that has a better copy; the longer text is better,
    then the smaller id.
    """
    best: dict[tuple[str, ...], tuple[str, int]] = {}
    marks = {}
    for text in sorted(set(texts), key=lambda t: (-len(t), identity(t))):
        tokens = reference.tokens(text)
        marks[text] = [False] * len(tokens)
        for at in range(len(tokens) - size + 1):
            window = tuple(tokens[at : at + size])
            if best.setdefault(window, (text, at)) != (text, at):
                marks[text][at : at + size] = [True] * size
    return marks


def without_covered_lines(text: str, mark: Sequence[bool]) -> str:
    """The text less the lines that are covered, and the lines without tokens that go with them."""
    lines, at, place = [], 0, 0
    for line in BREAK.split(text):
        end = min(at + len(line) + 1, len(text))
        count = len(reference.tokens(line))
        lines.append((text[at:end], count, all(mark[place : place + count]) and count > 0))
        at, place = end, place + count
    gone = [goes for _, _, goes in lines]
    spoken = [i for i, (_, count, _) in enumerate(lines) if count]
    for i, (part, count, _) in enumerate(lines):
        before = [j for j in spoken if j < i]
        behind = [j for j in spoken if j > i]
        if not count and part.strip():
            gone[i] = bool(before and behind and gone[before[-1]] and gone[behind[0]])
    for i, (part, _, _) in enumerate(lines):
        if not part.strip():
            gone[i] = i > 0 and gone[i - 1]
    return "".join(part for (part, _, _), goes in zip(lines, gone, strict=True) if not goes)


# ---------------------------------------------------------------- by the stages


def cut(
    folder: Path,
    pages: Sequence[Sequence[str]],
    size: int,
    partitions: int = 2,
    least: int = 0,
    **params: object,
) -> dict[str, str]:
    """Every text after the cuts (those that are dropped are missing)."""
    wanted = SubstringParams.model_validate({"min_tokens": size, **params})
    hosted = [[("host", text) for text in page] for page in pages]
    with Runner(folder / "work", "inline") as runner:
        done = substring_edits(runner, shards(folder, hosted), wanted, partitions, least)
    made = done["substring_edits"]
    assert not made.errors().num_rows
    left = {row["id"]: row["text"] for row in made.read("documents").to_pylist()}
    texts = {identity(text): text for page in pages for text in page}
    gone = made.read("dropped").to_pylist()
    assert len(left) + len(gone) == len(texts)
    edits = made.read("edits").to_pylist()
    assert all(row["step"] == STEP for row in edits)
    for key in left:
        rows = [row for row in edits if row["id"] == key]
        assert restore(left[key], rows) == texts[key]
    return {texts[key]: after for key, after in left.items()}


WORDS = ["alpha", "beta", "你", "好", "９", "x́", "-", "Beta"]
LINE = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
TEXT = st.lists(st.one_of(LINE, st.just("alpha beta 你 好 9 alpha alpha beta gamma")), max_size=7)


def spans(texts: Sequence[str], size: int) -> list[list[Cut]]:
    """What the stages find in texts, the better first, without the runner."""
    params = SubstringParams(min_tokens=size)
    rows = pa.table(
        {"source": ["w"] * len(texts), "text": pa.array(texts, pa.string()),
         "shard": pa.array([n % 2 for n in range(len(texts))], pa.uint32())}
    )  # fmt: skip
    ranks = np.zeros((len(texts), 36), np.uint8)
    ranks[:, 35] = np.arange(len(texts))
    anchors = substrings.anchors_of(rows, params, {})["anchors"]
    shared = substrings.shared_anchors(anchors, params, {})["shared"]
    wanted = np.unique(shared["anchor"].to_numpy())
    found: list[list[Cut]] = [[] for _ in texts]
    if len(wanted):
        moved = pa.concat_tables(substrings.shared_windows(rows, ranks, wanted, 0, params))
        for row in substrings.repeated(moved, params, {})["found"].to_pylist():
            found[row["rank"][35]].append(Cut(row["start"], row["end"], row["rule"]))
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.lists(TEXT.map("\n".join), min_size=1, max_size=6, unique=True),
    st.sampled_from(["\n", "\u2028", "\n\n", "\n--\n"]),
)
def test_every_run_that_stands_elsewhere_is_found(texts: list[str], line_break: str) -> None:
    texts = list({text.replace("\n", line_break): None for text in texts})
    texts.sort(key=lambda text: (-len(text), identity(text)))
    marks = covered(texts, 8)
    found = spans(texts, 8)
    for text, cuts in zip(texts, found, strict=True):
        mark = [False] * len(marks[text])
        for span in cuts:
            mark[span.start : span.end] = [True] * (span.end - span.start)
        assert mark == marks[text]
    for text, cuts in zip(texts, at_line_ends(texts, found), strict=True):
        left, made = apply(text, cuts)
        assert left == without_covered_lines(text, marks[text])
        assert restore(left, edit_rows(b"", STEP, made)) == text


def story(seed: int, words: int, vocabulary: int = 10**6) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(vocabulary)}" for _ in range(words)]


def lined(words: Sequence[str], width: int = 10) -> str:
    return "\n".join(" ".join(words[i : i + width]) for i in range(0, len(words), width))


def planted(seed: int = 0) -> list[str]:
    """Documents with runs of 30 to 120 tokens of each other, at any place, and one in them all."""
    draw = random.Random(seed)
    notice = story(999, 60)
    texts = []
    for number in range(24):
        words = story(number, draw.randrange(80, 400))
        for _ in range(3):
            other = story(draw.randrange(24), 400)
            length, at = draw.randrange(30, 120), draw.randrange(250)
            place = draw.randrange(len(words))
            words[place:place] = other[at : at + length]
        texts.append(lined(words) + "\n" + lined(notice))
    return texts


@pytest.mark.parametrize("size", [8, 50])
def test_runs_of_documents_of_some_length_are_found(tmp_path: Path, size: int) -> None:
    texts = planted()
    marks = covered(texts, size)
    expected = {text: without_covered_lines(text, marks[text]) for text in texts}
    assert sum(text != left for text, left in expected.items()) > 20
    assert cut(tmp_path, [texts[:9], texts[9:]], size) == expected


def test_order_and_partitions_change_nothing(tmp_path: Path) -> None:
    texts = planted(1)
    first = cut(tmp_path, [texts], 50, 1)
    for number, seed in enumerate((1, 2)):
        mixed = random.Random(seed).sample(texts, len(texts))
        (tmp_path / f"{number}").mkdir()
        pages = [mixed[:5], mixed[5:6], mixed[6:]]
        assert cut(tmp_path / f"{number}", pages, 50, 7) == first


def test_of_everything_a_copy_stays(tmp_path: Path) -> None:
    texts = planted(2)
    after = cut(tmp_path, [texts], 50)
    assert sum(map(len, after.values())) < 0.9 * sum(map(len, texts))
    stood = {word for text in texts for word in text.split()}
    assert stood == {word for text in after.values() for word in text.split()}


def test_asked_again_about_what_stays_little_is_left_to_cut(tmp_path: Path) -> None:
    after = cut(tmp_path, [planted(3)], 50)
    left = list(after.values())
    marks = covered(left, 50)
    expected = {text: without_covered_lines(text, marks[text]) for text in left}
    (tmp_path / "again").mkdir()
    assert cut(tmp_path / "again", [left], 50) == expected
    assert sum(map(len, left)) - sum(map(len, expected.values())) < 0.05 * sum(map(len, left))


def test_a_line_that_is_only_partly_repeated_stays_whole(tmp_path: Path) -> None:
    run = " ".join(story(1, 60))
    better = run + "\n" + lined(story(2, 300))
    worse = f"before {run} behind\n{lined(story(3, 50))}"
    assert cut(tmp_path, [[better, worse]], 50)[worse] == worse


def test_repeats_within_a_document_go_too(tmp_path: Path) -> None:
    verse, rest = lined(story(5, 60)), lined(story(6, 40))
    text = f"{verse}\n\n{rest}\n\n{verse}\n\nthe end"
    assert cut(tmp_path, [[text]], 50)[text] == f"{verse}\n\n{rest}\n\nthe end"


def test_a_document_that_says_one_thing_again_and_again_says_it_once(tmp_path: Path) -> None:
    line = " ".join(story(7, 10))
    text = "\n".join([line] * 300)
    after = cut(tmp_path, [[text]], 50)[text]
    assert after == line + "\n"


def test_what_is_left_too_short_is_dropped(tmp_path: Path) -> None:
    run = lined(story(8, 80))
    better, worse = run + "\n" + lined(story(9, 200)), "short\n" + run
    after = cut(tmp_path, [[better], [worse]], 50, least=20)
    assert after == {better: better}


def test_within_scopes_each_keeps_its_copy(tmp_path: Path) -> None:
    texts = [lined(story(8, 80)) + f"\nnumber {n}" for n in range(2)]
    assert cut(tmp_path, [texts], 50, scopes={"w": "one"}) != {text: text for text in texts}


def test_a_hot_run_costs_rows_in_proportion(tmp_path: Path) -> None:
    notice = lined(story(10, 60))
    texts = [f"{lined(story(100 + n, 60))}\n{notice}" for n in range(400)]
    after = cut(tmp_path, [texts], 50)
    assert sum(notice in text for text in after.values()) == 1
    assert all(lined(story(100 + n, 60)) in after[text] for n, text in enumerate(texts))


@needs_data
@pytest.mark.parametrize("name", ["zh_law.jsonl.gz", "en_peps_to_2024.jsonl.gz"])
def test_on_real_pages_it_finds_what_plain_python_finds(tmp_path: Path, name: str) -> None:
    with gzip.open(DATA / "corpus" / name, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"][:8000] for _, line in zip(range(60), file, strict=False)]
    marks = covered(texts, 50)
    expected = {text: without_covered_lines(text, marks[text]) for text in texts}
    assert any(text != left for text, left in expected.items())
    assert cut(tmp_path, [texts[:20], texts[20:]], 50) == expected


# ---------------------------------------------------------------- the parts


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), max_size=40), max_size=4), st.integers(1, 8))
def test_stretches_hold_every_window_once_under_its_least_run(
    documents: list[list[int]], width: int
) -> None:
    size = 8
    mixed = np.array([0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0x2545F4914F6CDD1D], np.uint64)
    lengths = [len(d) for d in documents]
    hashes = mixed[np.array([t for d in documents for t in d], np.int64)]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    found = stretches(hashes, offsets, size, width)
    values = windows(hashes, offsets, found, size)
    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    at = 0
    for i, d in enumerate(found.documents):
        inside = []
        for window in range(found.firsts[i], found.firsts[i] + found.counts[i]):
            tokens = tuple(documents[d][window : window + size])
            pair = int(found.anchors[i]), int(values[at])
            assert len(tokens) == size
            assert seen.setdefault(tokens, pair) == pair
            inside.append(tokens)
            at += 1
        if len(set(inside)) < len(inside):
            assert found.twice[i]
    assert at == len(values) == sum(max(0, n - size + 1) for n in lengths)
    assert len(set(seen.values())) == len(seen)


def test_cuts_outside_a_text_are_refused() -> None:
    with pytest.raises(ValueError, match="lies outside a text of 2 tokens"):
        at_line_ends(["one two"], [[Cut(0, 3, "r")]])


def test_tokens_never_reach_over_a_line_break() -> None:
    text = "é\u0301\n\u0301a\u2028中\u200b文\n\n·x"
    lines = BREAK.split(text)
    (whole,) = kernels.token_hashes(pa.array([text]))
    (parts,) = kernels.token_hashes(pa.array(lines))
    assert whole[0].tolist() == parts[0].tolist()
