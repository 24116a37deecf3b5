"""An index that grows month by month."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skywright.corpus.config import DuplicatesConfig
from skywright.corpus.dedup import best, index, minhash, rule, shingles
from skywright.corpus.dedup.against import DROPPED
from skywright.corpus.dedup.index import grow
from skywright.errors import UserError
from tests.corpus.dedup.families import families, identity
from tests.corpus.dedup.test_against import corpus

TEXTS = families(6, 8, seed=3) + families(30, 1, seed=6)
MONTHS = [TEXTS[0::3], TEXTS[1::3], [*TEXTS[2::3], TEXTS[0]]]  # a page of the first comes again


def removed(out: Path) -> dict[tuple[bytes, bytes], float]:
    rows = pq.read_table(out / DROPPED).to_pylist()
    return {(row["id"], row["kept_id"]): row["similarity"] for row in rows}


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def by_the_rule() -> list[dict[tuple[bytes, bytes], float]]:
    """What the rule says of all months as one corpus, the older months' documents better."""
    rows = [(m, text) for m, month in enumerate(MONTHS) for text in month]
    texts = pa.array([text for _, text in rows])
    ranks = [best.rank(0, None, len(t), None, identity(t), m + 1) for m, t in rows]
    order = np.argsort(np.argsort(np.array(ranks, dtype=object), kind="stable"))
    table = rule.removals(minhash.signatures(texts), shingles.half_shingles(texts), order)
    found: list[dict[tuple[bytes, bytes], float]] = [{} for _ in MONTHS]
    for r in table.to_pylist():
        (month, gone), (_, kept) = rows[r["dropped"]], rows[r["kept"]]
        found[month][identity(gone), identity(kept)] = r["similarity"]
    return found


def test_month_by_month_it_gives_the_rules_answer_on_the_union(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "ROWS_A_GROUP", 8)
    expected = by_the_rule()
    assert all(expected)
    place = tmp_path / "index"
    before: dict[str, str] = {}
    for month, texts in enumerate(MONTHS):
        new = corpus(tmp_path / f"m{month}", texts)
        out = tmp_path / f"out{month}"
        grown = grow(place, new, out, partitions=2, executor="inline")
        assert grown.generation == month + 1
        assert removed(out) == expected[month]
        after = fingerprint(place)
        assert before.items() <= after.items()  # what stands is not written again
        before = after
    again = grow(place, new, tmp_path / "again", partitions=2, executor="inline")
    assert (again.generation, removed(tmp_path / "again")) == (3, expected[2])
    assert fingerprint(place) == before


def test_of_the_old_rows_only_groups_with_a_key_of_new_documents_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "ROWS_A_GROUP", 4)
    place = tmp_path / "index"
    old = families(120, 1, tokens=30, seed=8)
    first = grow(place, corpus(tmp_path / "a", old), tmp_path / "o1", partitions=2,
                 executor="inline")  # fmt: skip
    assert first.old_rows == 0
    new = [families(1, 1, tokens=30, seed=9)[0], old[0] + " more"]
    grown = grow(place, corpus(tmp_path / "b", new), tmp_path / "o2", partitions=2,
                 executor="inline")  # fmt: skip
    assert grown.counts.dropped == 1
    keys = 2 * 14  # two documents, 14 bands
    assert grown.old_rows <= keys * 4 < 120 * 14 / 8


def test_an_index_of_other_settings_is_refused(tmp_path: Path) -> None:
    new = corpus(tmp_path / "a", TEXTS[:2])
    grow(tmp_path / "i", new, tmp_path / "o", partitions=1, executor="inline")
    with pytest.raises(UserError, match="rows is 8 there and 6 here"):
        grow(tmp_path / "i", new, tmp_path / "o", DuplicatesConfig(rows=6), 1, "inline")
