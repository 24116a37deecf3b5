"""Documents in families of near copies, and a runner over shards of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skywright.corpus.dedup.best import RANK_BYTES, rank
from skywright.corpus.joined import join
from skywright.engine.stage import Shard, file_shard


def families(
    count: int, members: int, tokens: int = 300, seed: int = 0, edits: tuple[int, int] = (1, 9)
) -> list[str]:
    """`count` families of `members` texts. Each is a member before it with some words changed, so
    that copies of copies of copies arise.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    texts = []
    for family in range(count):
        made = [[f"f{family}w{draw.integers(400)}" for _ in range(tokens)]]
        while len(made) < members:
            words = list(made[draw.integers(len(made))])
            for _ in range(draw.integers(*edits)):
                words[draw.integers(tokens)] = f"x{draw.integers(10**9)}"
            made.append(words)
        texts += [" ".join(words) for words in made]
    return [texts[i] for i in draw.permutation(len(texts))]


def identity(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def write_shards(
    folder: Path,
    shards: Sequence[Sequence[str]],
    generation: int = 0,
    source: str = "web",
    named: bool = True,
) -> list[Shard]:
    """Write documents and their ranks; the joined shards that `near_copies` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    documents, ranked = [], []
    for number, texts in enumerate(shards):
        key = f"{source}/{number}"
        records = [f"{key}:{row}" for row in range(len(texts))]
        ids = [identity(text) for text in texts]
        ranks = [
            rank(0, None, len(t), None, i, generation) for t, i in zip(texts, ids, strict=True)
        ]
        table = pa.table(
            {
                "record": records,
                "id": pa.array(ids, pa.binary(16)),
                "source": pa.repeat(pa.scalar(source), len(texts)),
                "text": pa.array(texts, pa.string()),
            }
        )
        path = folder / f"{source}-{number}.parquet"
        pq.write_table(table if named else table.drop_columns(["record"]), path, row_group_size=50)
        ranks_path = folder / f"{source}-{number}-ranks.parquet"
        pq.write_table(
            pa.table({"record": records, "rank": pa.array(ranks, pa.binary(RANK_BYTES))}),
            ranks_path,
        )
        documents.append(file_shard(path, key))
        ranked.append(file_shard(ranks_path, key))
    return join(documents, ranked)
