"""What all contenders of the training benchmark train: one model, one set of samples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trial import BETAS, CLIP, LR, WEIGHT_DECAY
from skywright.model.config import ModelConfig
from skywright.tokens import Loader, Plan, Shards
from skywright.train import TrainConfig

SEED = 0


@dataclass(frozen=True)
class Case:
    """A model, its batch and how many steps; samples are as long as the model's context."""

    model: ModelConfig
    step_tokens: int
    steps: int

    @classmethod
    def read(cls, folder: Path) -> Case:
        """The case that `write` left."""
        raw = json.loads((folder / "case.json").read_text())
        return cls(ModelConfig.model_validate(raw.pop("model")), **raw)

    def config(self, threads: int, **more: Any) -> TrainConfig:
        """Settings of our trainer, all others at their defaults."""
        segment = {
            "name": "all",
            "tokens": self.steps * self.step_tokens,
            "mixture": {"crawl": 1.0},
            "schedule": {"kind": "constant", "peak_lr": LR},
        }
        settings = {
            "seed": SEED,
            "sequence_tokens": self.model.context_tokens,
            "global_batch_tokens": self.step_tokens,
            "segments": [segment],
            "optimizer": {"betas": BETAS, "weight_decay": WEIGHT_DECAY, "clip": CLIP},
            "threads": threads,
        }
        return TrainConfig.model_validate(settings | more)

    def loader(self, shards_folder: Path) -> Loader:
        """Our loader of the case's samples, in the plan's order."""
        config, shards = self.config(1), Shards.open(shards_folder)
        length = config.sequence_tokens
        return Loader(shards, Plan(SEED, length, shards.sizes([length]), config.segments))

    def write(self, shards_folder: Path, tokenizer: Path, folder: Path) -> None:
        """The folder that a `Trial` names: the case itself, samples, weights to begin from."""
        from skywright.model.decoder import Decoder
        from skywright.model.hf import export

        folder.mkdir()
        shape = self.model.model_dump()
        raw = {"model": shape, "step_tokens": self.step_tokens, "steps": self.steps}
        (folder / "case.json").write_text(json.dumps(raw))
        length = self.model.context_tokens
        rows = self.loader(shards_folder).samples(0, self.steps * self.step_tokens // length)
        np.save(folder / "batches.npy", rows.reshape(self.steps, -1, length + 1).astype(np.uint16))
        model = Decoder(self.model)
        model.initialise(SEED)  # what the trainer does itself
        (folder / "initial").mkdir()
        export(model, tokenizer, folder / "initial")


def make_shards(folder: Path, vocab_size: int, most: int | None = None) -> None:
    """`tokenizer/` trained on the example crawl and `shards/` of it, or of so many documents of
    each language."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks.tokenize import crawl_texts
    from skywright import tokenizer
    from skywright.tokens import TokensConfig, build

    langs = {"en": "en", "code": "code", "zh": "zh-Hans"}
    texts = crawl_texts()
    documents = [(langs[lang], "crawl", text) for lang in texts for text in texts[lang][:most]]
    tokenizer.train(
        tokenizer.TokenizerConfig(vocab_size=vocab_size), documents, folder / "tokenizer"
    )
    columns = zip(*documents, strict=True)
    table = pa.table(dict(zip(("lang", "source", "text"), map(list, columns), strict=True)))
    pq.write_table(table, folder / "documents.parquet")
    config = TokensConfig.model_validate({"sources": {"crawl": {"from": ["crawl"]}}})
    made = tokenizer.Tokenizer.load(folder / "tokenizer")
    build(config, [folder / "documents.parquet"], made, folder / "shards")
