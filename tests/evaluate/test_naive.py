"""Losses of real models equal a naive loop's: two that packages carry, and the laptop recipe's."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
from pathlib import Path

import pytest

from skywright.evaluate.backends import open_backend
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.reference import open_reference
from skywright.evaluate.score import score
from skywright.sets import EvaluationSet, load
from skywright.sets.schema import make_set
from tests.evaluate.naive import NaiveLoop
from tests.evaluate.packaged import PACKAGED, NotInstalledError

ROOT = Path(__file__).parents[2]
SETS = ("en_wiki", "code", "zh_wiki", "zh_poetry")
EACH = 6
CHARS = 200
"""Within every model's window, so that the naive loop and our windows ask for the same."""

TOLERANCE = 1e-4


def documents() -> EvaluationSet:
    """The first documents of four sets, Chinese, English and code, as one set."""
    made = [
        dataclasses.replace(document, domain="mixed")
        for name in SETS
        for document in load(ROOT / "examples" / "sets" / name).documents[:EACH]
    ]
    return make_set("mixed", "mixed", "en", made, "domain", "test")


def laptop_checkpoint(_: Path) -> Path:
    """The last export of the laptop recipe's run."""
    folder = ROOT / "runs" / "laptop" / "train" / "current" / "hf"
    found = sorted(folder.glob("step-*"))
    if not found:
        raise NotInstalledError(f"{folder.relative_to(ROOT)} has no checkpoint: make demo")
    return found[-1]


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*PACKAGED, "laptop"])
def test_real_models_lose_what_a_naive_loop_says_in_any_order_of_batches(
    name: str, tmp_path: Path
) -> None:
    try:
        path = {**PACKAGED, "laptop": laptop_checkpoint}[name](tmp_path)
    except NotInstalledError as reason:
        pytest.skip(str(reason))
    if path.suffix == ".gguf" and importlib.util.find_spec("gguf") is None:
        pytest.skip("gguf is not installed: pip install 'skywright[gguf]'")
    whole, protocol = documents(), Protocol(max_chars=CHARS)
    loop = NaiveLoop(path)
    expected = {d.id: loop.loss(protocol.cut(d.text)) for d in whole.documents}
    del loop
    backend: HFBackend = open_backend(path)  # type: ignore[assignment]
    reference = open_reference(backend.path)
    largest = 0.0
    for batch_tokens, seed in ((1, 0), (512, 1), (4096, 2)):
        shuffled = list(whole.documents)
        random.Random(seed).shuffle(shuffled)
        table = score(
            backend, dataclasses.replace(whole, documents=tuple(shuffled)), protocol, reference,
            batch_tokens=batch_tokens,
        )  # fmt: skip
        assert table["doc_id"].to_pylist() == [d.id for d in shuffled]
        for row in table.to_pylist():
            naive = expected[row["doc_id"]]
            assert (row["tokens"], row["windows"]) == (naive.tokens, 1)
            assert row["first_token_nll_nats"] == pytest.approx(naive.first, rel=TOLERANCE)
            largest = max(largest, abs(row["nll_nats"] / naive.nats - 1))
    print(f"{name}: {len(expected)} documents, {sum(n.tokens for n in expected.values())} tokens,"
          f" largest relative difference {largest:.1e}")  # fmt: skip
    assert largest <= TOLERANCE
