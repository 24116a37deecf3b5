"""Journals of a run: JSON lines that are appended as it goes and cut back when it goes back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from skywright.engine.files import atomic_open


class Journal:
    """A JSONL file with one object a step; each line is handed to the system when written."""

    def __init__(self, path: Path, last_step: int, writes: bool = True) -> None:
        """Open for appending after `cut(last_step)`; without `writes` nothing is ever done."""
        self._path, self._writes = path, writes
        self._stream: IO[str] | None = None
        self.cut(last_step)

    def cut(self, last_step: int) -> None:
        """Take out every line of a step beyond `last_step`, and a last line that a kill cut short.

        They are kept aside: `metrics.jsonl` holds the run as its weights have it, and
        `metrics.cut.jsonl` what was computed and then thrown away, in the order it happened.
        """
        if not self._writes:
            return
        self._close()
        kept, cut = _split(self._path, last_step)
        if cut:
            aside = self._path.with_name(f"{self._path.stem}.cut{self._path.suffix}")
            with open(aside, "a", encoding="utf-8") as stream:
                stream.writelines(line.rstrip("\n") + "\n" for line in cut)
                stream.flush()
                os.fsync(stream.fileno())
            with atomic_open(self._path, "w") as stream:
                stream.writelines(kept)
        self._stream = open(self._path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, record: dict[str, Any]) -> None:
        """Append one object."""
        if self._stream is None:
            return
        self._stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()

    def sync(self) -> None:
        """Force what was written to disk: a checkpoint must never be ahead of its journal."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()


def _split(path: Path, last_step: int) -> tuple[list[str], list[str]]:
    """Whole lines of steps up to `last_step`, and all others."""
    if not path.is_file():
        return [], []
    kept: list[str] = []
    cut: list[str] = []
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                good = line.endswith("\n") and json.loads(line)["step"] <= last_step
            except (json.JSONDecodeError, KeyError, TypeError):
                good = False
            (kept if good else cut).append(line)
    return kept, cut
