"""What a stage is: a plain function over Arrow tables, with a version and declared outputs.

Three kinds are run by `skywright.engine.runner.Runner`:

* map: one shard in, one or several tables out, batch by batch;
* exchange: rows with equal keys meet in one partition;
* gather: one task over small data.

A side input (broadcast) is a small table given to every task. Functions must be importable by
name, because they are sent to worker processes.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.engine.checksums import input_sha256
from skywright.errors import UserError

Tables = Mapping[str, pa.Table]

PATH_SEPARATOR = "\x1f"
"""Stands between the paths of a shard that is several tables of one input, read side by side."""

ERRORS = "errors"
ERRORS_SCHEMA = pa.schema(
    [("record", pa.string()), ("error", pa.string()), ("message", pa.string())]
)


@dataclass(frozen=True)
class Shard:
    """One input file of a stage, identified by its content and its key.

    `meta` travels with the shard and is part of what names a task's output.
    """

    path: str
    sha256: str
    bytes: int
    rows: int | None = None
    key: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """What of the shard enters a task's key: content, key and meta, never the path."""
        return {
            "sha256": self.sha256,
            "bytes": self.bytes,
            "key": self.key,
            "meta": dict(self.meta),
        }


def file_shard(path: Path, key: str, meta: Mapping[str, str] | None = None) -> Shard:
    """Make a shard of a raw input file, which is read for its checksum if it is new or changed."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such input file; check the path in the recipe")
    return Shard(str(path), input_sha256(path), path.stat().st_size, None, key, dict(meta or {}))


Reader = Callable[[Shard, Config], Iterator[pa.Table]]
RowFunction = Callable[[pa.Table, Config, Tables], Tables]
StreamFunction = Callable[[Iterator[pa.Table], Config, Tables], Iterator[Tables]]


def read_parquet(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """The default reader: a Parquet file, row group by row group."""
    with pq.ParquetFile(shard.path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


@dataclass(frozen=True)
class MapStage:
    """One shard in, the tables of `outputs` out.

    `rowwise` promises that an output row depends on its own input row and on `side` alone. Then
    the input is cut into batches of `batch_rows`, every batch has a unique string column
    `record`, and a record that raises, kills or hangs the worker is left out of the outputs and
    reported in the extra table "errors". Otherwise the function sees the whole shard at once; and
    with `narrow` it sees of each side table only the rows whose column of that name holds a value
    of the shard's, so that a side table may be larger than memory.
    """

    name: str
    version: str
    function: RowFunction
    outputs: Mapping[str, pa.Schema]
    reader: Reader = read_parquet
    batch_rows: int = 256
    rowwise: bool = True
    libraries: tuple[str, ...] = ()
    narrow: str | None = None

    def tables(self) -> Mapping[str, pa.Schema]:
        """All tables a task writes, "errors" among them when the stage is rowwise."""
        return {**self.outputs, ERRORS: ERRORS_SCHEMA} if self.rowwise else self.outputs


@dataclass(frozen=True)
class ExchangeStage:
    """Rows with equal keys meet: `keys(table, params)` gives one uint64 a row, row by row.

    Within a key, rows come by `order(table, params)` (one binary value a row, compared byte by
    byte), where given; ties come in input order.

    With `stream`, `function(rows, params, side)` gets an iterator of small tables, in that order,
    and yields its outputs as it goes: a key of any size passes in bounded memory, because no key's
    rows are ever together. Otherwise it gets the whole partition as one table: simpler, for what is
    small for certain.
    """

    name: str
    version: str
    keys: Callable[[pa.Table, Config], np.ndarray]
    function: RowFunction | StreamFunction
    outputs: Mapping[str, pa.Schema]
    libraries: tuple[str, ...] = ()
    order: Callable[[pa.Table, Config], pa.Array] | None = None
    stream: bool = False


@dataclass(frozen=True)
class GatherStage:
    """One task over small data: `function(tables, params)`."""

    name: str
    version: str
    function: Callable[[Tables, Config], Tables]
    outputs: Mapping[str, pa.Schema]
    libraries: tuple[str, ...] = ()


Stage = MapStage | ExchangeStage | GatherStage


@lru_cache(maxsize=256)
def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise UserError(f"the package {name!r} is not installed; install it") from None


def library_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions of the distributions that change a stage's output."""
    return {name: _installed(name) for name in sorted({*names, "pyarrow"})}


@lru_cache(maxsize=256)
def source_hash(function: Callable[..., Any]) -> str:
    """Hash of the module in which `function` is defined: tells changed code from unchanged."""
    module = sys.modules[function.__module__]
    try:
        text = inspect.getsource(module)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
