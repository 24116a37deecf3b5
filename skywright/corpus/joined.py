"""Several tables of one shard, read side by side.

A stage gives one table a shard; the next may need two of them (the documents, and which of them
stay). Their shards are joined into one that is named by the content of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from skywright.engine.stage import PATH_SEPARATOR, Shard


def join(*groups: Sequence[Shard], meta: Mapping[str, str] | None = None) -> list[Shard]:
    """Join shard i of every group into one shard; the key is that of the first group."""
    joined = []
    for shards in zip(*groups, strict=True):
        first = shards[0]
        if any(shard.key != first.key for shard in shards):
            raise ValueError(f"shards of {sorted({s.key for s in shards})} do not belong together")
        digest = hashlib.sha256("\n".join(shard.sha256 for shard in shards).encode())
        joined.append(
            replace(
                first,
                path=PATH_SEPARATOR.join(shard.path for shard in shards),
                sha256=digest.hexdigest(),
                bytes=sum(shard.bytes for shard in shards),
                meta=dict(first.meta if meta is None else meta),
            )
        )
    return joined


def paths(shard: Shard) -> list[str]:
    """Where the tables of a joined shard stand, in the order of the groups."""
    return shard.path.split(PATH_SEPARATOR)


def whole_tables(shard: Shard) -> list[pa.Table]:
    """The tables of a joined shard."""
    return [pq.read_table(path) for path in paths(shard)]
