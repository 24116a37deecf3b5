"""Near copies over shards: the rule's answer, however the documents are cut and ordered."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from skywright.corpus.config import DuplicatesConfig
from skywright.corpus.dedup import best, minhash, near, proposals, rule, shingles
from skywright.corpus.dedup.columns import fixed_column
from skywright.corpus.dedup.near import NearCopies, near_copies
from skywright.engine.runner import Runner
from skywright.engine.stage import Shard
from tests.corpus.dedup.families import families, identity, write_shards

CONFIG = DuplicatesConfig(neighbours=4)
TEXTS = families(12, 12, seed=1) + families(40, 1, seed=2)


def run(
    root: Path, shards: list[Shard], config: DuplicatesConfig = CONFIG, partitions: int = 3
) -> NearCopies:
    with Runner(root, "inline") as runner:
        return near_copies(runner, shards, config, partitions)


def removed(found: NearCopies) -> dict[bytes, tuple[bytes, float, int]]:
    rows = found.outputs["near_duplicates"].read("dropped").to_pylist()
    return {r["id"]: (r["kept_id"], r["similarity"], r["cluster_size"]) for r in rows}


def by_the_rule(texts: list[str], neighbours: int = 4) -> dict[bytes, tuple[bytes, float, int]]:
    column = pa.array(texts)
    ids = [identity(text) for text in texts]
    ranks = [best.rank(0, None, len(t), None, i) for t, i in zip(texts, ids, strict=True)]
    order = np.argsort(np.argsort(np.array(ranks, dtype=object), kind="stable"))
    table = rule.removals(
        minhash.signatures(column), shingles.half_shingles(column), order, neighbours=neighbours
    )
    return {
        ids[r["dropped"]]: (ids[r["kept"]], r["similarity"], r["cluster_size"])
        for r in table.to_pylist()
    }


def cut(texts: list[str], parts: int) -> list[list[str]]:
    return [texts[i::parts] for i in range(parts)]


@pytest.fixture(scope="module")
def expected() -> dict[bytes, tuple[bytes, float, int]]:
    return by_the_rule(TEXTS)


@pytest.mark.parametrize(
    ("parts", "partitions", "few_bytes"),
    [(1, 1, near.FEW_BYTES), (5, 3, near.FEW_BYTES), (4, 3, 0)],
)
def test_stages_give_the_rules_answer_however_documents_are_cut(
    expected: dict[bytes, tuple[bytes, float, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parts: int,
    partitions: int,
    few_bytes: int,
) -> None:
    monkeypatch.setattr(near, "FEW_BYTES", few_bytes)  # 0: every table is exchanged
    found = run(tmp_path / "w", write_shards(tmp_path, cut(TEXTS, parts)), partitions=partitions)
    assert len(expected) > 30
    assert removed(found) == expected
    assert found.settled
    assert found.rounds > 2  # copies of copies are in it, or it would show little
    rows = found.outputs["near_duplicates"].read("dropped")
    assert set(rows["record"].to_pylist()) <= {
        f"web/{n}:{row}" for n in range(parts) for row in range(len(TEXTS))
    }


def test_the_order_of_documents_does_not_matter(
    expected: dict[bytes, tuple[bytes, float, int]], tmp_path: Path
) -> None:
    moved = [TEXTS[i] for i in np.random.default_rng(5).permutation(len(TEXTS))]
    found = run(tmp_path / "w", write_shards(tmp_path, cut(moved, 3), named=False))
    assert removed(found) == expected


def test_running_on_what_stays_removes_nothing(
    expected: dict[bytes, tuple[bytes, float, int]], tmp_path: Path
) -> None:
    stay = [text for text in TEXTS if identity(text) not in expected]
    found = run(tmp_path / "w", write_shards(tmp_path, cut(stay, 2)))
    assert removed(found) == {}
    assert found.rounds == 1


def test_cut_short_it_still_keeps_every_document_that_another_goes_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "MAX_ROUNDS", 1)
    found = run(tmp_path / "w", write_shards(tmp_path, cut(TEXTS, 2)))
    gone = removed(found)
    assert not found.settled
    assert gone
    assert all(kept not in gone and s >= 0.8 for kept, s, _ in gone.values())


def test_within_scopes_only_copies_of_one_scope_go(tmp_path: Path) -> None:
    text = families(1, 1)[0]
    shards = [
        *write_shards(tmp_path, [[text], [text + " end"]], source="may"),
        *write_shards(tmp_path, [[text + " fin"]], source="june"),
    ]
    with Runner(tmp_path / "w", "inline") as runner:
        together = near_copies(runner, shards, CONFIG, 2)
        apart = near_copies(runner, shards, CONFIG, 2, {"may": "2024-05", "june": "2024-06"})
    assert len(removed(together)) == 2
    assert set(removed(apart)) == {identity(text)}


def test_another_threshold_signs_nothing_again(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, cut(TEXTS, 2))
    run(tmp_path / "w", shards)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "w" / "minhash").rglob("done.json")}
    strict = run(tmp_path / "w", shards, DuplicatesConfig(neighbours=4, jaccard=0.95))
    assert all(s >= 0.95 for _, s, _ in removed(strict).values())
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "w" / "minhash").rglob("done.json")}
    assert before == after


def test_documents_without_tokens_are_let_be(tmp_path: Path) -> None:
    found = run(tmp_path / "w", write_shards(tmp_path, [["...", "!!", "。"]]))
    assert removed(found) == {}


def test_ranks_sort_the_better_copy_first() -> None:
    i, j = bytes(15) + b"\1", bytes(15) + b"\2"
    best_first = [
        best.rank(-5, None, 1, None, j, generation=0),
        best.rank(2, 0.1, 10, "2020", j, generation=1),
        best.rank(1, 0.9, 10, "2020", j, generation=1),
        best.rank(1, 0.1, 20, "2020", j, generation=1),
        best.rank(1, 0.1, 10, "2024-02-01", j, generation=1),
        best.rank(1, 0.1, 10, "2024-01-31T23:59:59", j, generation=1),
        best.rank(1, 0.1, 10, None, i, generation=1),
        best.rank(1, 0.1, 10, None, j, generation=1),
        best.rank(1, -2.0, 10, None, i, generation=1),
        best.rank(1, float("nan"), 10, None, i, generation=1),
        best.rank(-1, 0.9, 10, None, i, generation=1),
    ]
    assert sorted(best_first) == best_first
    many = best.ranks(
        np.array([0, 7, -2**40]), np.array([0, 12, 2**40]), [None, "2024-05-01T01:02:03Z", ""],
        np.arange(48, dtype=np.uint8).reshape(3, 16), generation=300,
    )  # fmt: skip
    one = [(0, 0, None), (7, 12, "2024-05-01T01:02:03Z"), (-(2**40), 2**40, "")]
    for row, (priority, chars, date) in zip(many, one, strict=True):
        assert bytes(row) == best.rank(priority, None, chars, date, bytes(row[20:]), 300)
    with pytest.raises(ValueError, match="generation"):
        best.rank(0, None, 1, None, i, generation=2**16)


def test_a_hot_key_costs_memory_in_proportion_and_two_offers_a_document() -> None:
    # One bucket of 60,000 documents, as a template that all pages of a site share makes it.
    n = 60_000
    draw = np.random.default_rng(3)
    ranks = draw.integers(0, 256, (n, best.RANK_BYTES), dtype=np.uint8)
    sketches = np.repeat(draw.integers(0, 256, (1, 16), dtype=np.uint8), n, axis=0)
    sketches[:, 0] = draw.integers(0, 256, n)
    table = pa.table(
        [
            pa.array(np.full(n, 7, np.uint64)),
            fixed_column(ranks),
            fixed_column(sketches),
            pa.array(np.zeros(n, np.uint32)),
        ],
        schema=proposals.BAND_SCHEMA,
    )
    params = proposals.ProposalParams(neighbours=64, mismatches=23)
    proposals.propose(table.slice(0, 10), params, {})  # compiles
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    offers = proposals.propose(table, params, {})["offers"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    grown = pa.total_allocated_bytes() - before
    assert n <= offers.num_rows < 2 * n
    # Measured: 116 bytes a row in numpy at the peak, 179 in Arrow for the offers.
    assert peak < 200 * n
    assert grown < 400 * n
