"""Samples read from real shards through the plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.tokens import Loader, Plan, SegmentMixture, Shards, build
from tests.tokens.conftest import SmallTokenizer
from tests.tokens.test_build import CONFIG

LENGTH = 64


@pytest.fixture(scope="module")
def shards(
    documents: list[Path], tokenizer: SmallTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Shards:
    out = tmp_path_factory.mktemp("tokens")
    build(CONFIG, documents, tokenizer, out)
    return Shards.open(out, tokenizer.fingerprint)


def plan_of(shards: Shards, more: int = 0) -> Plan:
    mixture = {"zh": 0.5, "en": 0.3, "code": {"from": 0.1, "to": 0.4, "mean": 0.2}}
    segments = [
        {"name": "a", "tokens": 400 * LENGTH, "mixture": {"zh": 0.5, "en": 0.5}},
        {"name": "b", "tokens": 300 * LENGTH, "mixture": mixture},
    ]
    segments += [{"name": f"c{i}", "tokens": 90 * LENGTH, "mixture": mixture} for i in range(more)]
    return Plan(
        11,
        LENGTH,
        shards.windows(LENGTH),
        [SegmentMixture.model_validate(item) for item in segments],
        block_samples=32,
    )


@pytest.fixture(scope="module")
def loader(shards: Shards) -> Loader:
    return Loader(shards, plan_of(shards))


def test_a_sample_is_its_window_of_the_flat_file(loader: Loader, shards: Shards) -> None:
    got = loader.samples(395, 20)
    assert got.dtype == np.int32
    assert got.shape == (20, LENGTH + 1)
    _, sources, draws = loader.plan.locate(np.arange(395, 415))
    for row, source, draw in zip(got, sources, draws, strict=True):
        name = loader.plan.names[source]
        _, window = loader.plan.window(name, np.array([draw]))
        start = int(window[0]) * LENGTH
        assert np.array_equal(row, shards.tokens(name)[start : start + LENGTH + 1])


def test_an_epoch_predicts_every_token_but_the_first_once(shards: Shards) -> None:
    windows = shards.windows(LENGTH)["en"]
    plan = Plan(
        5, LENGTH, shards.windows(LENGTH),
        [SegmentMixture(name="s", tokens=windows * LENGTH, mixture={"en": 1.0})],
    )  # fmt: skip
    labels = Loader(shards, plan).samples(0, windows)[:, 1:]
    expected = shards.tokens("en")[1 : 1 + windows * LENGTH]
    assert np.array_equal(np.sort(labels, axis=None), np.sort(expected))
    assert shards.manifest.sources["en"].tokens - 1 - windows * LENGTH < LENGTH


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 699), st.integers(1, 96), st.sampled_from([1, 2, 3, 8]))
def test_ranks_together_read_the_batch(loader: Loader, first: int, count: int, world: int) -> None:
    count = min(count, 700 - first)
    batch = loader.samples(first, count)
    numbers = np.arange(first, first + count)
    for rank in range(world):
        assert np.array_equal(loader.rows(numbers[rank::world]), batch[rank::world])
    single = [loader.samples(int(number), 1)[0] for number in numbers[:5]]
    assert np.array_equal(np.stack(single), batch[:5])


def test_an_appended_segment_changes_no_earlier_token(loader: Loader, shards: Shards) -> None:
    longer = Loader(shards, plan_of(shards, more=2))
    assert np.array_equal(longer.samples(0, 700), loader.samples(0, 700))
    assert longer.plan.samples == 880


def test_nothing_is_read_for_no_samples(loader: Loader) -> None:
    assert loader.samples(3, 0).shape == (0, LENGTH + 1)


def test_a_plan_of_other_shards_is_refused(shards: Shards) -> None:
    part = [SegmentMixture(name="s", tokens=640, mixture={"en": 1.0})]
    with pytest.raises(UserError, match="no source 'fr'"):
        Loader(shards, Plan(1, LENGTH, {"en": shards.windows(LENGTH)["en"], "fr": 9}, part))
    with pytest.raises(UserError, match=r"'en' has [\d,]+ windows, but the plan was made for 9"):
        Loader(shards, Plan(1, LENGTH, {"en": 9}, part))
