"""The second opinion: an encoder trained here from scratch rescores the grey band and no more."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from skywright.corpus.classify.config import RescoringConfig
from skywright.corpus.classify.encoder import (
    TuningConfig,
    encoder_scores,
    fine_tune,
    fingerprint,
    tune,
)
from skywright.corpus.classify.examples import Examples
from skywright.corpus.config import CorpusConfig
from skywright.corpus.pipeline import build
from skywright.corpus.publish import CorpusResult
from skywright.corpus.release import lineage
from skywright.errors import UserError
from tests.corpus.pages import write
from tests.corpus.test_pipeline import essay

GOOD, BAD = "the treaty was signed by kings", "buy cheap offers now today"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 20,000 parameters, fine-tuned on two sentences."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD.split(), *BAD.split()]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    shape = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertForSequenceClassification(shape).save_pretrained(folder)
    out = tmp_path_factory.mktemp("tuned")
    fine_tune([GOOD, BAD], [1, 0], folder, out, steps=60, batch=8, peak_lr=3e-3, max_tokens=32)
    return out


def test_the_encoder_learns_what_it_is_shown(encoder: Path) -> None:
    config = RescoringConfig(encoder=str(encoder), max_tokens=32, batch=2)
    good, bad = encoder_scores([GOOD, BAD], config)
    assert good > 0.9 > 0.1 > bad


def test_a_folder_without_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config.json there"):
        encoder_scores([GOOD], RescoringConfig(encoder=str(tmp_path)))


def test_a_tuned_encoder_is_measured_on_hosts_it_has_not_seen(
    encoder: Path, tmp_path: Path
) -> None:
    pages = [(f"{(GOOD, BAD)[n % 2]} {n}", f"host{n}.org", 1 - n % 2) for n in range(40)]
    examples = Examples(
        ("good",), tuple(p[0] for p in pages), ("en",) * 40, tuple(p[1] for p in pages),
        np.array([[p[2]] for p in pages], float),
    )  # fmt: skip
    config = TuningConfig(steps=20, batch=4, peak_lr=3e-3, max_tokens=16)
    held, scores = tune(examples, encoder, tmp_path / "out", config)
    assert len(held.hosts) == 8
    assert ((scores > 0.5) == (held.targets == 1)).all()
    assert len(fingerprint(str(tmp_path / "out"))) == 64
    with pytest.raises(UserError, match="exists already"):
        tune(examples, encoder, tmp_path / "out", config)
    with pytest.raises(UserError, match="of one kind"):
        tune(examples.take(range(0, 40, 2)), encoder, tmp_path / "no", config)


# ---------------------------------------------------------------- as a step of a recipe


def corpus(folder: Path, out: Path, encoder: Path | None, **classify: object) -> CorpusResult:
    """A corpus of 24 pages, half of them of the encoder's good words, in the middle of words that
    the linear model is unsure about.
    """
    rows = [
        {"text": f"{(GOOD if n % 2 else BAD)} number {n} of the page, {essay(f'town {n}')}",
         "url": f"http://site.org/{n}"}
        for n in range(24)
    ]  # fmt: skip
    write(folder / "pages.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    if encoder is not None:
        classify["rescore"] = {"encoder": str(encoder), "max_tokens": 12, "batch": 4,
                               **classify.pop("rescore", {})}  # type: ignore[dict-item]  # fmt: skip
    return build(config_of(folder, **classify), [], out, "inline")


def config_of(folder: Path, **classify: object) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "inputs": [{"source": "a", "path": str(folder / "pages.jsonl"), "lang": "en"}],
            "rules": {"lang": {"en": {"off": ["*"]}}},
            "classify": {"bins": 2, **classify},
            "partitions": 1,
        }
    )


def scores(result: CorpusResult) -> dict[str, dict[str, float]]:
    """Scores by label, then by record."""
    found: dict[str, dict[str, float]] = {}
    for path in (result.folder / "scores").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            assert found.setdefault(row["label"], {}).setdefault(row["record"], row["score"])
    return found


def test_a_recipe_gives_the_grey_band_to_the_encoder(encoder: Path, tmp_path: Path) -> None:
    before = scores(corpus(tmp_path, tmp_path / "linear", None))
    linear = sorted(before["quality"].values())
    band = [float(linear[6]), float(linear[18])]
    result = corpus(tmp_path, tmp_path / "again", encoder, rescore={"band": band})
    after = scores(result)
    grey = {name for name, score in before["quality"].items() if band[0] <= score < band[1]}
    assert len(grey) == 12
    assert set(after["quality_linear"]) == grey
    for name, score in before["quality"].items():
        if name in grey:
            assert after["quality_linear"][name] == score
            assert (after["quality"][name] > 0.5) == name.endswith(GOODS)
        else:
            assert after["quality"][name] == score
    assert {label: after[label] for label in before if label != "quality"} == {
        label: before[label] for label in before if label != "quality"
    }
    metas = [json.loads(m) for p in result.documents for m in pq.read_table(p)["meta"].to_pylist()]
    told = sorted(meta["quality"] for meta in metas)
    assert told == pytest.approx(sorted(after["quality"].values()), abs=1e-4)
    assert sorted(meta["quality_bin"] for meta in metas) == [0] * 12 + [1] * 12


GOODS = tuple(f":{n + 1}" for n in range(24) if n % 2)


def test_the_encoder_is_named_by_its_files_and_not_its_place(encoder: Path, tmp_path: Path) -> None:
    def tasks(out: Path) -> set[str]:
        return {path.name for path in (out / "stages" / "rescore").iterdir()}

    corpus(tmp_path, tmp_path / "out", encoder)
    first = tasks(tmp_path / "out")
    told = lineage(tmp_path / "out", [], config_of(tmp_path, rescore={"encoder": str(encoder)}))
    assert told["models"][str(encoder)] == fingerprint(str(encoder))
    shutil.copytree(encoder, tmp_path / "elsewhere")
    corpus(tmp_path, tmp_path / "out", tmp_path / "elsewhere")
    assert tasks(tmp_path / "out") == first
    config = json.loads((tmp_path / "elsewhere" / "config.json").read_text())
    (tmp_path / "elsewhere" / "config.json").write_text(json.dumps(config | {"note": "another"}))
    corpus(tmp_path, tmp_path / "out", tmp_path / "elsewhere")
    assert tasks(tmp_path / "out") > first


def test_an_encoder_without_a_head_is_refused(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "bare")
    config = json.loads((encoder / "config.json").read_text())
    (tmp_path / "bare" / "config.json").write_text(
        json.dumps(config | {"architectures": ["BertModel"]})
    )
    with pytest.raises(UserError, match="no head for two classes; give it one with"):
        corpus(tmp_path, tmp_path / "out", tmp_path / "bare")


def test_pickled_weights_are_not_opened(encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(encoder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Mark(tmp_path / "opened")))
    with pytest.raises(UserError, match="no weights in safetensors there"):
        encoder_scores([GOOD], RescoringConfig(encoder=str(folder)))
    assert not (tmp_path / "opened").exists()


class Mark:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)
