"""What each step of a recipe calls: the rooms joined, one short function a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skywright.engine.files import read_json, write_json
from skywright.engine.progress import Progress
from skywright.engine.settings import EngineConfig, ExecutorName, engine_of
from skywright.errors import UserError
from skywright.parallel.world import ALONE, World
from skywright.run.recipe import Recipe
from skywright.sets import EvaluationSet
from skywright.study.config import StudyConfig
from skywright.train.config import TrainConfig

if TYPE_CHECKING:
    from skywright.evaluate.step import EvaluatedModel
    from skywright.tokens import Plan, Shards, SourceSize


@dataclass(frozen=True)
class Context:
    """What a step is given: the recipe, its own folder, and the folders of finished steps."""

    recipe: Recipe
    folder: Path
    finished: dict[str, Path]
    executor: ExecutorName | EngineConfig
    progress: Progress
    world: World = ALONE

    def sets(self, *purposes: str) -> list[EvaluationSet]:
        """The recipe's evaluation sets of these purposes (all when none is named), in order."""
        from skywright.sets import load as load_set

        found = [load_set(path) for path in self.recipe.sets]
        return [item for item in found if not purposes or item.purpose in purposes]

    @property
    def scores(self) -> Path:
        """The run's score store: no step scores again what another one has scored."""
        return self.recipe.workdir / "scores"

    def tokenizer(self) -> Any:
        """The trained tokenizer."""
        from skywright.tokenizer import Tokenizer

        return Tokenizer.load(self.finished["tokenizer"])

    def shards(self) -> Shards:
        """The token shards."""
        from skywright.tokens import Shards

        return Shards.open(self.finished["tokens"])

    def models(self) -> list[EvaluatedModel]:
        """Exported checkpoints of the training step, oldest first."""
        return exported_models(self.finished["train"])


@dataclass(frozen=True)
class Step:
    """One step: `make` fills the folder and returns the files that stand for its content."""

    name: str
    version: str
    needs: tuple[str, ...]
    sections: tuple[str, ...]  # parts of the recipe that change the output
    reads_sets: bool
    make: Callable[[Context], Sequence[Path]]
    spread: bool = False  # over all processes of the command; others are the first one's


def exported_models(train_folder: Path) -> list[EvaluatedModel]:
    """`[{"name", "path", "tokens", "segment"}]` of the Hugging Face folders a training made."""
    summary = read_json(train_folder / "summary.json")
    return [
        {
            "name": item["name"],
            "path": str(train_folder / item["path"]),
            "tokens": item["tokens"],
            "segment": item["segment"],
        }
        for item in summary["checkpoints"]
    ]


def _corpus(context: Context) -> Sequence[Path]:
    from skywright.corpus.card import FILE, counts
    from skywright.corpus.pipeline import build

    built = build(
        context.recipe.corpus,
        context.sets(),
        context.folder,
        stages=context.folder.parent / "stages",
        executor=context.executor,
        progress=context.progress,
        folder=context.recipe.folder,
    )
    write_json(context.folder / FILE, counts(context.folder))
    return built.documents


def _tokenizer(context: Context) -> Sequence[Path]:
    from skywright.tokenizer import extend, train
    from skywright.tokenizer.sample import read_documents

    config = context.recipe.tokenizer
    paths = sorted((context.finished["corpus"] / "documents").glob("*.parquet"))
    if config.extend is None:
        train(config, read_documents(paths), context.folder, context.progress)
    else:
        extend(config, paths, context.folder, context.progress)
    return [context.folder / "tokenizer.json", context.folder / "tokenizer.model"]


def _tokens(context: Context) -> Sequence[Path]:
    from skywright.tokens import build

    documents = sorted((context.finished["corpus"] / "documents").glob("*.parquet"))
    build(
        context.recipe.tokens,
        documents,
        context.tokenizer(),
        context.folder,
        context.progress,
        tasks=context.folder.parent / "tasks",
        workers=1 if engine_of(context.executor).executor == "inline" else os.cpu_count() or 1,
    )
    return [context.folder / "manifest.json"]


def training_plan(recipe: Recipe, tokens_folder: Path) -> Plan:
    """The plan of a recipe's training over finished token shards."""
    from skywright.tokens import Shards

    return _plan(recipe.train, Shards.open(tokens_folder))


def expected_plan(recipe: Recipe) -> Plan:
    """The plan over sources that are not built yet, of the sizes that the recipe expects.

    Raises UserError naming the sources whose size it does not tell.
    """
    from skywright.tokens import SourceSize

    sources = recipe.tokens.sources
    unknown = sorted(name for name, source in sources.items() if source.expected_tokens is None)
    if unknown:
        raise UserError(
            f"tokens.sources.{unknown[0]}: there are no shards and no expected_tokens; build the "
            "tokens first (`skywright run RECIPE --only tokens`), or say how many you expect"
        )
    lengths = recipe.train.sequence_lengths
    sizes = {
        name: SourceSize.declared(source.expected_tokens or 0, lengths)
        for name, source in sources.items()
    }
    return _plan_of(recipe.train, sizes)


def _plan(config: TrainConfig, shards: Shards) -> Plan:
    return _plan_of(config, shards.sizes(config.sequence_lengths, config.packing))


def _plan_of(config: TrainConfig, sizes: Mapping[str, SourceSize]) -> Plan:
    from skywright.tokens import Plan

    return Plan(config.seed, config.sequence_tokens, sizes, config.segments, config.epochs)


def _train(context: Context) -> Sequence[Path]:
    from skywright.tokens import summary

    shards = context.shards()
    plan = _plan(context.recipe.train, shards)
    if context.recipe.study is not None:
        # A branch that cannot be carried out is refused now, not after the training.
        _plan(branch_config(context.recipe.train, context.recipe.study), shards)
    if context.world.is_first:
        write_json(context.folder / "plan.json", summary(plan))
    _train_model(context, context.recipe.train, plan, shards, context.folder)
    if not context.world.is_first:
        return []
    return [Path(item["path"]) / "model.safetensors" for item in exported_models(context.folder)]


def _train_model(
    context: Context,
    config: TrainConfig,
    plan: Plan,
    shards: Shards,
    out: Path,
    initial: Path | None = None,
) -> None:
    from skywright.tokens import Loader
    from skywright.train import train

    train(
        config,
        context.recipe.model,
        plan,
        Loader(shards, plan, config.packing, config.infilling),
        context.finished["tokenizer"],
        [] if initial else context.sets("domain"),  # a branch is measured after it, by the study
        out,
        context.progress,
        initial,
        context.world,
        # A branch is trained by the first process alone, however the run was spread.
        None if initial else context.recipe.parallel,
    )


def _evaluate(context: Context) -> Sequence[Path]:
    from skywright.evaluate import run
    from skywright.evaluate.unigram import count_tokens

    run(
        context.recipe.evaluate,
        context.models(),
        context.sets("domain"),
        context.tokenizer(),
        context.folder,
        context.progress,
        count_tokens(context.shards()),
        context.scores,
    )
    return [context.folder / "summary.json"]


def _leak(context: Context) -> Sequence[Path]:
    from skywright.leak import run

    assert context.recipe.leak is not None
    run(
        context.recipe.leak,
        context.models(),
        context.sets(),
        context.tokenizer(),
        context.folder,
        context.progress,
        context.scores,
    )
    return [context.folder / "summary.json"]


def _study(context: Context) -> Sequence[Path]:
    from skywright.study import run

    study = context.recipe.study
    assert study is not None
    shards = context.shards()

    def train_branch(start: EvaluatedModel, out: Path) -> list[EvaluatedModel]:
        config = branch_config(context.recipe.train, study)
        plan = _plan(config, shards)
        _train_model(context, config, plan, shards, out, Path(start["path"]))
        return exported_models(out)

    run(
        study,
        context.models(),
        context.sets("domain"),
        context.tokenizer(),
        train_branch,
        context.folder,
        context.progress,
        context.scores,
    )
    return [context.folder / "summary.json"]


def branch_config(base: TrainConfig, study: StudyConfig) -> TrainConfig:
    """Training settings of a branch: the base run's, with one constant segment of one source."""
    from skywright.train import ScheduleConfig, SegmentConfig

    segment = SegmentConfig(
        name="branch",
        tokens=study.tokens,
        mixture={study.source: 1.0},
        schedule=ScheduleConfig(kind="constant", peak_lr=study.peak_lr),
    )
    return base.model_copy(
        update={
            "seed": study.seed,
            "segments": [segment],
            "validate_every": None,
            "checkpoint_every": None,
            "export_every": None,
        }
    )


def _report(context: Context) -> Sequence[Path]:
    from skywright.report import build

    return [build(context.recipe.workdir, context.folder / "report.html")]


STEPS = (
    Step("corpus", "2", (), ("corpus",), True, _corpus),
    Step("tokenizer", "1", ("corpus",), ("tokenizer",), False, _tokenizer),
    Step("tokens", "2", ("corpus", "tokenizer"), ("tokens",), False, _tokens),
    Step("train", "2", ("tokenizer", "tokens"), ("model", "train"), True, _train, spread=True),
    Step("evaluate", "4", ("tokenizer", "tokens", "train"), ("evaluate",), True, _evaluate),
    Step("leak", "3", ("tokenizer", "train"), ("leak",), True, _leak),
    Step("study", "2", ("tokenizer", "tokens", "train"), ("study", "model", "train"), True, _study),
    Step("report", "1", ("corpus", "tokenizer", "tokens", "train", "evaluate", "leak", "study"),
         (), False, _report),
)  # fmt: skip
