"""A second opinion on the grey band: a BERT-type encoder that the user brings.

The linear model is sure about most pages; where it is not, an encoder reads the page. torch and
transformers are imported when it is asked, and nothing else of the corpus needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from skywright.config import Config
from skywright.corpus.classify.config import RescoringConfig
from skywright.corpus.classify.examples import Examples, capped, folds
from skywright.engine.files import atomic_folder, read_json, sha256_file, stable_hash
from skywright.errors import UserError

HOST_FOLDS = 5  # one of them is measured on, as in the training of linear models
_HEAD = "ForSequenceClassification"


def encoder_scores(texts: Sequence[str], config: RescoringConfig) -> np.ndarray:
    """Probability of class 1 for each text, float64 (n), by the first `max_tokens` tokens.

    Within a batch texts are padded to its longest, and the result is told apart from that of
    another batch size by rounding only; batches are cut in the order given.
    """
    import torch

    tokenizer, model = _ready(config.encoder)
    model.to(config.device)
    found = []
    with torch.inference_mode():
        for begin in range(0, len(texts), config.batch):
            inputs = tokenizer(
                list(texts[begin : begin + config.batch]), truncation=True, padding=True,
                max_length=config.max_tokens, return_tensors="pt",
            ).to(config.device)  # fmt: skip
            found.append(model(**inputs).logits.float().softmax(-1)[:, 1].cpu().numpy())
    return np.concatenate(found).astype(float)


class TuningConfig(Config):
    """How an encoder gets its head. Learning rate: see `fine_tune`."""

    steps: int = Field(default=200, ge=1)
    batch: int = Field(default=16, ge=1)
    peak_lr: float = Field(default=5e-5, gt=0)
    max_tokens: int = Field(default=512, ge=8)
    pages_a_host: int = Field(default=50, ge=1)
    seed: int = 1


def tune(
    examples: Examples, encoder: Path, out: Path, config: TuningConfig
) -> tuple[Examples, np.ndarray]:
    """Fine-tune `encoder` on four fifths of the hosts into the new folder `out`.

    `examples` are of one label. Returns the examples of the other fifth with their scores,
    float64 (n, 1). Raises UserError when a part lacks one of both kinds, or when `out` exists.
    """
    if out.exists():
        raise UserError(f"{out}: exists already; name a new folder")
    known = examples.take(np.flatnonzero(~np.isnan(examples.targets[:, 0])))
    known = capped(known, config.pages_a_host, config.seed)
    fold = folds(known.hosts, HOST_FOLDS, config.seed)
    taught, held = (known.take(np.flatnonzero(part)) for part in (fold != 0, fold == 0))
    if len(np.unique(taught.targets)) < 2:
        raise UserError(
            f"label {examples.labels[0]!r}: all pages to learn from are of one kind; give both"
        )
    target = taught.targets[:, 0].astype(int).tolist()
    with atomic_folder(out) as folder:
        fine_tune(
            taught.texts, target, encoder, folder, config.steps, config.batch, config.peak_lr,
            config.max_tokens, config.seed,
        )  # fmt: skip
    given = RescoringConfig(encoder=str(out), max_tokens=config.max_tokens, batch=config.batch)
    return held, encoder_scores(held.texts, given)[:, None]


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


def fingerprint(folder: str) -> str:
    """Hash of the files of an encoder's folder, by name and content.

    Raises UserError for a folder that is none, or whose model has no head of two classes: a fresh
    head would score by chance.
    """
    told = _config(folder)
    heads = [name for name in told.get("architectures") or () if name.endswith(_HEAD)]
    if not heads or len(told.get("id2label") or (0, 1)) != 2:
        raise UserError(
            f"{folder}: its model has no head for two classes; give it one with"
            " `skywright corpus classifier tune`"
        )
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return stable_hash([[path.name, sha256_file(path)] for path in files])


def _config(folder: str) -> dict[str, Any]:
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: no config.json there; give an encoder's Hugging Face folder")
    return dict(read_json(path))


@lru_cache(maxsize=1)
def _ready(folder: str) -> tuple[Any, Any]:
    """An encoder that scores, loaded once a process."""
    tokenizer, model = _load(folder)
    return tokenizer, model.eval()


def _load(folder: str) -> tuple[Any, Any]:
    """Tokenizer and model of a folder. Weights are read from safetensors alone: pickled ones could
    run what they like. Code in the folder is not run either.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    _config(folder)
    if not any(Path(folder).glob("*.safetensors")):
        raise UserError(f"{folder}: no weights in safetensors there; save the encoder in that form")
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, num_labels=2, use_safetensors=True, trust_remote_code=False
    )
    return tokenizer, model
