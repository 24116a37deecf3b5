from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.evaluate.protocols import ModelTerms, Protocol, cut_text, make_windows


@given(st.integers(1, 300), st.integers(2, 70), st.floats(0, 0.95), st.integers(0, 5))
def test_every_token_is_scored_once_with_its_context(
    tokens: int, context: int, overlap: float, start: int
) -> None:
    ids = np.arange(100, 100 + tokens, dtype=np.int32)
    windows, first_scored = make_windows(ids, start, context, overlap)
    scored = np.concatenate([w[f:] for w, f in zip(windows, first_scored, strict=True)])
    assert scored.tolist() == ids.tolist()
    for number, (window, first) in enumerate(zip(windows, first_scored, strict=True)):
        assert window[0] == start
        assert len(window) <= context
        assert (np.diff(window[1:]) == 1).all()
        if number:
            assert first - 1 >= int((context - 1) * overlap)


@given(st.integers(1, 300), st.integers(2, 70))
def test_windows_say_where_their_scored_tokens_stand(tokens: int, context: int) -> None:
    ids = np.arange(100, 100 + tokens, dtype=np.int32)
    for window in Protocol().windows(ids, ModelTerms(context, start_token_id=7)):
        scored = window.ids[window.first_scored :]
        assert scored.tolist() == ids[window.at : window.at + len(scored)].tolist()


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("abc", 5, "abc"),
        ("abcdef", 3, "abc"),
        ("e\u0301te", 1, "e"),
        ("ae\u0301te", 2, "a"),
        ("a👩\u200d🔬b", 2, "a"),
        ("a👩\u200d🔬b", 4, "a👩\u200d🔬"),
        ("a👍🏽", 2, "a"),
        ("a🇨🇳🇬🇧", 2, "a"),
        ("a🇨🇳🇬🇧", 3, "a🇨🇳"),
        ("a\r\nb", 2, "a"),
        ("语言模型", 2, "语言"),
    ],
)
def test_a_cut_never_splits_a_character(text: str, limit: int, kept: str) -> None:
    if text.startswith("e\u0301"):
        kept = "e"  # nothing would be left: the limit wins
    assert cut_text(text, limit) == kept


@given(st.text(), st.integers(1, 20))
def test_a_cut_is_a_prefix_within_the_limit(text: str, limit: int) -> None:
    cut = cut_text(text, limit)
    assert text.startswith(cut)
    assert len(cut) <= limit
    assert bool(cut) == bool(text)
