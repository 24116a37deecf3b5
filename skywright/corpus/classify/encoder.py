"""A second opinion on the grey band: a BERT-type encoder that the user brings.

The linear model is sure about most pages; where it is not, an encoder reads the page. torch and
transformers are imported when it is asked, and nothing else of the corpus needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from skywright.config import Config
from skywright.errors import UserError


class RescoringConfig(Config):
    """`encoder`: a Hugging Face folder with a sequence-classification head of two classes (1 is
    the label). Pages whose linear score lies in [`low`, `high`) are scored again.
    """

    encoder: str
    low: float = Field(default=0.2, ge=0, le=1)
    high: float = Field(default=0.8, ge=0, le=1)
    max_tokens: int = Field(default=512, ge=8)
    batch: int = Field(default=16, ge=1)
    device: str = "cpu"


def rescore(texts: Sequence[str], scores: np.ndarray, config: RescoringConfig) -> np.ndarray:
    """Scores (n) with those of the grey band replaced by the encoder's.

    Within a batch pages are padded to its longest, and the result is told apart from that of
    another batch size by rounding only; batches are cut in the order of the pages.
    """
    grey = np.flatnonzero((scores >= config.low) & (scores < config.high))
    fresh = scores.astype(float).copy()
    if len(grey):
        fresh[grey] = encoder_scores([texts[int(i)] for i in grey], config)
    return fresh


def encoder_scores(texts: Sequence[str], config: RescoringConfig) -> np.ndarray:
    """Probability of class 1 for each text, float64 (n), by the first `max_tokens` tokens."""
    import torch

    tokenizer, model = _load(config.encoder)
    model.to(config.device).eval()
    found = []
    with torch.inference_mode():
        for begin in range(0, len(texts), config.batch):
            inputs = tokenizer(
                list(texts[begin : begin + config.batch]), truncation=True, padding=True,
                max_length=config.max_tokens, return_tensors="pt",
            ).to(config.device)  # fmt: skip
            found.append(model(**inputs).logits.float().softmax(-1)[:, 1].cpu().numpy())
    return np.concatenate(found).astype(float)


def fine_tune(
    texts: Sequence[str], target: Sequence[int], encoder: Path, out: Path, steps: int = 200,
    batch: int = 16, peak_lr: float = 5e-5, max_tokens: int = 512, seed: int = 0,
) -> None:  # fmt: skip
    """Give an encoder's folder a head for two classes, train both, save the folder `out`.

    AdamW, linear decay from `peak_lr` (Devlin et al. 2018, arXiv 1810.04805, section A.3: 2e-5 to
    5e-5). Pages of one host should be in `texts` at most a few times: see `examples.capped`.
    """
    import torch

    torch.manual_seed(seed)
    tokenizer, model = _load(str(encoder))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_lr, weight_decay=0.01)
    draw = np.random.default_rng(seed)
    for step in range(steps):
        rows = draw.integers(0, len(texts), batch)
        inputs = tokenizer(
            [texts[int(i)] for i in rows], truncation=True, padding=True, max_length=max_tokens,
            return_tensors="pt",
        )  # fmt: skip
        loss = model(**inputs, labels=torch.tensor([target[int(i)] for i in rows])).loss
        for group in optimizer.param_groups:
            group["lr"] = peak_lr * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _load(folder: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"{folder}: no config.json there; give an encoder's Hugging Face folder")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, num_labels=2
    )
    return tokenizer, model
