from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus import kernels
from skywright.corpus.dedup import exact, minhash, overlap, shingles
from skywright.errors import UserError
from tests.corpus.signals import reference

GOLDEN_CONTENT = "2da92fd42ef3f8fce3315227d506b770"
GOLDEN_SHINGLES = [4795865111035581304]
GOLDEN_BANDS = [10316988272455413705, 13712457839820662374]

WORDS = st.lists(st.sampled_from(["a", "b", "B", "ｃ", "中", "国", "，", "\n"]), max_size=30)
TEXTS = st.lists(WORDS.map(" ".join), max_size=8)
SETS = st.lists(st.sets(st.integers(0, 12), max_size=10), min_size=1, max_size=12)


def lists(sets: list[set[int]]) -> pa.Array:
    return pa.array([sorted(s) for s in sets], pa.large_list(pa.uint64()))


# ---------------------------------------------------------------- shingles and exact copies


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 6))
def test_shingles_are_the_token_ngrams_as_sorted_sets(texts: list[str], width: int) -> None:
    found = shingles.shingles(pa.array(texts, pa.string()), width).to_pylist()
    expected = [reference.shingle_sets(text, width) for text in texts]
    assert [len(s) for s in found] == [len(s) for s in expected]
    assert all(s == sorted(set(s)) for s in found)
    for (a, set_a), (b, set_b) in combinations(zip(found, expected, strict=True), 2):
        assert len(set(a) & set(b)) == len(set_a & set_b)


def test_a_short_text_is_one_shingle_of_all_its_tokens() -> None:
    found = shingles.shingles(
        pa.array(["中国 USA", "中，国Ｕｓａ！", "国中 usa", "...", "a b c d e"])
    )
    assert [len(s) for s in found.to_pylist()] == [1, 1, 1, 0, 1]
    assert found[0].as_py() == found[1].as_py() != found[2].as_py()


def test_a_column_of_other_things_is_refused() -> None:
    with pytest.raises(UserError, match="uint64"):
        minhash.band_hashes(pa.array([[1, 2]]))
    with pytest.raises(ValueError, match="width"):
        shingles.shingles(pa.array(["a"]), 0)


def test_flatten_reads_slices_and_chunks() -> None:
    sliced = pa.array([[1], [2, 3], [], [4]], pa.list_(pa.uint64())).slice(1, 2)
    values, offsets = shingles.flatten(sliced)
    assert (values.tolist(), offsets.tolist()) == ([2, 3], [0, 2, 2])
    values, offsets = shingles.flatten(pa.chunked_array([sliced, sliced]))
    assert (values.tolist(), offsets.tolist()) == ([2, 3, 2, 3], [0, 2, 2, 4, 4])


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_the_tokens_of_shingles_are_those_of_the_rules(texts: list[str]) -> None:
    column = pa.array(texts, pa.string())
    quick = [hashes.tolist() for hashes, _ in kernels.token_hashes(column)]
    slow = [kernels.tokens(view).hashes.tolist() for view in kernels.views(column)]
    assert quick == slow


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.integers(1, 6))
def test_signatures_of_texts_are_those_of_their_shingle_sets(texts: list[str], width: int) -> None:
    column = pa.array(texts, pa.string())
    signed = minhash.signatures(column, width, 4, 3, seed=2)
    assert np.array_equal(
        signed.bands, minhash.band_hashes(shingles.shingles(column, width), 4, 3, seed=2)
    )


@pytest.mark.parametrize("shared", [50, 80, 95])
def test_sketches_differ_in_as_many_bits_as_theory_says(shared: int) -> None:
    # 400 pairs of 100 tokens in a row, of which `shared` n-grams of one token are common to both.
    draw = np.random.Generator(np.random.PCG64(9))
    words = draw.integers(10**6, 10**9, (400, 200))
    only = shared + (100 - shared) // 2
    first = [" ".join(f"w{x}" for x in row[:only]) for row in words]
    second = [" ".join(f"w{x}" for x in (*row[:shared], *row[only:100])) for row in words]
    a, b = (minhash.signatures(pa.array(side), width=1).sketch for side in (first, second))
    differ = np.unpackbits((a ^ b).view(np.uint8), axis=1).sum()
    p = (1 - shared / 100) / 2
    trials = 400 * 112
    assert abs(differ - trials * p) <= 3 * math.sqrt(trials * p * (1 - p))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="aAＡ中 \n\t\u3000\u200b.，", max_size=8), max_size=12))
def test_content_hashes_are_equal_exactly_where_collapsed_views_are(texts: list[str]) -> None:
    found = exact.content_hash(pa.array(texts, pa.string())).to_pylist()
    views = [" ".join(reference.view(text).split()) for text in texts]
    assert [len(h) for h in found] == [16] * len(texts)
    for (a, view_a), (b, view_b) in combinations(zip(found, views, strict=True), 2):
        assert (a == b) == (view_a == view_b)
    raw = exact.raw_hash(pa.array(texts, pa.string())).to_pylist()
    for (a, text_a), (b, text_b) in combinations(zip(raw, texts, strict=True), 2):
        assert (a == b) == (text_a == text_b)


def test_hashes_do_not_change_between_versions() -> None:
    # Made by this code: outputs on disk are keyed and joined by these.
    texts = pa.array(["The 天气 is ｆｉｎｅ.\n"])
    assert exact.content_hash(texts)[0].as_py().hex() == GOLDEN_CONTENT
    assert shingles.shingles(texts)[0].as_py() == GOLDEN_SHINGLES
    assert minhash.band_hashes(shingles.shingles(texts), 2, 2).tolist() == [GOLDEN_BANDS]


# ---------------------------------------------------------------- MinHash


@pytest.mark.parametrize(
    ("bands", "rows", "jaccard", "probability"),
    [
        # RefinedWeb, FineWeb, OLMo 3, NeMo Curator, MAP-NEO, Zyda: their settings
        (450, 20, 0.7, 0.302), (14, 8, 0.5, 0.053), (14, 8, 0.7, 0.565), (14, 8, 0.8, 0.924),
        (26, 11, 0.8, 0.903), (20, 13, 0.8, 0.677), (9, 13, 0.9, 0.929), (32, 4, 0.5, 0.873),
    ],
)  # fmt: skip
def test_collision_probability_gives_the_published_values(
    bands: int, rows: int, jaccard: float, probability: float
) -> None:
    assert minhash.collision_probability(jaccard, bands, rows) == pytest.approx(
        probability, abs=6e-4
    )


@pytest.mark.parametrize(
    ("bands", "rows", "shared", "union"),
    [(14, 8, 50, 100), (14, 8, 70, 100), (14, 8, 80, 100), (14, 8, 85, 100), (26, 11, 80, 100),
     (20, 5, 50, 100), (9, 13, 90, 100), (14, 8, 7, 10)],
)  # fmt: skip
def test_bands_collide_as_often_as_theory_says(
    bands: int, rows: int, shared: int, union: int
) -> None:
    trials = 3000
    random = np.random.Generator(np.random.PCG64(7))
    pool = random.integers(0, 2**64, (trials, union), dtype=np.uint64)
    only = shared + (union - shared) // 2
    first = [np.sort(row[:only]) for row in pool]
    second = [np.sort(np.concatenate([row[:shared], row[only:]])) for row in pool]
    found = [
        minhash.band_hashes(
            pa.array([s.tolist() for s in side], pa.large_list(pa.uint64())), bands, rows
        )
        for side in (first, second)
    ]
    # All trials share one draw of hash functions, so the shingles must carry the randomness.
    hits = int((found[0] == found[1]).any(axis=1).sum())
    p = minhash.collision_probability(shared / union, bands, rows)
    assert abs(hits - trials * p) <= 3 * math.sqrt(trials * p * (1 - p))


def test_single_hashes_agree_as_often_as_the_sets_overlap() -> None:
    pool = np.sort(np.random.Generator(np.random.PCG64(3)).integers(0, 2**64, 300, dtype=np.uint64))
    sets = pa.array([pool[:200].tolist(), pool[100:].tolist()], pa.large_list(pa.uint64()))
    a, b = minhash.band_hashes(sets, bands=20_000, rows=1, seed=5)
    agree = float((a == b).mean())
    assert abs(agree - 1 / 3) <= 3 * math.sqrt(1 / 3 * 2 / 3 / 20_000)


def test_other_seeds_give_other_hashes_and_the_same_seed_the_same() -> None:
    sets = lists([{1, 2, 3}])
    assert np.array_equal(minhash.band_hashes(sets, seed=2), minhash.band_hashes(sets, seed=2))
    assert not np.any(minhash.band_hashes(sets, seed=2) == minhash.band_hashes(sets, seed=3))


def test_only_documents_without_shingles_have_the_empty_band_hash() -> None:
    found = minhash.band_hashes(lists([set(), {0}, {5, 6}, set()]))
    assert (found == minhash.NO_SHINGLES).all(axis=1).tolist() == [True, False, False, True]
    assert (found == minhash.NO_SHINGLES).any(axis=1).tolist() == [True, False, False, True]


# ---------------------------------------------------------------- overlap


@settings(max_examples=200, deadline=None)
@given(SETS, SETS)
def test_containment_is_the_best_over_all_evaluation_documents(
    evaluation: list[set[int]], documents: list[set[int]]
) -> None:
    index = overlap.Index.build(lists(evaluation))
    best, contained = index.containment(lists(documents))
    assert index.sizes.tolist() == [len(s) for s in evaluation]
    for document, found, value in zip(documents, best.tolist(), contained.tolist(), strict=True):
        ratios = [
            len(document & e) / min(len(document), len(e)) if document and e else 0.0
            for e in evaluation
        ]
        assert value == max(ratios)
        assert found == (ratios.index(max(ratios)) if max(ratios) else -1)


def test_containment_sees_a_passage_inside_a_long_page_and_the_other_way_round() -> None:
    passage = "今天的天气很好，我们一起去公园散步，看到了许多漂亮的花。"
    page = (
        "导航 首页 新闻 "
        + passage.replace("，", ", ")
        + " The rest of this page is about something."
    )
    index = overlap.Index.build(
        shingles.shingles(pa.array(["unrelated words of another text", passage]))
    )
    best, contained = index.containment(
        shingles.shingles(pa.array([page, passage[:14], "nothing in common with any of them here"]))
    )
    assert best.tolist() == [1, 1, -1]
    assert contained.tolist() == [1.0, 1.0, 0.0]


def test_an_empty_index_holds_nothing() -> None:
    index = overlap.Index.build(lists([]))
    best, contained = index.containment(lists([{1, 2}, set()]))
    assert (best.tolist(), contained.tolist()) == ([-1, -1], [0.0, 0.0])
