"""The items of benchmarks: from JSON lines, or from an evaluation set's folder."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from skywright.corpus.decontaminate.config import BenchmarkConfig
from skywright.corpus.decontaminate.index import Item
from skywright.engine.lines import text_lines
from skywright.errors import UserError
from skywright.sets import load
from skywright.sets.folder import DOCUMENTS


def read_items(benchmarks: Sequence[BenchmarkConfig]) -> list[Item]:
    """All items, benchmark by benchmark. Raises UserError naming file, line and field."""
    return [item for config in benchmarks for item in _items(config)]


def _items(config: BenchmarkConfig) -> Iterator[Item]:
    place = Path(config.path)
    if (place / DOCUMENTS).is_file():
        for document in load(place).documents:
            yield Item(config.name, document.id, document.text)
        return
    paths = [Path(name) for name in sorted(glob.glob(config.path, recursive=True))]
    if not paths:
        raise UserError(f"benchmark {config.name!r}: no file at {config.path}; check the path")
    for name, row, where in _rows(paths):
        identity = name if config.id is None else _text(row, (config.id,), where)
        question = _text(row, config.question, where)
        yield Item(config.name, identity, question, _text(row, config.answer, where))


def _text(row: dict[str, Any], fields: Sequence[str], where: str) -> str:
    parts: list[str] = []
    for field in fields:
        if field not in row:
            known = ", ".join(sorted(row)[:12])
            raise UserError(f"{where}: no field {field!r}; it has {known}: name those to look for")
        parts += _words(row[field])
    return " ".join(parts)


def _words(value: Any) -> list[str]:
    """The texts of a field, also of lists and objects in it; null is none."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for inner in value for text in _words(inner)]
    return [] if value is None else [str(value)]


def _rows(paths: Sequence[Path]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(name, row, where) of every line."""
    for path in paths:
        for number, line in enumerate(text_lines(path), 1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError:
                raise UserError(f"{where}: is no JSON; repair or remove the line") from None
            if not isinstance(row, dict):
                raise UserError(f"{where}: is no JSON object; repair or remove the line")
            yield f"{path.name}:{number}", row, where
