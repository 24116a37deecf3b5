"""The recipe: one YAML file that says everything a run needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from skywright.config import Config, load
from skywright.corpus.config import CorpusConfig
from skywright.evaluate.config import EvaluateConfig
from skywright.leak.config import LeakConfig
from skywright.model.config import ModelConfig
from skywright.study.config import StudyConfig
from skywright.tokenizer import TokenizerConfig
from skywright.tokens.config import TokensConfig
from skywright.train.config import TrainConfig


class Recipe(Config):
    """Everything a run needs, from pages to report. Paths are relative to the working folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    seed: int = 0
    workdir: Path
    sets: list[Path]
    corpus: CorpusConfig
    tokenizer: TokenizerConfig
    tokens: TokensConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    leak: LeakConfig | None = None
    study: StudyConfig | None = None


def load_recipe(path: Path, overrides: Sequence[str] = (), workdir: Path | None = None) -> Recipe:
    """Read a recipe; `workdir` replaces the recipe's own."""
    extra = [f"workdir={workdir}"] if workdir else []
    return load(path, Recipe, [*overrides, *extra])
