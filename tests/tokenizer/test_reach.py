"""Words are chosen so that the merges reach every one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.tokenizer.huggingface import normal_scores
from skywright.tokenizer.model_file import read_model
from skywright.tokenizer.reach import Selector, segment, without_split
from skywright.tokenizer.words import is_han_word, read_words

LETTERS = {letter: -float(place) for place, letter in enumerate("abcd")}
WORDS = st.lists(
    st.text(alphabet="abcd", min_size=2, max_size=6), unique=True, min_size=1, max_size=25
)


def scores_of(words: list[str], bridges: list[str], lowest: float = -10.0) -> dict[str, float]:
    return LETTERS | {piece: lowest - place for place, piece in enumerate([*words, *bridges], 1)}


def test_merging_takes_the_highest_score_then_the_leftmost():
    assert segment("abc", LETTERS | {"ab": -5.0, "bc": -4.0}) == ["a", "bc"]
    assert segment("abc", LETTERS | {"ab": -5.0, "bc": -6.0, "abc": -7.0}) == ["abc"]
    assert segment("aaa", LETTERS | {"aa": -5.0}) == ["aa", "a"]
    assert segment("", LETTERS) == []


def test_a_word_of_two_pieces_may_still_be_cut_off():
    # "abcd" is "ab" and "cd", but "bc" comes first.
    words = ["bc", "ab", "cd", "abcd"]
    scores = scores_of(words, [])
    assert without_split(words, scores) == []
    assert segment("abcd", scores) == ["a", "bc", "d"]
    selector = Selector(LETTERS, -10.0, words, slots=5)
    assert selector.drop().words == ["bc", "ab", "cd"]
    bridged = selector.bridge()
    assert (bridged.words, bridged.bridges) == (words, ["abc"])


def test_a_word_without_a_split_is_dropped_for_the_next_or_bridged():
    selector = Selector(LETTERS, -10.0, ["abcd", "ab", "dd"], slots=2)
    assert selector.without_split() == ["abcd"]
    dropped = selector.drop()
    assert (dropped.words, dropped.dropped) == (["ab", "dd"], ["abcd"])
    bridged = Selector(LETTERS, -10.0, ["abcd", "ab", "dd"], slots=4).bridge()
    assert (bridged.words, bridged.bridges) == (["abcd", "ab", "dd"], ["abc"])


@given(WORDS, st.integers(1, 30))
def test_all_that_is_chosen_is_reached_and_fits(words, slots):
    selector = Selector(LETTERS, -10.0, words, slots)
    for found in (selector.drop(), selector.bridge()):
        pieces = [*found.words, *found.bridges]
        scores = scores_of(found.words, found.bridges)
        assert len(pieces) == len(set(pieces)) <= slots
        assert all(segment(piece, scores) == [piece] for piece in pieces)
    assert set(selector.drop().words) <= set(words)


@given(WORDS)
def test_with_room_enough_bridging_keeps_every_word_in_order(words):
    assert Selector(LETTERS, -10.0, words, slots=500).bridge().words == words


def test_every_place_is_filled_from_a_real_list(lists):
    base = normal_scores(read_model((lists / "llama2_tokenizer.model").read_bytes()))
    words = [
        word
        for word in read_words(lists / "wordfreq_zh_multichar_60k.tsv.gz")
        if is_han_word(word) and set(word) <= base.keys()
    ]
    lowest = -31_740.0
    selector = Selector(base, lowest, words, 4_000)
    dropped, bridged = selector.drop(), selector.bridge()
    assert len(dropped.words) == len(bridged.words) + len(bridged.bridges) == 4_000
    (lost, *_) = selector.without_split()
    assert lost in dropped.dropped
    assert lost in bridged.words
    assert lost[:2] in bridged.bridges
    for found in (dropped, bridged):
        pieces = [*found.words, *found.bridges]
        scores = base | {piece: lowest - place for place, piece in enumerate(pieces, 1)}
        assert all(segment(piece, scores) == [piece] for piece in pieces)


@pytest.mark.parametrize("slots", [0, 1])
def test_no_words_or_no_room_is_no_trouble(slots):
    selector = Selector(LETTERS, -10.0, [], slots)
    assert selector.drop().words == selector.bridge().words == selector.without_split() == []
    assert Selector(LETTERS, -10.0, ["ab"], 0).bridge().words == []
