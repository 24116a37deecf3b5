"""The recipe: one YAML file that says everything a run needs, or a corpus alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import Field, PrivateAttr, model_validator

from skywright.config import Config, load, read
from skywright.corpus.config import CorpusConfig, Lang
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate.config import EvaluateConfig
from skywright.leak.config import LeakConfig
from skywright.model.config import ModelConfig
from skywright.parallel.config import ParallelConfig
from skywright.study.config import StudyConfig
from skywright.tokenizer import TokenizerConfig
from skywright.tokens.config import TokensConfig
from skywright.train.config import TrainConfig


class CorpusRecipe(Config):
    """What a corpus alone needs. Paths are relative to the working folder.

    Without `sets` nothing is held out.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    workdir: Path
    sets: list[Path] = []
    corpus: CorpusConfig
    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def folder(self) -> Path:
        """Where the recipe's file is: modules of its own signals and rules stand there."""
        return self._folder


class Recipe(CorpusRecipe):
    """Everything a run needs, from pages to report."""

    sets: list[Path]
    tokenizer: TokenizerConfig
    tokens: TokensConfig
    model: ModelConfig
    train: TrainConfig
    # How the training is spread changes nothing but rounding, so it is no part of what names a run.
    parallel: ParallelConfig | None = Field(
        default=None, description="None: over as many data ranks as processes are started"
    )
    evaluate: EvaluateConfig
    leak: LeakConfig | None = None
    study: StudyConfig | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> Recipe:
        """Refuse before the first step what a later one could only stumble over."""
        wanted, made = self.model.vocab_size, self.tokenizer.vocab_size
        if wanted != made:
            raise UserError(
                f"model.vocab_size: {wanted}, but tokenizer.vocab_size is {made}; make them equal"
            )
        sequence, context = self.train.longest_sequence, self.model.context_tokens
        if sequence > context:
            raise UserError(
                f"train.sequence_tokens: {sequence} is more than model.context_tokens, {context}; "
                "raise the one or lower the other"
            )
        inputs = {item.source for item in self.corpus.inputs}
        if self.tokenizer.by == "source":
            _known("tokenizer.weights", self.tokenizer.weights, inputs, "sources of corpus.inputs")
        for name, source in self.tokens.sources.items():
            _known(f"tokens.sources.{name}.from", source.from_, inputs, "sources of corpus.inputs")
            _known(f"tokens.sources.{name}.lang", source.lang or (), get_args(Lang), "languages")
            if source.quality is not None and source.quality[1] >= self.corpus.classify.bins:
                raise UserError(
                    f"tokens.sources.{name}.quality: there is no bin {source.quality[1]}; "
                    f"corpus.classify.bins is {self.corpus.classify.bins}, so the highest is "
                    f"{self.corpus.classify.bins - 1}"
                )
        sources = self.tokens.sources
        for segment in self.train.segments:
            where = f"train.segments.{segment.name}.mixture"
            _known(where, segment.mixture, sources, "sources of tokens.sources")
        _known("train.epochs.by_source", self.train.epochs.by_source, sources, "sources of tokens")
        _known("train.infilling", self.train.infilling, sources, "sources of tokens.sources")
        if self.study is not None:
            _known("study.source", [self.study.source], sources, "sources of tokens.sources")
        segments = [f"segment:{segment.name}" for segment in self.train.segments]
        for where, names in (
            ("evaluate.checkpoints", self.evaluate.checkpoints),
            ("leak.checkpoints", self.leak.checkpoints if self.leak else "all"),
            ("study.branch_from", [self.study.branch_from] if self.study else "all"),
        ):
            if names != "all":
                ends = [name for name in names if name.startswith("segment:")]
                _known(where, ends, segments, "segments' ends")
        return self


RESOLVED, ENVIRONMENT = "recipe.resolved.yaml", "environment.json"
"""What a run leaves of its recipe, and beside it where and with what it was run."""

RecipeT = TypeVar("RecipeT", bound=CorpusRecipe)


def _known(where: str, names: Iterable[str], known: Iterable[str], what: str) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            raise UserError(f"{where}: there is no {name!r}; the {what} are {', '.join(known)}")


def load_recipe(path: Path, overrides: Sequence[str] = (), workdir: Path | None = None) -> Recipe:
    """Read the recipe of a whole run; `workdir` replaces the recipe's own."""
    return _load(path, Recipe, overrides, workdir)


def load_corpus_recipe(
    path: Path, overrides: Sequence[str] = (), workdir: Path | None = None
) -> CorpusRecipe:
    """Read a recipe that may be one of a corpus alone: it names no part that makes a model.

    That of a whole run comes back as a `Recipe`, and is checked as one.
    """
    named = {
        *read(Path(path))[0],
        *(text.partition("=")[0].partition(".")[0] for text in overrides),
    }
    whole = named & (set(Recipe.model_fields) - set(CorpusRecipe.model_fields))
    return _load(path, Recipe if whole else CorpusRecipe, overrides, workdir)


def _load(
    path: Path, kind: type[RecipeT], overrides: Sequence[str], workdir: Path | None
) -> RecipeT:
    # JSON's quotes are YAML's too: a folder named `2024` or `no` stays a name.
    extra = [f"workdir={json.dumps(str(workdir))}"] if workdir else []
    recipe = load(path, kind, [*overrides, *extra])
    recipe._folder = _folder_of(Path(path))
    return recipe


def _folder_of(path: Path) -> Path:
    """The folder of a recipe; of a run's resolved one that of the file it was made from."""
    beside = path.parent / ENVIRONMENT
    if path.name == RESOLVED and beside.is_file():
        return Path(read_json(beside).get("recipe_folder", path.parent))
    return path.parent
