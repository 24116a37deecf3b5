"""The n-gram model: known text surprises less, and the numbers are those of the formula."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skywright.corpus.classify.ngrams import LAMBDAS, VOCABULARY, NgramModel, parse
from skywright.corpus.config import CorpusConfig
from skywright.corpus.pipeline import build
from skywright.errors import UserError
from tests.corpus.pages import write
from tests.corpus.test_pipeline import essay


def test_known_text_surprises_less_than_salad() -> None:
    good = "the treaty was signed by the ministers of both kingdoms. 该条约由两国大臣签署。"
    model = NgramModel.train(pa.array([good] * 3), 16)
    salad = " ".join(reversed(good.split()))
    known, mixed, strange, empty = model.nats(pa.array([good, salad, "qqq zzz xxx", "..."]))
    assert known < mixed < strange
    assert strange == pytest.approx(math.log(VOCABULARY / LAMBDAS[3]))
    assert empty == 0.0


def test_the_numbers_follow_the_formula() -> None:
    model = NgramModel.train(pa.array(["a b a c"]), 16)
    three, two, one, rest = LAMBDAS
    a = rest / VOCABULARY + one * 2 / 4
    b = rest / VOCABULARY + one * 1 / 4 + two * 1 / 2
    c = rest / VOCABULARY + one * 1 / 4 + two * 1 / 2 + three * 0
    a_after_b = rest / VOCABULARY + one * 2 / 4 + two * 1 + three * 1
    assert model.nats(pa.array(["a b", "a c"])).tolist() == pytest.approx(
        [-(math.log(a) + math.log(b)) / 2, -(math.log(a) + math.log(c)) / 2]
    )
    (value,) = model.nats(pa.array(["a b a"]))
    assert value == pytest.approx(-(math.log(a) + math.log(b) + math.log(a_after_b)) / 3)


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    model = NgramModel.train(pa.array(["a b a c"]), 10)
    digest = model.save(tmp_path / "n.safetensors")
    assert digest == NgramModel.train(pa.array(["a b a c"]), 10).save(tmp_path / "m.safetensors")
    loaded = parse((tmp_path / "n.safetensors").read_bytes())
    assert np.array_equal(loaded.counts, model.counts)
    with pytest.raises(UserError, match="no n-gram model"):
        parse(b"something else")
    with pytest.raises(UserError, match="no text"):
        NgramModel.train(pa.array(["..."]))


def test_a_recipe_stores_surprise_and_its_bins(tmp_path: Path) -> None:
    good = [essay(f"town {n}") for n in range(8)]
    NgramModel.train(pa.array(good), 16).save(tmp_path / "en.safetensors")
    salad = [" ".join(sorted(essay(f"harbour {n}").split())) for n in range(8)]
    rows = [{"text": text, "kind": kind} for kind, part in (("good", good), ("salad", salad))
            for text in part]  # fmt: skip
    write(tmp_path / "pages.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    config = {
        "inputs": [{"source": "a", "path": str(tmp_path / "pages.jsonl"), "lang": "en"}],
        "rules": {"lang": {"en": {"off": ["*"]}}},
        "duplicates": {"jaccard": 1.0},
        "classify": {"models": [], "bins": 2, "ngrams": {"en": str(tmp_path / "en.safetensors")}},
        "partitions": 1,
    }
    result = build(CorpusConfig.model_validate(config), [], tmp_path / "out", "inline")
    metas = [json.loads(m) for p in result.documents for m in pq.read_table(p)["meta"].to_pylist()]
    assert {(meta["kind"], meta["ngram_bin"]) for meta in metas} == {("good", 0), ("salad", 1)}
    assert not any("quality" in meta for meta in metas)
    assert max(m["ngram_nats"] for m in metas if m["ngram_bin"] == 0) < min(
        m["ngram_nats"] for m in metas if m["ngram_bin"] == 1
    )
