"""Checkpoints of one run: saved while training waits or goes on, and removed by a rule."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from skywright.checkpoint.folder import Tensors, keep, save
from skywright.parallel.world import ALONE, World

_log = logging.getLogger(__name__)


class Saver:
    """Saves into `folder`; after each save all but the last `last` and the named ones are removed.

    With `asynchronous` a save copies its tensors and returns; a thread writes the copy, sealing it
    last. One is in flight at most: the next save waits for it. A save that failed raises at the
    next `check`, `wait` or `save`, and removes no older checkpoint. Of a `world` all processes
    save, in the same order.
    """

    def __init__(
        self, folder: Path, last: int, asynchronous: bool = False, world: World = ALONE
    ) -> None:
        self._folder, self._last, self._world = folder, last, world
        self._pool = ThreadPoolExecutor(1, "checkpoint") if asynchronous else None
        self._flying: Future[None] | None = None

    def save(
        self,
        name: str,
        tensors: Tensors,
        state: Mapping[str, Any],
        beside: Sequence[Path] = (),
        always: Collection[str] = (),
    ) -> None:
        """Save a checkpoint, see `skywright.checkpoint.save`; `always` are the names never removed.

        Neither tensors nor state need be left alone once this has returned. Raises OSError if
        this checkpoint, or the one in flight before it, cannot be written.
        """
        if self._pool is None:
            self._write(name, tensors, state, beside, always)
            return
        self.wait()
        copied = {
            group: {key: tensor.detach().to("cpu", copy=True) for key, tensor in named.items()}
            for group, named in tensors.items()
        }
        frozen = json.loads(json.dumps(dict(state)))
        self._flying = self._pool.submit(
            self._write, name, copied, frozen, list(beside), list(always)
        )

    def check(self) -> None:
        """Raise the error of a save that has failed since; do not wait for one in flight."""
        if self._flying is not None and self._flying.done():
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is in flight; raise the error if it failed."""
        flying, self._flying = self._flying, None
        if flying is not None:
            flying.result()

    def _write(
        self,
        name: str,
        tensors: Tensors,
        state: Mapping[str, Any],
        beside: Sequence[Path],
        always: Collection[str],
    ) -> None:
        save(self._folder / name, tensors, state, beside, self._world)
        if self._world.is_first:
            keep(self._folder, name, self._last, always)

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is in flight. Its failure must not hide an error that is on its way."""
        try:
            self.wait()
        except OSError as failure:
            if error is None:
                raise
            _log.warning("a checkpoint could not be saved: %s", failure)
        finally:
            if self._pool is not None:
                self._pool.shutdown()
