"""Reads a run folder; a step that has not run is None.

A file that is there but lacks a field raises `UserError`
with the file, the field and the command that makes the file anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.report.records import (
    Card,
    Environment,
    Evaluation,
    Leak,
    Metric,
    Plan,
    Record,
    Run,
    StepDone,
    Study,
    TokenizerSummary,
    TrainSummary,
    Validation,
    Waterfall,
)

RecordT = TypeVar("RecordT", bound=Record)


def _invalid(where: str, error: ValidationError, step: str) -> UserError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the whole file"
    return UserError(
        f"{where}: {field}: {first['msg']}; make it again with `skywright run RECIPE --from {step}`"
    )


def _json(path: Path, step: str) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as JSON ({error}); remove it and run "
            f"`skywright run RECIPE --from {step}`"
        ) from None


def _one(path: Path, kind: type[RecordT], step: str) -> RecordT | None:
    if not path.is_file():
        return None
    try:
        return kind.model_validate(_json(path, step))
    except ValidationError as error:
        raise _invalid(str(path), error, step) from None


def _lines(path: Path, kind: type[RecordT], step: str) -> Iterator[RecordT]:
    if not path.is_file():
        return
    adapter = TypeAdapter(kind)
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith("\n"):
                return  # a line that is still being written
            try:
                yield adapter.validate_python(json.loads(line))
            except ValidationError as error:
                raise _invalid(f"{path}, line {number}", error, step) from None
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: not JSON ({error}); make it again with "
                    f"`skywright run RECIPE --from {step}`"
                ) from None


def _recipe(path: Path) -> tuple[str | None, dict[str, Any]]:
    if not path.is_file():
        return None, {}
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({error}); run the recipe again") from None
    return text, values if isinstance(values, dict) else {}


def read_run(folder: Path) -> Run:
    """Read what the steps left in `folder`.

    Each step's files are read from `<folder>/<step>/current/`. Raises `UserError` if `folder` is
    no folder, or if a file in it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; run `skywright run RECIPE` first")
    recipe, values = _recipe(folder / "recipe.resolved.yaml")
    train = folder / "train" / "current"
    steps: dict[str, StepDone] = {}
    finished = None
    steps_path = folder / "steps.json"
    if steps_path.is_file():
        try:
            steps = TypeAdapter(dict[str, StepDone]).validate_python(_json(steps_path, "corpus"))
        except ValidationError as error:
            raise _invalid(str(steps_path), error, "corpus") from None
        finished = datetime.fromtimestamp(steps_path.stat().st_mtime, UTC)
    model = values.get("model")
    return Run(
        name=str(values.get("name") or folder.resolve().name),
        finished=finished,
        recipe=recipe,
        model=model if isinstance(model, dict) else {},
        environment=_one(folder / "environment.json", Environment, "corpus"),
        steps=steps,
        card=_one(folder / "corpus/current/card.json", Card, "corpus"),
        waterfall=_one(folder / "corpus/current/waterfall.json", Waterfall, "corpus"),
        tokenizer=_one(folder / "tokenizer/current/summary.json", TokenizerSummary, "tokenizer"),
        plan=_one(train / "plan.json", Plan, "train"),
        train=_one(train / "summary.json", TrainSummary, "train"),
        metrics=tuple(_lines(train / "metrics.jsonl", Metric, "train")),
        validation=tuple(_lines(train / "validation.jsonl", Validation, "train")),
        evaluation=_one(folder / "evaluate/current/summary.json", Evaluation, "evaluate"),
        leak=_one(folder / "leak/current/summary.json", Leak, "leak"),
        study=_one(folder / "study/current/summary.json", Study, "study"),
    )
