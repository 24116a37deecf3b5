"""Classifiers: the same bytes again, splits by host, measures, files that are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from skywright.corpus.classify.bins import bins, equal_mass_edges
from skywright.corpus.classify.evaluate import (
    auc,
    auc_interval,
    operating_point,
    threshold_for_keep_rate,
    threshold_for_precision,
)
from skywright.corpus.classify.examples import Examples, capped, folds, host_of, read_examples
from skywright.corpus.classify.model import load_model, shipped
from skywright.corpus.classify.report import measure
from skywright.corpus.classify.train import Trained, TrainingConfig, train
from skywright.errors import UserError

GOOD = "The treaty was signed in the year {n} by the ministers of both kingdoms. "
BAD = "Click now for the best cheap offer number {n}, buy today and save money! "
GOOD_ZH, BAD_ZH = (
    "该条约由两国大臣于{n}年签署，规定了边界的划分。",
    "点击注册就送{n}元，优惠多多，马上购买！",
)
SMALL = TrainingConfig(bucket_bits=14, epochs=5)


def examples() -> Examples:
    rows = []
    for n in range(200):
        good = n % 2 == 0
        forms = (GOOD, GOOD_ZH) if good else (BAD, BAD_ZH)
        text = forms[n % 4 // 2].format(n=n) * 3
        rows.append((text, "en", f"host{n % 20}.org", [float(good)]))
    texts, langs, hosts, targets = zip(*rows, strict=True)
    return Examples(("good",), texts, langs, hosts, np.array(targets))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(examples(), SMALL)


def test_a_classifier_parts_what_it_was_shown(trained: Trained) -> None:
    unseen = pa.array(
        [GOOD.format(n=999), BAD.format(n=999), GOOD_ZH.format(n=9), BAD_ZH.format(n=9)]
    )
    scores = trained.model.scores(unseen)[:, 0]
    assert scores[0] > 0.5 > scores[1]
    assert scores[2] > 0.5 > scores[3]
    assert auc(trained.held_out[:, 0], trained.examples.targets[:, 0]) == 1.0


def test_training_again_gives_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    first = trained.model.save(tmp_path / "a.safetensors")
    again = train(examples(), SMALL).model.save(tmp_path / "b.safetensors")
    assert first == again
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    other = train(examples(), SMALL.model_copy(update={"seed": 2}))
    assert other.model.save(tmp_path / "c.safetensors") != first


def test_a_saved_model_gives_the_same_scores_and_a_wrong_file_one_line(
    trained: Trained, tmp_path: Path
) -> None:
    trained.model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    texts = pa.array([GOOD, BAD, "", "中"])
    assert np.array_equal(loaded.scores(texts), trained.model.scores(texts))
    (tmp_path / "n.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"n.safetensors: is no classifier"):
        load_model(tmp_path / "n.safetensors")
    with pytest.raises(UserError, match="shipped are quality, safety"):
        shipped("beauty")


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(max_size=80), min_size=1, max_size=8))
def test_a_score_depends_on_its_own_text_alone(trained: Trained, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    together = trained.model.scores(pa.array(texts))
    alone = np.concatenate([trained.model.scores(pa.array([text])) for text in texts])
    assert np.array_equal(together, alone)
    assert np.all((together > 0) & (together < 1))


def test_pages_of_one_host_stand_in_one_fold_and_are_capped() -> None:
    data = examples()
    fold = folds(data.hosts, 5)
    assert all(len({fold[i] for i, h in enumerate(data.hosts) if h == host}) == 1
               for host in set(data.hosts))  # fmt: skip
    few = capped(data, 3)
    assert max(few.hosts.count(host) for host in set(few.hosts)) <= 3
    doubled = data.take([*range(len(data.texts)), *range(len(data.texts))])
    assert len(capped(doubled, 100).texts) == len(set(data.texts))


def test_a_text_that_two_lines_label_differently_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = examples()
    turned = Examples(data.labels, data.texts, data.langs, data.hosts, 1 - data.targets)
    capped(data.take([0, 0, 1]), 50)
    assert not caplog.messages
    both = Examples(
        data.labels, data.texts * 2, data.langs * 2, data.hosts * 2,
        np.concatenate([data.targets, turned.targets]),
    )  # fmt: skip
    assert len(capped(both, 200).texts) == len(set(data.texts))
    (said,) = caplog.messages
    assert said.startswith("200 lines repeat a text with another label than its first line")


def test_a_label_that_no_line_has_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "host": "a.org", "good": 1}\n' * 3)
    with pytest.raises(UserError, match="label 'godo': no line has this field"):
        train(read_examples([path], ["godo"]), SMALL)


def test_one_host_is_not_enough_to_measure_on() -> None:
    data = examples()
    one = Examples(data.labels, data.texts, data.langs, ("a.org",) * len(data.texts), data.targets)
    with pytest.raises(UserError, match="examples of another host"):
        train(one, SMALL)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({kind for _, kind in rows}) == 2
    )
)
def test_auc_is_the_rank_sum(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in rows], float)
    target = np.array([kind for _, kind in rows], float)
    ones, zeros = scores[target == 1], scores[target == 0]
    statistic = mannwhitneyu(ones, zeros).statistic
    assert auc(scores, target) == pytest.approx(statistic / (len(ones) * len(zeros)))


def test_thresholds_do_what_they_are_asked() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.7, 0.4, 0.2])
    target = np.array([1, 1, 0, 1, 0, 0.0])
    assert threshold_for_precision(scores, target, 0.75) == 0.7
    assert threshold_for_precision(scores, target, 1.0) == 0.9
    assert threshold_for_precision(scores, 0 * target, 0.5) is None
    assert threshold_for_keep_rate(scores, 0.5) == 0.8
    point = operating_point(scores, target, 0.7)
    assert point.precision is not None
    assert (point.precision.value, point.recall.value) == (0.75, 1.0)
    assert point.precision.low < 0.75 < point.precision.high
    assert operating_point(scores, target, 2.0).precision is None
    interval = auc_interval(scores, target, ["a", "b", "c", "d", "e", "f"])
    assert interval.low <= interval.value <= interval.high
    assert interval.n == 6


def test_bins_hold_equal_shares() -> None:
    scores = np.random.default_rng(0).random(1000)
    counts = np.bincount(bins(scores, equal_mass_edges(scores, 10)), minlength=10)
    assert counts.tolist() == [100] * 10


def test_examples_say_where_they_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    good = {"text": "a", "url": "http://www.A.org/x", "good": 1}
    path.write_text(json.dumps(good) + "\n" + json.dumps({"text": "b"}) + "\n")
    with pytest.raises(UserError, match=r"x.jsonl, line 2: needs `text`"):
        read_examples([path], ["good"])
    for broken in (
        {"text": None},
        {"text": 3},
        {"text": "\ud800"},
        {"url": 5},
        {"url": "http://["},
    ):
        path.write_text(json.dumps({**good, **broken}) + "\n")
        with pytest.raises(UserError, match=r"line 1: needs `text`, and `url` or `host`, each"):
            read_examples([path], ["good"])
    path.write_text(json.dumps({**good, "good": "yes"}) + "\n")
    with pytest.raises(UserError, match=r"line 1, good: is 'yes'"):
        read_examples([path], ["good"])
    assert host_of("http://www.A.org/x") == "a.org"


def test_a_report_has_a_row_for_each_label_with_both_kinds(trained: Trained) -> None:
    (row,) = measure(trained.examples, trained.held_out)
    assert row["label"] == "good"
    assert row["auc"].startswith("1.000")
    assert row["hosts"] == 20


def test_the_shipped_models_are_the_ones_of_their_cards() -> None:
    import hashlib

    for name in ("quality", "safety"):
        card = shipped(name).with_suffix(".md").read_text()
        assert hashlib.sha256(shipped(name).read_bytes()).hexdigest() in card
        assert shipped(name).stat().st_size < 2_000_000
