"""A whole small run on generated text: tokenizer, shards, plan, one evaluation set; made once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skywright import tokenizer as tokenizer_room
from skywright.engine.progress import Progress, silent
from skywright.model.config import ModelConfig
from skywright.parallel.config import ParallelConfig
from skywright.parallel.world import ALONE, World
from skywright.sets import EvaluationDocument, EvaluationSet
from skywright.sets import load as load_set
from skywright.sets.folder import freeze
from skywright.tokenizer import Tokenizer, TokenizerConfig
from skywright.tokens import Loader, Plan, Shards, TokensConfig, build
from skywright.train import TrainConfig, train

VOCABULARY = 420
MODEL = ModelConfig(
    vocab_size=VOCABULARY, hidden=32, layers=2, heads=2, ffn_hidden=64, context_tokens=64
)
SEGMENTS: list[dict[str, Any]] = [
    {
        "name": "one",
        "tokens": 32 * 220,
        "mixture": {"en": 0.5, "zh": 0.5},
        "schedule": {"kind": "cosine", "peak_lr": 3e-3, "min_lr": 3e-4, "warmup_tokens": 1024},
    },
    {
        "name": "two",
        "tokens": 32 * 100,
        "mixture": {"en": 0.2, "zh": 0.8},
        "schedule": {"kind": "constant", "peak_lr": 3e-4},
    },
]
WORDS = {
    "en": "the a river boat small old goes sees under over bridge and then we they",
    "zh": "我们 今天 河 上 的 小 船 看见 旧 桥 然后 他们 走 过 去",
}
TRAIN: dict[str, Any] = {
    "seed": 3,
    "sequence_tokens": 32,
    "global_batch_tokens": 256,
    "micro_batch_tokens": 128,
    "segments": SEGMENTS,
    "validate_every": 2048,
    "checkpoint_every": 1024,
    "threads": 1,
    "keep": 2,
}


def sentences(lang: str, seed: int, count: int) -> str:
    """Text with some structure to learn, drawn from `seed`."""
    words = WORDS[lang].split()
    draw = random.Random(f"{lang}{seed}")
    space, stop = (" ", ". ") if lang == "en" else ("", "。")
    return "".join(
        space.join(draw.choices(words, k=draw.randint(4, 9))) + stop for _ in range(count)
    )


def make(folder: Path) -> None:
    """Tokenizer, shards and evaluation set in `folder`."""
    texts = [("en", sentences("en", i, 30)) for i in range(60)]
    texts += [("zh-Hans", sentences("zh", i, 30)) for i in range(60)]
    tokenizer_room.train(
        TokenizerConfig(vocab_size=VOCABULARY, sample_bytes=100_000, character_coverage=1.0),
        [(lang, "made", text) for lang, text in texts],
        folder / "tokenizer",
    )
    columns = [list(column) for column in zip(*texts, strict=True)]
    table = pa.table({"source": ["made"] * len(texts), "lang": columns[0], "text": columns[1]})
    pq.write_table(table, folder / "documents.parquet")
    build(
        TokensConfig(
            sources={
                "en": {"from": ["made"], "lang": ["en"]},
                "zh": {"from": ["made"], "lang": ["zh-Hans"]},
            }
        ),
        [folder / "documents.parquet"],
        Tokenizer.load(folder / "tokenizer"),
        folder / "tokens",
    )
    documents = [
        EvaluationDocument.of(sentences("en", 1000 + i, 10), "held_out", "en", "CC0-1.0")
        for i in range(5)
    ]
    freeze(folder / "set", "held_out", "held_out", "en", documents, "domain", "generated")


@dataclass(frozen=True)
class Small:
    """The folder made by `make`, with what is needed to train on it."""

    folder: Path

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    @property
    def sets(self) -> list[EvaluationSet]:
        return [load_set(self.folder / "set")]

    def train(
        self,
        out: Path,
        model: ModelConfig = MODEL,
        initial: Path | None = None,
        sets: list[EvaluationSet] | None = None,
        plan_seed: int = 7,
        loader_wrapper: Any = None,
        progress: Progress = silent,
        world: World = ALONE,
        layout: ParallelConfig | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Train into `out` with TRAIN and `changes`."""
        config = TrainConfig.model_validate(TRAIN | changes)
        shards = Shards.open(self.folder / "tokens")
        plan = Plan(
            plan_seed,
            config.sequence_tokens,
            shards.sizes(config.sequence_lengths, config.packing),
            config.segments,
        )
        loader = Loader(shards, plan, config.packing, config.infilling)
        if loader_wrapper is not None:
            loader = loader_wrapper(loader)
        return train(
            config,
            model,
            plan,
            loader,
            self.tokenizer,
            self.sets if sets is None else sets,
            out,
            progress,
            initial,
            world,
            layout,
        )
