"""Journals of a run: JSON lines that are appended as it goes and cut back when it resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from skywright.engine.files import atomic_open


class Journal:
    """A JSONL file with one object a step; each line is handed to the system when written."""

    def __init__(self, path: Path, last_step: int) -> None:
        """Open for appending after dropping every line of a step beyond `last_step`.

        A last line that a kill cut short is dropped too.
        """
        lines = _lines_up_to(path, last_step)
        with atomic_open(path, "w") as stream:
            stream.writelines(lines)
        self._stream: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, record: dict[str, Any]) -> None:
        """Append one object."""
        self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._stream.flush()

    def sync(self) -> None:
        """Force what was written to disk: a checkpoint must never be ahead of its journal."""
        os.fsync(self._stream.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()


def _lines_up_to(path: Path, last_step: int) -> list[str]:
    if not path.is_file():
        return []
    kept = []
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                step = json.loads(line)["step"]
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
            if line.endswith("\n") and step <= last_step:
                kept.append(line)
    return kept
