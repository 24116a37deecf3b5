"""Runs a recipe's steps: folders named by what made them, finished ones skipped.

A step writes to `<workdir>/<step>/<key>/`, `key` being a hash of its part of the recipe and of
the content of what it reads. `step.json`, written last, says that the folder is complete. The
link `<workdir>/<step>/current` names the newest. Killed at any moment and run again, a recipe
ends with the same bytes.
"""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, cast

import psutil
import yaml

from skywright import __version__
from skywright.engine.files import (
    atomic_open,
    read_json,
    sha256_file,
    stable_hash,
    sweep_temporary,
    write_json,
)
from skywright.engine.progress import Progress, silent
from skywright.engine.settings import EngineConfig, ExecutorName
from skywright.errors import UserError
from skywright.parallel.world import ALONE, World
from skywright.run.recipe import ENVIRONMENT, RESOLVED, CorpusRecipe, Recipe
from skywright.run.steps import STEPS, Context, Step

STEP_RECORD = "step.json"


@dataclass(frozen=True)
class StepResult:
    """Where a step's output stands and whether this call made it."""

    name: str
    folder: Path
    seconds: float
    skipped: bool


def _steps(recipe: CorpusRecipe) -> list[Step]:
    """The steps this recipe asks for."""
    if not isinstance(recipe, Recipe):
        return [step for step in STEPS if step.name == "corpus"]
    absent = {name for name in ("leak", "study") if getattr(recipe, name) is None}
    return [step for step in STEPS if step.name not in absent]


def _key(recipe: CorpusRecipe, step: Step, inputs: dict[str, str], made: dict[str, str]) -> str:
    """Hash of what makes a step's output: its version, sections, inputs, and earlier steps."""
    return stable_hash(
        {
            "step": step.name,
            "version": step.version,
            "skywright": __version__,
            "sections": recipe.model_dump(mode="json", include=set(step.sections)),
            "sets": inputs["sets"] if step.reads_sets else "",
            "crawl": inputs["crawl"] if step.name == "corpus" else "",
            **({"code": inputs["code"]} if step.name == "corpus" and inputs["code"] else {}),
            "needs": {name: made[name] for name in step.needs if name in made},
            **(
                {"reference": inputs["reference"]}
                if step.name == "leak" and inputs["reference"]
                else {}
            ),
            **(
                {"vocabulary": inputs["vocabulary"]}
                if step.name == "tokenizer" and inputs["vocabulary"]
                else {}
            ),
        }
    )[:16]


def _inputs(recipe: CorpusRecipe) -> dict[str, str]:
    """Content hashes of what comes from outside the recipe: crawl, takedowns, sets, lists."""
    from skywright.corpus.remove import read_takedown
    from skywright.corpus.sources.files import discover
    from skywright.sets import load as load_set

    crawl: list[Any] = [shard.identity() for shard in discover(recipe.corpus.inputs)]
    asked = read_takedown(recipe.workdir / "corpus").asked()
    if asked.urls or asked.domains:
        crawl.append(asked.model_dump(mode="json"))
    sets = [load_set(path) for path in recipe.sets]
    names = [item.name for item in sets]
    if len(set(names)) != len(names):
        raise UserError(
            f"sets: two evaluation sets have one name: {', '.join(sorted(names))}; name each once"
        )
    whole = _outside_the_corpus(recipe, names) if isinstance(recipe, Recipe) else {}
    return {
        "crawl": stable_hash(crawl),
        "code": _code(recipe),
        "sets": stable_hash([[item.name, item.purpose, item.content_hash] for item in sets]),
        **whole,
    }


def _outside_the_corpus(recipe: Recipe, sets: list[str]) -> dict[str, str]:
    """Content hashes of what later steps read from outside: a vocabulary, a leak reference."""
    for field in ("test", "seen", "unseen"):
        wanted = getattr(recipe.leak, field, None)
        if wanted is not None and wanted not in sets:
            raise UserError(
                f"leak.{field}: no set named {wanted!r}; the recipe's sets are "
                f"{', '.join(sets) or 'none'}"
            )
    reference = recipe.leak and recipe.leak.overlap_reference
    if reference and not reference.is_file():
        raise UserError(f"leak.overlap_reference: {reference} is no file; check the path")
    extend = recipe.tokenizer.extend
    for path in extend.files() if extend else ():
        if not path.is_file():
            raise UserError(f"tokenizer.extend: {path} is no file; check the path")
    return {
        "vocabulary": stable_hash([sha256_file(p) for p in extend.files()]) if extend else "",
        "reference": sha256_file(reference) if reference else "",
    }


def _code(recipe: CorpusRecipe) -> str:
    """Content hash of the functions that the recipe names as its own signals and rules, or ""."""
    from skywright.corpus.plugins import find

    refs = [(f"corpus.signals.{name}", ref) for name, ref in recipe.corpus.signals.items()]
    refs += [
        (f"corpus.rules.add.{rule.name}", rule.function)
        for rule in recipe.corpus.rules.add
        if rule.function
    ]
    found = [find(ref, recipe.folder, where).sha256 for where, ref in refs]
    return stable_hash(found) if found else ""


@contextmanager
def locked(workdir: Path, wait: bool = False) -> Iterator[None]:
    """Hold the run's folder, so that two runs never write to it at once.

    Raises UserError while another one holds it, unless this one is to wait.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = open(workdir / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"{workdir}: cannot be written to ({error.strerror}); give another --workdir"
        ) from None
    with lock as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise UserError(
                f"{workdir}: another run is writing here; wait for it or give another --workdir"
            ) from None
        yield


def point(link: Path, folder: Path) -> None:
    """Make `link` name `folder` (relative), atomically."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    os.replace(temporary, link)


def environment() -> dict[str, Any]:
    """The machine and the versions of everything installed."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux: the name that `platform` gives must do
    return {
        "skywright": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "packages": {
            item.metadata["Name"]: item.version
            for item in sorted(distributions(), key=lambda d: d.metadata["Name"].lower())
        },
    }


def _first_step(recipe: CorpusRecipe, only: str | None, start: str | None) -> str | None:
    """The step that `only` or `start` names, None without; UserError if it cannot be meant."""
    if only is not None and start is not None:
        raise UserError("--only and --from cannot both be given; leave one out")
    known, name = [step.name for step in _steps(recipe)], only or start
    if name is not None and name not in known:
        alone = "" if isinstance(recipe, Recipe) else "; it names no part that makes a model"
        raise UserError(f"no step {name!r} in this recipe{alone}; its steps are {', '.join(known)}")
    return name


def survey(recipe: CorpusRecipe) -> Iterator[tuple[Step, Path | None, dict[str, Any] | None]]:
    """Each step with its folder and record; the folder is None while a need is not made.

    A generator: the record of a step is read when the next one is asked for, so that the caller
    may make it in between.
    """
    inputs = _inputs(recipe)
    made: dict[str, str] = {}
    known = {step.name for step in _steps(recipe)}
    for step in _steps(recipe):
        if any(name not in made for name in step.needs if name in known):
            yield step, None, None
            continue
        folder = recipe.workdir / step.name / _key(recipe, step, inputs, made)
        record = folder / STEP_RECORD
        yield step, folder, read_json(record) if record.is_file() else None
        if record.is_file():
            made[step.name] = read_json(record)["content"]


def plan_steps(
    recipe: CorpusRecipe, only: str | None = None, start: str | None = None
) -> list[dict[str, Any]]:
    """What `run_recipe` would do, without doing it: `[{"step", "done", "folder"}]`."""
    first = _first_step(recipe, only, start)
    rows = [
        {"step": step.name, "done": record is not None, "folder": str(folder or "(not known yet)")}
        for step, folder, record in survey(recipe)
    ]
    at = next((place for place, row in enumerate(rows) if row["step"] == first), 0)
    return rows[at:] if only is None else rows[at : at + 1]


def run_recipe(
    recipe: CorpusRecipe,
    only: str | None = None,
    start: str | None = None,
    executor: ExecutorName | EngineConfig = "processes",
    progress: Progress = silent,
    world: World = ALONE,
    wait: bool = False,
) -> Iterator[StepResult]:
    """Run the recipe's steps, yielding each as it is done; see the module's text.

    `only` runs one step, `start` begins at one; what comes before must be done already. Of a
    `world` all processes call this: the first one runs the steps, and the others join it in those
    that are spread over processes (and yield nothing). With `wait`, another run in this folder is
    waited for.
    """
    if not world.is_first:
        _join_in(recipe, executor, world)
        return
    together = _Together(world)
    try:
        yield from _run_steps(recipe, only, start, executor, progress, together, wait)
    finally:
        together.part()


class _Together:
    """How the first process calls the others to a step."""

    def __init__(self, world: World) -> None:
        self.world, self._calling = world, False

    @contextmanager
    def call(self, step: Step, folder: Path, finished: dict[str, Path]) -> Iterator[World]:
        """The world for this step: all processes, who begin it too, if it is one for them."""
        if not step.spread:
            yield ALONE
            return
        self.world.on_first(lambda: (step.name, folder, finished))
        self._calling = True  # an error in the step ends all of them
        yield self.world
        self._calling = False

    def part(self) -> None:
        """Let the others go, unless an error has taken them already."""
        if not self._calling:
            self.world.on_first(lambda: None)


def _join_in(recipe: CorpusRecipe, executor: ExecutorName | EngineConfig, world: World) -> None:
    """Take part in the steps that the first process calls to."""
    steps = {step.name: step for step in STEPS}
    while (called := world.on_first(lambda: None)) is not None:
        name, folder, finished = called
        steps[name].make(Context(cast(Recipe, recipe), folder, finished, executor, silent, world))


def _run_steps(
    recipe: CorpusRecipe,
    only: str | None,
    start: str | None,
    executor: ExecutorName | EngineConfig,
    progress: Progress,
    together: _Together,
    wait: bool,
) -> Iterator[StepResult]:
    waiting_for_start = _first_step(recipe, only, start)
    with locked(recipe.workdir, wait):
        finished: dict[str, Path] = {}
        for step, folder, record in survey(recipe):
            if step.name == waiting_for_start:
                waiting_for_start = None
            if record is None and (folder is None or waiting_for_start):
                raise UserError(
                    f"the step {step.name!r} is not done; run `skywright run` without "
                    "--only and --from, or make that step first"
                )
            assert folder is not None
            made = None
            if record is None:
                made = _make(recipe, step, folder, finished, executor, progress, together)
            elif not waiting_for_start:
                point(folder.parent / "current", folder)
                made = StepResult(step.name, folder, record["seconds"], skipped=True)
            if not finished:  # a recipe that cannot even begin replaces none that could
                _write_run_files(recipe)
            if made is not None:
                yield made
            finished[step.name] = folder
            if step.name == only:
                return


def _make(
    recipe: CorpusRecipe,
    step: Step,
    folder: Path,
    finished: dict[str, Path],
    executor: ExecutorName | EngineConfig,
    progress: Progress,
    together: _Together,
) -> StepResult:
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary(folder)
    with together.call(step, folder, dict(finished)) as world:
        # Of a corpus alone the only step is the corpus, which reads no other part.
        whole = cast(Recipe, recipe)
        outputs = step.make(Context(whole, folder, dict(finished), executor, progress, world))
    content = [[path.name, sha256_file(path)] for path in outputs]
    seconds = round(time.monotonic() - started, 2)
    record = {
        "step": step.name,
        "version": step.version,
        "key": folder.name,
        "content": stable_hash(content),
        "seconds": seconds,
    }
    write_json(folder / STEP_RECORD, record)
    point(folder.parent / "current", folder)
    _write_step_times(recipe)
    return StepResult(step.name, folder, seconds, skipped=False)


def _write_run_files(recipe: CorpusRecipe) -> None:
    """Save what the run was made of beside its output."""
    with atomic_open(recipe.workdir / RESOLVED, "w") as stream:
        yaml.safe_dump(
            recipe.model_dump(mode="json", by_alias=True),
            stream,
            allow_unicode=True,
            sort_keys=False,
        )
    told = {**environment(), "recipe_folder": str(recipe.folder.absolute())}
    write_json(recipe.workdir / ENVIRONMENT, told)


def _write_step_times(recipe: CorpusRecipe) -> None:
    times = {}
    for step in _steps(recipe):
        record = recipe.workdir / step.name / "current" / STEP_RECORD
        if record.is_file():
            found = read_json(record)
            times[step.name] = {
                "key": found["key"],
                "folder": str(record.parent.resolve().relative_to(recipe.workdir.resolve())),
                "seconds": found["seconds"],
            }
    write_json(recipe.workdir / "steps.json", times)
