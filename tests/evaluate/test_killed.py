from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from skywright.evaluate import prepare as preparing
from tests.evaluate import killed

ROOT = Path(__file__).parents[2]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_scoring_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_run(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "PART_TOKENS", preparing.PART_TOKENS)  # `killed` changes it
    whole = killed.score_into(llama, tmp_path / "whole")
    threads = str(torch.get_num_threads())  # sums are rounded by how many there are
    done = subprocess.run(
        [sys.executable, "-m", "tests.evaluate.killed", llama, tmp_path / "killed"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": threads}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert whole["tokens"].to_numpy().sum() > 10 * killed.PART_TOKENS
    assert int(done.stdout) >= 6
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert len(files(tmp_path / "whole")) == 3, "no parts and no half-written files are left"
    (stored,) = (tmp_path / "killed").rglob("docs.parquet")
    assert pq.read_table(stored, partitioning=None).num_rows == len(killed.TEXTS_HERE)
