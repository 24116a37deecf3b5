"""A corpus against others: what stands is not touched, and the answer is the rule's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from skywright.cli.app import app
from skywright.corpus.dedup.against import DROPPED, Counts, subtract
from skywright.errors import UserError
from tests.corpus.dedup.families import families, identity

BASE = families(3, 1, seed=4)
OLD = [BASE[0], BASE[1]]
NEW = [BASE[0] + " later", BASE[2], BASE[2] + " again and longer", "...", BASE[1]]


def corpus(folder: Path, texts: list[str], name: str = "a.parquet") -> Path:
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": pa.array([identity(t) for t in texts], pa.binary(16)), "text": texts})
    pq.write_table(table, folder / "documents" / name, row_group_size=2)
    return folder


def texts(folder: Path) -> list[str]:
    return pq.read_table(folder / "documents")["text"].to_pylist()


def test_new_documents_go_for_old_ones_and_for_better_new_ones(tmp_path: Path) -> None:
    old, new = corpus(tmp_path / "old", OLD), corpus(tmp_path / "new", NEW)
    before = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in old.rglob("*.parquet")}
    counts = subtract(new, [old], tmp_path / "out", executor="inline", partitions=2)
    assert counts == Counts(documents=5, dropped=3, rounds=2, settled=True)
    assert texts(tmp_path / "out") == ["...", NEW[2]][::-1]
    dropped = {r["id"]: r for r in pq.read_table(tmp_path / "out" / DROPPED).to_pylist()}
    assert dropped[identity(NEW[0])]["kept_id"] == identity(OLD[0])  # the longer one, but newer
    assert dropped[identity(NEW[1])]["kept_id"] == identity(NEW[2])
    assert dropped[identity(NEW[4])]["similarity"] == 1.0
    assert {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in old.rglob("*.parquet")} == before


def test_a_minus_b_leaves_copies_within_a(tmp_path: Path) -> None:
    old, new = corpus(tmp_path / "old", OLD), corpus(tmp_path / "new", NEW)
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["corpus", "dedup", str(new), "--against", str(old), "--out", str(out), "--no-within",
         "--engine", "inline", "--partitions", "2", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert texts(out) == NEW[1:4]


def test_without_others_it_removes_copies_within(tmp_path: Path) -> None:
    new = corpus(tmp_path / "new", NEW)
    subtract(new, [], tmp_path / "out", executor="inline", partitions=2)
    assert texts(tmp_path / "out") == [NEW[0], NEW[2], "...", NEW[4]]


def test_a_folder_without_documents_and_documents_without_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Parquet files"):
        subtract(tmp_path, [], tmp_path / "out", executor="inline")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(
        UserError, match=r"a\.parquet: the field 'id' must be 16 bytes, and is missing"
    ):
        subtract(tmp_path, [], tmp_path / "out", executor="inline")
