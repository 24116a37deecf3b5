"""How much disk a build will take, estimated before it starts; and what of it can go again.

The estimate is input bytes times a ratio measured by kind and packing of the input (below), less
what stands already of the same build. It is meant to stop a build that would fill the disk after
hours; it is no promise.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from skywright.engine.builds import Garbage, bytes_of, garbage
from skywright.engine.stage import Shard
from skywright.engine.store import is_remote, open_store
from skywright.errors import UserError

PACKED = (".gz", ".zst", ".lz4", ".bz2", ".xz", ".parquet")
STAGE_RATIOS = {"warc": 2.5, "html": 2.5, "jsonl": 4.0, "parquet": 4.0}
PLAIN_FACTOR = 0.35
"""Bytes of all stages by byte of packed input, on the high side of what was measured (WARC up to
2.1; lists of texts 2.2 to 4.1, of very short ones up to 9.6: docs/corpus-cluster.md, "Disk"). An
input that is not packed counts for `PLAIN_FACTOR` of its bytes, as gzip makes of text."""


def stage_bytes(sources: Sequence[Shard], share: float = 1.0) -> int:
    """Bytes that the stages of a build over these inputs will take; `share` is the sample's."""
    total = 0.0
    for shard in sources:
        packed = shard.path.lower().endswith(PACKED)
        ratio = STAGE_RATIOS.get(shard.meta.get("kind", ""), max(STAGE_RATIOS.values()))
        total += shard.bytes * (1.0 if packed else PLAIN_FACTOR) * ratio
    return int(total * share)


def check_space(sources: Sequence[Shard], stages: str, build: str, share: float = 1.0) -> None:
    """Raise UserError if the disk of `stages` cannot hold what is still to be made.

    An object store has no end that could be asked for.
    """
    if is_remote(stages):
        return
    there = next(p for p in [Path(stages), *Path(stages).absolute().parents] if os.path.isdir(p))
    free = shutil.disk_usage(there).free
    needed = stage_bytes(sources, share) - bytes_of(open_store(stages), build)
    if needed > free:
        raise UserError(
            f"{stages}: the build will need about {told_bytes(needed)}, and {told_bytes(free)} are "
            "free there; free some (`skywright corpus gc`), give another --workdir, or say --force"
        )


def collect(stages: str, keep: int = 1, remove: bool = False) -> Garbage:
    """What no current build needs, removed or only told.

    Raises UserError while a build is at work in the folder. (On an object store nobody can tell;
    see to it that none is.)
    """
    store = open_store(stages)
    with store.held(alone=True):
        found = garbage(store, keep)
        if remove:
            store.remove(list(found.files))
    return found


def told_bytes(size: int) -> str:
    """A size as people read it: "12.3 MB"."""
    value, unit = float(max(size, 0)), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"
