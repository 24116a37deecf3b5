from __future__ import annotations

import pytest

from skywright.evaluate.pace import Pace, duration


def test_the_pace_is_of_what_was_scored_since_it_was_first_told() -> None:
    times = iter([10.0, 10.0, 14.0, 20.0])
    pace = Pace(lambda: next(times))
    assert pace(5_000, 10_000) == ""  # read from the store
    assert pace(5_000, 10_000) == ""
    assert pace(6_000, 10_000) == "250 tokens/s, 16 s left"
    assert pace(10_000, 10_000) == "500 tokens/s, 0 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(47.6, "48 s"), (99, "99 s"), (700, "12 min"), (11_000, "3.1 h")]
)
def test_a_duration_has_one_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words
