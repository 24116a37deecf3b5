"""Benchmark items: planted ones are found however they were written, fresh text is left alone."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.decontaminate.benchmarks import read_items
from skywright.corpus.decontaminate.config import BenchmarkConfig, DecontaminateConfig
from skywright.corpus.decontaminate.index import (
    Index,
    Item,
    character_spans,
    threshold_of,
)
from skywright.errors import UserError

SHARED = next(
    (p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").is_dir()), None
)
needs_data = pytest.mark.skipif(SHARED is None, reason="no shared data beside this checkout")

EN = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes "
    "muffins for her friends every day with four. She sells the remainder at the farmers' market "
    "daily for $2 per fresh duck egg. How much in dollars does she make every day at the market?"
)
ZH = (
    "在农业生产中，农民把收获的480千克小麦的三分之一卖给粮站，其余的平均分装在16个麻袋里，"
    "每个麻袋的重量是多少千克？如果每千克小麦卖2元，他卖给粮站的小麦一共得到多少元？"
)
NOISE_EN = (
    "The town council met on Tuesday to hear reports about roads, schools and the library. " * 6
)
NOISE_ZH = "昨天下午市里召开会议，讨论了道路、学校和图书馆的建设情况，与会者提出了许多意见。" * 6

NUMERALS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
WORDS = {"16": "sixteen", "2": "two", "48": "forty-eight"}
REWRITES: dict[str, Callable[[str], str]] = {
    "verbatim": lambda text: text,
    "upper case, no punctuation": lambda text: re.sub(r"[^\w\s]", " ", text).upper(),
    "broken lines": lambda text: re.sub(r"(.{17})", r"\1\n", text).replace(" \n", "\n "),
    "full width": lambda text: "".join(
        chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text
    ),
    "numbers in words": lambda text: re.sub(
        r"\d+", lambda m: WORDS.get(m.group(), "".join(NUMERALS[d] for d in m.group())), text
    ),
    "other numbers": lambda text: re.sub(r"\d+", lambda m: str(int(m.group()) * 7 + 3), text),
}  # fmt: skip


@pytest.mark.parametrize("way", REWRITES)
@pytest.mark.parametrize(("item", "noise"), [(EN, NOISE_EN), (ZH, NOISE_ZH)], ids=["en", "zh"])
def test_a_planted_item_is_found(item: str, noise: str, way: str) -> None:
    if way == "broken lines" and item == EN:
        item_text = item.replace(" ", "\n", 12)
    else:
        item_text = REWRITES[way](item)
    index = Index.build([Item("exam", "1", item), Item("exam", "2", noise[:200])])
    document = f"{noise}\n{item_text}\n{noise}"
    hits = [hit for hit in index.find(pa.array([document]), 0.8) if hit.item == 0]
    assert len(hits) == 1
    assert hits[0].score >= 0.8
    ((start, end),) = character_spans(document, [(hits[0].start, hits[0].end)])
    assert len(noise) <= start < end <= len(noise) + len(item_text) + 1


def test_half_an_item_and_its_scattered_words_are_not_found() -> None:
    index = Index.build([Item("exam", "1", EN), Item("exam", "2", ZH)])
    words = EN.split()
    scattered = " ".join(f"{word} {NOISE_EN[:40]}" for word in words)
    texts = pa.array([EN[: len(EN) // 2], scattered, ZH[: len(ZH) // 2], NOISE_EN, "", "短"])
    assert index.find(texts, 0.8) == []


def test_phrases_far_apart_do_not_add_up() -> None:
    thirds = [EN[:110], EN[110:200], EN[200:]]
    index = Index.build([Item("exam", "1", EN)])
    apart = f" {NOISE_EN * 3} ".join(thirds)
    assert index.find(pa.array([apart]), 0.8) == []


def test_short_items_need_more_and_the_shortest_are_not_looked_for() -> None:
    assert threshold_of(50, 0.8) == 0.8
    assert threshold_of(20, 0.8) == 1.0
    assert threshold_of(35, 0.8) == pytest.approx(0.9)
    short = Item("exam", "1", "What is the capital of France and of its neighbours?")
    same = Item("exam", "2", "buffalo " * 40)
    index = Index.build([short, same, Item("exam", "3", EN)])
    assert index.searchable.tolist() == [False, False, True]
    assert index.find(pa.array([short.question, same.question]), 0.8) == []


def test_phrases_that_many_items_share_say_nothing_about_one() -> None:
    stem = "Which of the following statements about the subject matter is the best one to choose"
    items = [Item("exam", str(n), f"{stem} {'xyzab'[n % 5]}{n}") for n in range(100)]
    index = Index.build([*items, Item("exam", "real", EN)])
    assert index.find(pa.array([f"{stem}, said the teacher to all of us."]), 0.8) == []
    assert [index.items[h.item].id for h in index.find(pa.array([EN]), 0.8)] == ["real"]


def test_the_answer_is_looked_for_beside_the_question() -> None:
    answer = (
        "She bakes muffins with four eggs and eats three, so there remain nine of them, which she "
        "takes to the market, where they bring her eighteen dollars every single day of the week."
    )
    index = Index.build([Item("exam", "1", EN, answer), Item("exam", "2", ZH)])
    with_answer, without = index.find(pa.array([f"{EN} {answer}", f"{EN} {NOISE_EN}"]), 0.8)
    assert with_answer.answer_score > 0.99
    assert without.answer_score < 0.2


@given(st.lists(st.sampled_from([*"abcde 中文字一二3,.\n\u200b", "seven ", "百"]), max_size=60))
def test_a_text_is_always_found_in_itself_between_any_others(parts: list[str]) -> None:
    text = "".join(parts)
    index = Index.build([Item("exam", "1", text)])
    hits = index.find(pa.array([f"zzz. {text} .yyy"]), 0.8)
    assert len(hits) == int(index.searchable[0])
    for hit in hits:
        assert hit.score == pytest.approx(1.0)


def test_the_order_of_documents_changes_nothing() -> None:
    index = Index.build([Item("exam", "1", EN), Item("exam", "2", ZH)])
    texts = [NOISE_EN, EN, f"{ZH}{NOISE_ZH}", NOISE_ZH, EN + ZH]
    there = {texts[h.row]: h.item for h in index.find(pa.array(texts), 0.8) if h.row != 4}
    back = {texts[::-1][h.row]: h.item for h in index.find(pa.array(texts[::-1]), 0.8) if h.row}
    assert there == back == {EN: 0, f"{ZH}{NOISE_ZH}": 1}


def test_a_benchmark_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(json.dumps({"query": "x", "choices": ["a", "b"]}) + "\n")
    config = BenchmarkConfig(name="b", path=str(path), question=("query", "choices"))
    assert read_items([config]) == [Item("b", "b.jsonl:1", "x a b", "")]
    nested = {"query": None, "choices": {"text": ["a", None, "b"], "label": ["A"]}}
    path.write_text(json.dumps(nested) + "\n")
    assert read_items([config]) == [Item("b", "b.jsonl:1", "a b A", "")]
    path.write_text(json.dumps({"query": "x", "choices": ["a", "b"]}) + "\n")
    with pytest.raises(UserError, match=r"b.jsonl, line 1: no field 'question'"):
        read_items([BenchmarkConfig(name="b", path=str(path))])
    with pytest.raises(UserError, match="no file at"):
        read_items([BenchmarkConfig(name="b", path=str(tmp_path / "none.jsonl"))])
    with pytest.raises(ValueError, match="two benchmarks"):
        DecontaminateConfig(benchmarks=(config, config))


def rows(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


@needs_data
def test_fresh_news_holds_no_item_and_planted_items_are_recalled() -> None:
    assert SHARED is not None
    bench = SHARED / "bench"
    items = read_items(
        [
            BenchmarkConfig(name="gsm8k", path=str(bench / "gsm8k/test.jsonl.gz"),
                            answer=("answer",)),
            BenchmarkConfig(name="cmmlu", path=str(bench / "cmmlu/test.jsonl.gz"),
                            question=("question", "A", "B", "C", "D")),
        ]
    )  # fmt: skip
    index = Index.build(items)
    fresh = [row["text"] for name in ("en_news_2024_06", "zh_news_2022_2024")
             for row in list(rows(SHARED / f"corpus/{name}.jsonl.gz"))[:400]]  # fmt: skip
    assert index.find(pa.array(fresh), 0.8) == []
    draw = np.random.default_rng(0)
    chosen = draw.choice(np.flatnonzero(index.searchable), 100, replace=False)
    for way, rewrite in REWRITES.items():
        if way == "broken lines":
            continue
        texts = [f"{fresh[i]}\n{rewrite(items[k].question)}" for i, k in enumerate(chosen)]
        found = {(hit.row, hit.item) for hit in index.find(pa.array(texts), 0.8)}
        recall = sum((i, k) in found for i, k in enumerate(chosen)) / len(chosen)
        assert recall >= 0.95, way
