"""A checkpoint folder: tensors in torch's distributed layout, trainer.json, and a seal.

    step-00000100/
      .metadata                  where each tensor's parts are (torch.distributed.checkpoint)
      __0_0.distcp ...           the parts; the first number is that of the process that wrote it
      trainer.json               everything else, as JSON; its "model" is the model's config
      tokenizer.json ...         the tokenizer, so that the folder can be scored by itself
      COMPLETE                   written last: SHA-256 of each file above

A folder without COMPLETE, or with a file that differs from it, does not count as a checkpoint.
The tensors' index is a pickle of torch's: read only checkpoints of your own; to hand a model to
someone, export a Hugging Face folder.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from skywright.engine.files import (
    atomic_folder,
    fsync_folder,
    read_json,
    sha256_file,
    sweep_temporary,
    write_json,
)
from skywright.errors import UserError
from skywright.parallel.world import ALONE, World

SEAL = "COMPLETE"
STATE = "trainer.json"

_PROBE_BYTES = 1 << 20

Tensors = Mapping[str, Mapping[str, Tensor]]
"""Groups of named tensors, such as {"weights": {...}, "exp_avg": {...}}."""

_log = logging.getLogger(__name__)


def name_of(step: int) -> str:
    """The folder's name for a step: step-00000100."""
    return f"step-{step:08d}"


def _quietly(function: Any, tensors: Tensors, path: Path, among: dist.ProcessGroup | None) -> None:
    with warnings.catch_warnings():
        # torch warns that no process group is running: one process is what is meant.
        warnings.filterwarnings("ignore", message=".*torch.distributed.*", category=UserWarning)
        function(
            {group: dict(named) for group, named in tensors.items()},
            checkpoint_id=str(path),
            process_group=among,
            no_dist=among is None,
        )


def save(
    path: Path,
    tensors: Tensors,
    state: Mapping[str, Any],
    beside: Sequence[Path] = (),
    world: World = ALONE,
) -> None:
    """Write a checkpoint at `path`; it appears there only when complete and on disk.

    `state` must be JSON; the files `beside` (a tokenizer's) are copied into the folder. An intact
    checkpoint that already stands there is left as it is; a damaged one is replaced. Raises
    OSError if the disk is full or the like; then nothing stands at `path`.

    Of a `world` all processes call it, each with its own tensors or parts of tensors; the folder
    must be one that they all see. State and files are the first one's; an error is raised on all.
    """
    path, group = Path(path), world.saving
    with ExitStack() as opened:

        def begin() -> Path | None:
            if path.exists():
                if problem(path) is None:
                    return None
                shutil.rmtree(path)
            return opened.enter_context(atomic_folder(path))

        temporary = world.on_first(begin, group)
        if temporary is None:
            return
        try:
            _quietly(dcp.save, tensors, temporary, group)
        except CheckpointException as error:
            raise _cause(error, temporary) from error
        # Each process has written files of its own, and reads them back.
        own = {p.name: sha256_file(p) for p in sorted(temporary.glob(f"__{world.rank}_*"))}
        written = world.gathered(own, group)

        def seal() -> None:
            write_json(temporary / STATE, dict(state))
            for file in beside:
                shutil.copyfile(file, temporary / file.name)
            sums = {name: checksum for named in written for name, checksum in named.items()}
            for file in sorted(p for p in temporary.iterdir() if p.is_file()):
                sums.setdefault(file.name, sha256_file(file))
            write_json(temporary / SEAL, sums)
            opened.close()  # flushes everything and renames

        world.on_first(seal, group)


def _cause(error: CheckpointException, folder: Path) -> OSError:
    """The system's reason why torch could not write into `folder`.

    torch drops it ("unexpected pos 704 vs 598" is a full disk), so it is asked for again.
    """
    try:
        with open(folder / "probe", "wb") as stream:
            stream.write(bytes(_PROBE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as reason:
        return OSError(reason.errno, reason.strerror, str(folder.parent))
    failure = next(iter(error.failures.values()))[0]
    return OSError(f"{folder.parent}: torch could not write the tensors ({failure})")


def problem(path: Path) -> str | None:
    """What is wrong with the checkpoint at `path`, or None if it is whole."""
    try:
        sealed = read_json(path / SEAL)
    except FileNotFoundError:
        return f"no {SEAL} file: it was never finished"
    except (OSError, json.JSONDecodeError) as error:
        return f"{SEAL} cannot be read ({error})"
    for name, checksum in sealed.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if sha256_file(path / name) != checksum:
            return f"{name} differs from its checksum in {SEAL}"
    return None


def read_state(path: Path, checked: bool = False) -> dict[str, Any]:
    """The JSON state of a checkpoint. Raises UserError if the checkpoint is not whole.

    `checked` says that it was just found whole (by `latest`), so that it is not read through again.
    """
    wrong = None if checked else problem(path)
    if wrong is not None:
        raise UserError(f"{path}: not a usable checkpoint: {wrong}; name another one")
    state: dict[str, Any] = read_json(path / STATE)
    return state


def load(
    path: Path, tensors: Tensors, checked: bool = False, world: World = ALONE
) -> dict[str, Any]:
    """Fill `tensors` in place from the checkpoint at `path` and return its JSON state.

    Groups and tensors that are not asked for are left unread. Raises UserError if the checkpoint
    is not whole (`checked`: see `read_state`), or has no tensor of a name and shape asked for.
    Of a `world` all processes call it, each for its own parts; the checkpoint may have been saved
    by another number of them.
    """
    state = read_state(path, checked)
    stored = dcp.FileSystemReader(str(path)).read_metadata().state_dict_metadata
    for group, named in tensors.items():
        for name, tensor in named.items():
            size = getattr(stored.get(f"{group}.{name}"), "size", None)
            if size is None or tuple(size) != tuple(tensor.shape):
                found = "absent" if size is None else f"of shape {tuple(size)}"
                raise UserError(
                    f"{path}, tensor {group}.{name}: {found}, the model here needs "
                    f"{tuple(tensor.shape)}; the checkpoint is of another model"
                )
    _quietly(dcp.load, tensors, path, world.control)
    return state


def _by_step(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.is_dir()) if folder.is_dir() else []


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`, or None.

    Unfinished and damaged ones are passed over, each with a logged warning. What a killed writer
    left under a temporary name is removed.
    """
    sweep_temporary(folder)
    for path in reversed(_by_step(folder)):
        wrong = problem(path)
        if wrong is None:
            return path
        _log.warning("%s is passed over: %s; the one before it is used", path, wrong)
    return None


def keep(folder: Path, newest: str, last: int, always: Collection[str] = ()) -> list[str]:
    """Delete the checkpoints before `newest`, but for the last `last` and those in `always`.

    `newest` was just saved and counts as one of the `last`. What stands after it (a damaged one
    that a resumed run passed over) is not counted and not touched. Returns the names deleted. A
    checkpoint's seal goes first, so that a kill halfway leaves nothing that looks whole.
    """
    paths = [path for path in _by_step(folder) if path.name <= newest]
    doomed = [p for p in paths[: max(0, len(paths) - last)] if p.name not in always]
    for path in doomed:
        (path / SEAL).unlink(missing_ok=True)
        fsync_folder(path)
        shutil.rmtree(path)
    return [path.name for path in doomed]
