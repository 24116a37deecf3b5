"""Lists are read as they stand, and words are counted exactly."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.tokenizer.words import (
    count_words,
    is_han,
    is_han_word,
    occurrences,
    read_characters,
    read_words,
)

HAN = frozenset("中国人民在有的一是不了")


def test_one_character_lines_are_read_once_in_order(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("[PAD]\n中\n\u2028\r\nab\n中\n \n▁\n\0\n国".encode())
    assert read_characters(path) == ["中", "\u2028", "国"]
    path.write_text("two letters")
    with pytest.raises(UserError, match="has no line of one character"):
        read_characters(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(UserError, match="cannot be read as UTF-8"):
        read_characters(path)


def test_bert_s_list_has_exactly_8000_characters(lists):
    found = read_characters(lists / "bert_base_chinese_vocab.txt")
    assert len(found) == len(set(found)) == 8_000
    assert sum(map(is_han, found)) == 7_324


def test_words_come_by_frequency_and_ties_by_place(tmp_path):
    path = tmp_path / "words.tsv.gz"
    path.write_bytes(gzip.compress("一个\t3\n人民\t5.5e0\n中国 5.5 n\n\n一个\t1\n".encode()))
    assert read_words(path) == ["人民", "中国", "一个"]
    plain = tmp_path / "words.txt"
    plain.write_text("一个\n人民\n一个\n", encoding="utf-8")
    assert read_words(plain) == ["一个", "人民"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("一个\tmany\n", r"line 1: 'many' is no frequency of '一个'"),
        ("一个\t1\n人民\n", r"line 2: has no frequency, other lines have"),
        ("\n\n", r"has no words"),
    ],
)
def test_lists_that_cannot_be_ranked_are_refused_with_the_line(tmp_path, content, message):
    path = tmp_path / "words.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_words(path)
    with pytest.raises(UserError, match="no such list"):
        read_words(tmp_path / "absent")
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot be read"):
        read_words(tmp_path / "bad.gz")


def test_han_words_are_two_han_characters_or_more():
    assert is_han_word("中国")
    assert is_han_word("〇々")
    assert is_han_word("𠀀中")
    for text in ("", "中", "T恤", "中国 ", "１２", "カナ"):
        assert not is_han_word(text)


@given(
    st.lists(st.text(alphabet="中国人a\U00020000", max_size=20), max_size=8),
    st.lists(st.text(alphabet="中国人\U00020000", min_size=1, max_size=6), unique=True),
)
def test_occurrences_are_those_of_a_slow_count(runs, words):
    slow = [
        sum(run.startswith(word, at) for run in runs for at in range(len(run))) for word in words
    ]
    assert occurrences(runs, words) == slow


def test_counted_words_are_merges_of_runs_of_known_characters(documents):
    texts = [text for lang, _, text in documents if lang == "zh-Hans"]
    known = frozenset(char for text in texts for char in text if is_han(char)) - {"国"}
    found = count_words(texts, known, wanted=800, max_chars=3, min_count=10)
    assert len(found.words) == len(found.counts) == 800
    assert {len(word) for word in found.words} == {2, 3}
    assert min(found.counts) >= 10
    assert not any("国" in word for word in found.words)
    assert "可以" in found.words
    for word, count in list(zip(found.words, found.counts, strict=True))[::40]:
        if word[0] != word[-1]:  # str.count leaves overlaps out
            assert count == sum(text.count(word) for text in texts)


def test_small_samples_give_what_they_have():
    assert count_words([], HAN, 10, 4, 1).words == []
    assert count_words(["no Han at all", "中 国"], HAN, 10, 4, 1).words == []
    found = count_words(["中国人民在中国，中国"] * 3, HAN, 100, 4, min_count=9)
    assert (found.words, found.counts) == (["中国"], [9])
    assert found.sample_chars == 27
