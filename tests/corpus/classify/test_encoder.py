"""The second opinion: an encoder trained here from scratch rescores the grey band and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skywright.corpus.classify.encoder import (
    RescoringConfig,
    encoder_scores,
    fine_tune,
    rescore,
)
from skywright.errors import UserError

GOOD, BAD = "the treaty was signed by kings", "buy cheap offers now today"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 20,000 parameters, fine-tuned on two sentences."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

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


def test_the_encoder_learns_and_rescores_only_the_grey_band(encoder: Path) -> None:
    config = RescoringConfig(encoder=str(encoder), max_tokens=32, batch=2)
    good, bad = encoder_scores([GOOD, BAD], config)
    assert good > 0.9 > 0.1 > bad
    before = np.array([0.95, 0.5, 0.05, 0.5])
    after = rescore([BAD, GOOD, GOOD, BAD], before, config)
    assert after[[0, 2]].tolist() == [0.95, 0.05]
    assert after[1] > 0.9
    assert after[3] < 0.1


def test_a_folder_without_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config.json there"):
        encoder_scores([GOOD], RescoringConfig(encoder=str(tmp_path)))
