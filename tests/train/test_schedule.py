import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.train import TrainConfig
from skywright.train.schedule import ScheduleConfig, learning_rate, rates_before
from tests.train.small import SEGMENTS, TRAIN


def test_the_cosine_starts_above_zero_ends_at_min_and_stays_there():
    schedule = ScheduleConfig(
        kind="cosine", peak_lr=1.0, min_lr=0.1, warmup_tokens=100, decay_tokens=500
    )
    assert learning_rate(schedule, 10, 1000) == pytest.approx(0.1)
    assert learning_rate(schedule, 100, 1000) == 1.0
    assert learning_rate(schedule, 300, 1000) == pytest.approx(0.55)
    assert learning_rate(schedule, 500, 1000) == 0.1
    assert learning_rate(schedule, 900, 1000) == 0.1
    whole = schedule.model_copy(update={"decay_tokens": None})
    assert learning_rate(whole, 550, 1000) == pytest.approx(0.55)


def test_the_reports_ablation_is_a_cosine_over_43945_of_51200_steps_and_then_constant():
    # Skywork-13B, table 9: 1,024 samples of 4,096 tokens a step, 3e-4 to 3e-5, 2,000 steps of
    # warm-up. The values were worked out apart, in steps, by the formula of Megatron-LM's
    # OptimizerParamScheduler (the cosine between warm-up and lr_decay_steps), which it used.
    step = 1024 * 4096
    schedule = ScheduleConfig(
        kind="cosine",
        peak_lr=3e-4,
        min_lr=3e-5,
        warmup_tokens=2000 * step,
        decay_tokens=43_945 * step,
    )
    expected = {
        1: 1.5e-7,
        1000: 1.5e-4,
        2000: 3e-4,
        12_000: 2.638718943e-4,
        22_000: 1.748244663e-4,
        33_000: 7.287621150e-5,
        43_944: 3.000000038e-5,
        43_945: 3e-5,
        51_200: 3e-5,
    }
    for number, lr in expected.items():
        found = learning_rate(schedule, number * step, 51_200 * step)
        assert found == pytest.approx(lr, rel=1e-7), number


@pytest.mark.parametrize(
    ("shape", "middle", "quarter"),
    [
        ("linear", 0.55, 0.775),
        ("sqrt", 1 - 0.9 * math.sqrt(0.5), 0.55),
        ("exponential", 10**-0.5, 10**-0.25),
    ],
)
def test_wsd_rises_stays_and_falls_in_the_shape_asked_for(shape, middle, quarter):
    schedule = ScheduleConfig(
        kind="wsd", peak_lr=1.0, min_lr=0.1, warmup_tokens=100, stable_tokens=500, decay_shape=shape
    )
    found = [learning_rate(schedule, tokens, 1000) for tokens in (50, 100, 600, 700, 800, 1000)]
    assert found == pytest.approx([0.5, 1.0, 1.0, quarter, middle, 0.1])


def test_linear_falls_to_zero_if_asked_to():
    schedule = ScheduleConfig(kind="linear", peak_lr=1.0, min_lr=0.0, warmup_tokens=200)
    assert [learning_rate(schedule, t, 1000) for t in (100, 200, 600, 1000)] == [0.5, 1, 0.5, 0]


def test_a_segment_warms_up_again_from_the_last_rate_or_from_zero():
    first = ScheduleConfig(kind="cosine", peak_lr=1.0, min_lr=0.2)
    again = ScheduleConfig(kind="constant", peak_lr=0.6, warmup_tokens=100, warmup_from="last")
    down = ScheduleConfig(kind="linear", peak_lr=0.1, min_lr=0.0, warmup_tokens=50,
                          warmup_from="last")  # fmt: skip
    rates = rates_before([first, again, down], [1000, 400, 200])
    assert rates == [0.0, 0.2, 0.6]
    assert learning_rate(again, 50, 400, rates[1]) == pytest.approx(0.4)
    assert learning_rate(down, 25, 200, rates[2]) == pytest.approx(0.35)
    from_zero = again.model_copy(update={"warmup_from": "zero"})
    assert learning_rate(from_zero, 50, 400, rates[1]) == pytest.approx(0.3)


def schedules():
    def make(kind, peak, share, warmup, stable, decay, shape):
        falls = kind != "constant"
        wsd = kind == "wsd"
        begin = warmup + (stable if wsd else 0)
        return ScheduleConfig(
            kind=kind,
            peak_lr=peak,
            min_lr=peak * share if falls else None,
            warmup_tokens=warmup,
            stable_tokens=stable if wsd else None,
            decay_tokens=begin + decay if falls and decay else None,
            decay_shape=shape if wsd else None,
        )

    tokens = st.integers(0, 10_000)
    return st.builds(
        make,
        st.sampled_from(["cosine", "linear", "wsd", "constant"]),
        st.floats(1e-6, 1e-2),
        st.floats(0.01, 1.0),
        tokens,
        tokens,
        tokens,
        st.sampled_from(["linear", "sqrt", "exponential"]),
    )


@given(schedules(), st.integers(1, 40_000), st.floats(0, 1e-2))
def test_the_rate_rises_to_the_peak_and_then_never_rises_and_ends_at_min(
    schedule, segment_tokens, last
):
    every = max(1, segment_tokens // 200)
    points = [*range(every, segment_tokens, every), segment_tokens]
    rates = [learning_rate(schedule, tokens, segment_tokens, last) for tokens in points]
    rising = [r for t, r in zip(points, rates, strict=True) if t <= schedule.warmup_tokens]
    falling = [r for t, r in zip(points, rates, strict=True) if t > schedule.warmup_tokens]
    assert all(0 < rate <= schedule.peak_lr * (1 + 1e-12) for rate in rates)
    assert rising == sorted(rising)
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(falling))
    end = schedule.decay_tokens or segment_tokens
    if schedule.min_lr is not None and schedule.decay_begins < end <= segment_tokens:
        assert rates[-1] == schedule.min_lr
        assert min(falling) == schedule.min_lr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "constant"}, "neither min_lr nor decay_tokens"),
        ({"min_lr": None}, "needs min_lr"),
        ({"min_lr": 2.0}, "above peak_lr"),
        ({"decay_tokens": 100}, "more than warmup_tokens"),
        ({"stable_tokens": 5}, "only a wsd schedule"),
        ({"kind": "wsd"}, "needs stable_tokens"),
        ({"kind": "wsd", "stable_tokens": 50, "decay_tokens": 150}, r"warmup_tokens \+ stable"),
        (
            {"kind": "wsd", "stable_tokens": 5, "min_lr": 0, "decay_shape": "exponential"},
            "never reaches 0",
        ),
        ({"warmup_tokens": 0, "warmup_from": "last"}, "needs warmup_tokens"),
    ],
)
def test_schedules_that_contradict_themselves_are_refused(change, message):
    good = {"kind": "cosine", "peak_lr": 1.0, "min_lr": 0.1, "warmup_tokens": 100}
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**(good | change))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"kind": "constant", "warmup_tokens": 9, "warmup_from": "last"}, "the first"),
        ({"kind": "wsd", "min_lr": 0, "stable_tokens": "1M"}, "before its fall"),
    ],
)
def test_schedules_that_do_not_fit_their_segment_are_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate(
            TRAIN | {"segments": [SEGMENTS[0] | {"schedule": {"peak_lr": 1} | schedule}]}
        )
