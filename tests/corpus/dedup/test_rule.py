"""The rule by which near copies go: what must be true of it, whatever the documents."""

from __future__ import annotations

import gzip
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus.dedup import minhash, rule, shingles

DATA = Path(__file__).parents[4] / "shared" / "data" / "dedup"

# Texts of few words, so that many are near copies of each other.
VARIANTS = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=10, max_size=24), min_size=2, max_size=14
)
BANDS, ROWS, WIDTH = 12, 2, 1  # proposes nearly everything


def signed(words: list[list[str]]) -> tuple[minhash.Signatures, pa.Array]:
    texts = pa.array([" ".join(w) for w in words])
    return minhash.signatures(texts, WIDTH, BANDS, ROWS), shingles.shingles(texts, WIDTH)


def applied(
    words: list[list[str]], ranks: list[int], threshold: float = 0.8, neighbours: int = 64
) -> dict[int, tuple[int, float, int]]:
    table = rule.removals(*signed(words), np.array(ranks), ROWS, threshold, neighbours)
    return {
        r["dropped"]: (r["kept"], r["similarity"], r["cluster_size"]) for r in table.to_pylist()
    }


def true_jaccard(a: list[str], b: list[str]) -> float:
    return len(set(a) & set(b)) / len(set(a) | set(b))


@settings(max_examples=150, deadline=None)
@given(VARIANTS, st.data())
def test_a_document_goes_only_for_a_kept_one_that_is_truly_similar(
    words: list[list[str]], data: st.DataObject
) -> None:
    ranks = data.draw(st.permutations(range(len(words))))
    threshold = data.draw(st.sampled_from([0.5, 0.8, 1.0]))
    gone = applied(words, ranks, threshold, data.draw(st.integers(1, 3)))
    for dropped, (kept, similarity, size) in gone.items():
        assert kept not in gone
        assert ranks[kept] < ranks[dropped]
        assert similarity == true_jaccard(words[dropped], words[kept]) >= threshold
        assert size == 1 + sum(other == kept for other, _, _ in gone.values())


@settings(max_examples=150, deadline=None)
@given(VARIANTS, st.data())
def test_asked_again_about_what_stays_it_removes_nothing(
    words: list[list[str]], data: st.DataObject
) -> None:
    ranks = data.draw(st.permutations(range(len(words))))
    neighbours = data.draw(st.integers(1, 3))
    gone = applied(words, ranks, 0.6, neighbours)
    stay = [i for i in range(len(words)) if i not in gone]
    again = applied([words[i] for i in stay], [ranks[i] for i in stay], 0.6, neighbours)
    assert again == {}


@settings(max_examples=100, deadline=None)
@given(VARIANTS, st.data())
def test_the_order_of_the_documents_does_not_matter(
    words: list[list[str]], data: st.DataObject
) -> None:
    ranks = data.draw(st.permutations(range(len(words))))
    moved = data.draw(st.permutations(range(len(words))))
    first = applied(words, ranks)
    second = applied([words[i] for i in moved], [ranks[i] for i in moved])
    assert first == {moved[d]: (moved[k], s, n) for d, (k, s, n) in second.items()}


@settings(max_examples=100, deadline=None)
@given(VARIANTS, st.data())
def test_documents_of_lower_rank_change_nothing_about_those_before(
    words: list[list[str]], data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, len(words)))
    ranks = list(range(len(words)))
    before = {d: v[:2] for d, v in applied(words[:old], ranks[:old]).items()}
    after = {d: v[:2] for d, v in applied(words, ranks).items() if d < old}
    assert before == after


def test_a_chain_does_not_carry_a_document_away() -> None:
    chain = [list("abcdefghij"), list("bcdefghijk"), list("cdefghijkl")]  # 9/11, 9/11, 8/12
    assert set(applied(chain, [0, 1, 2])) == {1}
    gone = applied(chain, [1, 0, 2])
    assert {d: kept for d, (kept, _, _) in gone.items()} == {0: 1, 2: 1}
    assert gone[0][2] == 3


def test_in_a_long_bucket_a_document_sees_both_ends() -> None:
    # 40 documents share every bucket of one row by their common words; the copy's original stands
    # first or last before it.
    common = [f"t{i}" for i in range(30)]
    words = [[*common, *(f"{n}x{i}" for i in range(20))] for n in range(40)]
    for original in (0, 39):
        gone = applied([*words, words[original]], list(range(41)), neighbours=1)
        assert gone == {40: (original, 1.0, 2)}


def test_equal_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        applied([["a"], ["b"]], [0, 0])


def test_the_mismatch_limit_lets_pairs_at_the_threshold_through() -> None:
    assert rule.mismatch_limit(1.0, 112) == 0
    assert rule.mismatch_limit(0.8, 112) == 23  # mean 11.2, standard deviation 3.17


def test_the_ten_planted_near_copies_are_found_and_nothing_else_goes() -> None:
    path = DATA / "news_plagiarism_1000.jsonl.gz"
    if not path.exists():
        pytest.skip("the development data is not beside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    truth_lines = (DATA / "news_plagiarism_1000.truth.tsv").read_text().splitlines()
    truth = {frozenset(line.split()) for line in truth_lines}
    texts = pa.array([row["text"] for row in rows])
    table = rule.removals(minhash.signatures(texts), shingles.shingles(texts), np.arange(len(rows)))
    found = {
        frozenset((rows[r["dropped"]]["id"], rows[r["kept"]]["id"])) for r in table.to_pylist()
    }
    assert found == truth
    assert min(table["similarity"].to_pylist()) > 0.95


@settings(deadline=None)  # the first call compiles
@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_jaccard_is_intersection_over_union(a: set[int], b: set[int]) -> None:
    found = rule.jaccard(np.array(sorted(a), np.uint64), np.array(sorted(b), np.uint64))
    assert found == (len(a & b) / len(a | b) if a | b else 0.0)


def test_pairs_of_documents_meet_once_for_each_two() -> None:
    words = [list("abcdefghij")] * 3
    gone = applied(words, [2, 0, 1])
    assert {frozenset((d, kept)) for d, (kept, _, _) in gone.items()} <= {
        frozenset(pair) for pair in combinations(range(3), 2)
    }
    assert gone == {0: (1, 1.0, 3), 2: (1, 1.0, 3)}
