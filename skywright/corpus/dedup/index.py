"""An index of near copies that grows: next month's crawl costs next month's work.

    <index>/settings.json                          how signatures are made; fixed
    <index>/generations/0001/bands-000.parquet     the buckets of kept documents, sorted by key
    <index>/generations/0001/sets-000.parquet      their shingles, sorted by the first of the id
    <index>/generations/0001/generation.json       what was added; written last, with its folder

A generation is added whole and never changed. Of the older ones only those row groups are read
that may hold a bucket of a new document, and only those sets that are compared. New documents are
judged by the rule of `rule.py` with every older generation ranked before them: the answer is that
of the rule on the union, in which what stands already is better than all that comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.config import DuplicatesConfig
from skywright.corpus.dedup import minhash, shingles
from skywright.corpus.dedup.against import Counts, document_shards, publish, ranked_shards
from skywright.corpus.dedup.best import ID_AT
from skywright.corpus.dedup.columns import fixed_bytes, fixed_column
from skywright.corpus.dedup.comparisons import touched_groups
from skywright.corpus.dedup.near import NearCopies, Standing, settle, signature_params
from skywright.corpus.dedup.proposals import (
    BAND_SCHEMA,
    MINHASH,
    RANK,
    band_keys,
    id_words,
    ranked_groups,
    read_group,
    shard_number,
    shared_buckets,
)
from skywright.engine.files import atomic_folder, read_json, stable_hash, write_json
from skywright.engine.progress import Progress, silent
from skywright.engine.runner import ExecutorName, Runner
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables, file_shard
from skywright.errors import UserError

SETTINGS, SEAL = "settings.json", "generation.json"
ROWS_A_GROUP = 1024  # of a table in the index: what one look-up reads
MAX_GENERATIONS = 2**16 - 1

READ_SCHEMA = pa.schema([("old_rows", pa.int64())])
STORED_SCHEMA = pa.schema(
    [("slot", pa.uint64()), ("rank", RANK), ("set", pa.large_list(pa.uint32()))]
)


class KeepParams(Config):
    """The generation that is made, its number of partitions, and the tokens of a shingle."""

    generation: int
    partitions: int
    ngram: int


@dataclass(frozen=True)
class Growth:
    """What came of a new generation; `old_rows` of older ones were read to find its buckets."""

    counts: Counts
    generation: int
    old_rows: int


# ---------------------------------------------------------------- looking up


def pass_on(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows of the new documents, by band."""
    return {"bands": table}


BY_BAND = ExchangeStage("index_new", "1", band_keys, pass_on, {"bands": BAND_SCHEMA})


def read_buckets(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (new rows of a partition, the same partition of every generation)."""
    new, *old = joined.paths(shard)
    table = pq.read_table(new)
    keys = np.unique(table["key"].to_numpy())
    wanted, read, parts = pa.array(keys), 0, [table]
    for path in old:
        with pq.ParquetFile(path) as file:
            for group in touched_groups(file, "key", keys):
                rows = file.read_row_group(group, columns=BAND_SCHEMA.names)
                read += rows.num_rows
                parts.append(rows.filter(pc.is_in(rows["key"], value_set=wanted)))
    whole = pa.concat_tables(parts)
    yield whole.append_column("old_rows", pa.repeat(pa.scalar(read), whole.num_rows))


def look_up(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The buckets in which a new document stands with another, and what was read to know them."""
    read = table["old_rows"][:1].to_pylist()
    table = table.drop_columns(["old_rows"]).sort_by("key")
    return {
        **shared_buckets(table, params, side),
        "read": pa.table([pa.array(read, pa.int64())], schema=READ_SCHEMA),
    }


LOOK_UP = MapStage(
    "index_look_up", "1", look_up, {"bands": BAND_SCHEMA, "read": READ_SCHEMA}, read_buckets,
    rowwise=False,
)  # fmt: skip

# ---------------------------------------------------------------- keeping


def _stays(ranks: pa.ChunkedArray, side: Tables) -> pa.Array:
    ids = fixed_column(fixed_bytes(ranks)[:, ID_AT:])
    return pc.invert(pc.is_in(ids, value_set=side["dropped"]["id"].combine_chunks()))


def _holder(generation: int, part: int) -> str:
    return f"index/{generation}/{part}"


def keep_bands(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows of the documents that stay, told where in the index their shingles lie."""
    params = cast(KeepParams, params)
    table = table.filter(_stays(table["rank"], side))
    part = (id_words(fixed_bytes(table["rank"])) % np.uint64(params.partitions)).astype(np.int64)
    numbers = [shard_number(_holder(params.generation, p)) for p in range(params.partitions)]
    holders = pa.array(np.array(numbers, np.uint32)[part])
    return {"bands": table.set_column(BAND_SCHEMA.get_field_index("shard"), "shard", holders)}


KEEP_BANDS = ExchangeStage("index_bands", "1", band_keys, keep_bands, {"bands": BAND_SCHEMA})


def read_all_sets(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of (documents, ranks): the shingles of every ranked document."""
    width = cast(KeepParams, params).ngram
    yield STORED_SCHEMA.empty_table()
    with pq.ParquetFile(joined.paths(shard)[0]) as file:
        for group, begin, rows, ranks in ranked_groups(shard, ()):
            whole = read_group(file, group, ("text",), shard.key, begin)
            at = pc.index_in(rows["record"], value_set=whole["record"].combine_chunks())
            sets = shingles.half_shingles(whole["text"].take(at), width)
            slots = pa.array(id_words(fixed_bytes(ranks)))
            yield pa.table([slots, ranks, sets], schema=STORED_SCHEMA)


def kept_sets(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The shingles of the documents that stay."""
    return {"sets": table.filter(_stays(table["rank"], side))}


ALL_SETS = MapStage(
    "index_kept", f"1 {shingles.VERSION}", kept_sets, {"sets": STORED_SCHEMA}, read_all_sets,
    rowwise=False,
)  # fmt: skip


def slot_keys(table: pa.Table, params: Config) -> np.ndarray:
    """The first 8 bytes of each document's id."""
    return table["slot"].to_numpy()


def sorted_sets(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows of a partition, as they come: sorted by slot."""
    return {"sets": table}


KEEP_SETS = ExchangeStage("index_sets", "1", slot_keys, sorted_sets, {"sets": STORED_SCHEMA})

# ---------------------------------------------------------------- the index


def _settings(config: DuplicatesConfig, partitions: int) -> dict[str, object]:
    params = signature_params(config).model_dump(exclude={"scopes"})
    versions = {"minhash": minhash.VERSION, "shingles": shingles.VERSION}
    return {**params, **versions, "partitions": partitions}


def _open(index: Path, settings: dict[str, object]) -> list[dict[str, object]]:
    """The generations of an index, which is made if it is not there."""
    path = index / SETTINGS
    if not path.is_file():
        write_json(path, settings)
    found = read_json(path)
    for name, value in settings.items():
        if found.get(name) != value:
            raise UserError(
                f"{path}: {name} is {found.get(name)!r} there and {value!r} here; give the "
                "settings that the index was made with, or another folder for a new index"
            )
    return [read_json(p) for p in sorted((index / "generations").glob(f"*/{SEAL}"))]


def _tables(index: Path, generation: int, name: str, partitions: int) -> list[Shard]:
    folder = index / "generations" / f"{generation:04}"
    return [
        file_shard(folder / f"{name}-{p:03}.parquet", _holder(generation, p))
        for p in range(partitions)
    ]


def grow(
    index: Path,
    new: Path,
    out: Path,
    config: DuplicatesConfig | None = None,
    partitions: int = 16,
    executor: ExecutorName = "processes",
    progress: Progress = silent,
) -> Growth:
    """Write to `out` the documents of `new` that are no near copies of each other or of what is
    in the index, and add those that stay to it. `out` is as `against.subtract` makes it.

    Adding the same files again gives the same answer and changes nothing. Raises `UserError` for
    an index of other settings, or of other `partitions`.
    """
    config = config or DuplicatesConfig()
    index, out = Path(index), Path(out)
    past = _open(index, _settings(config, partitions))
    fresh = document_shards(new, "new")
    inputs = stable_hash(sorted(shard.sha256 for shard in fresh))
    number = next((i for i, g in enumerate(past, start=1) if g["inputs"] == inputs), len(past) + 1)
    if number > MAX_GENERATIONS:
        raise UserError(f"{index}: {MAX_GENERATIONS} generations are full; make a new index")
    older = range(1, number)
    with Runner(out / "stages", executor, progress=progress) as runner:
        documents = ranked_shards(runner, fresh, number, {})
        params = signature_params(config)
        signed = runner.map(MINHASH, documents, params).shards("bands")
        ours = runner.exchange(BY_BAND, signed, params, partitions).shards("bands")
        groups = [_tables(index, g, "bands", partitions) for g in older]
        beside = [[replace(t, key=o.key) for t, o in zip(g, ours, strict=True)] for g in groups]
        looked = runner.map(LOOK_UP, joined.join(ours, *beside), params)
        stored = [s for g in older for s in _tables(index, g, "sets", partitions)]
        found = settle(
            runner, documents, looked.shards("bands"), config, partitions,
            Standing(generation=number, sets=stored),
        )  # fmt: skip
        if number > len(past):
            _add(runner, index, number, inputs, documents, signed, found, config, partitions)
    old_rows = sum(looked.read("read")["old_rows"].to_pylist())
    return Growth(publish(fresh, found, out), number, old_rows)


def _add(
    runner: Runner,
    index: Path,
    number: int,
    inputs: str,
    documents: Sequence[Shard],
    signed: Sequence[Shard],
    found: NearCopies,
    config: DuplicatesConfig,
    partitions: int,
) -> None:
    params = KeepParams(generation=number, partitions=partitions, ngram=config.ngram)
    side = {"dropped": found.outputs["near_duplicates"].shards("dropped")}
    bands = runner.exchange(KEEP_BANDS, signed, params, partitions, side).shards("bands")
    kept = runner.map(ALL_SETS, documents, params, side).shards("sets")
    sets = runner.exchange(KEEP_SETS, kept, params, partitions).shards("sets")
    with atomic_folder(index / "generations" / f"{number:04}") as folder:
        for name, shards in (("bands", bands), ("sets", sets)):
            for part, shard in enumerate(shards):
                pq.write_table(
                    pq.read_table(shard.path), folder / f"{name}-{part:03}.parquet",
                    compression="zstd", row_group_size=ROWS_A_GROUP,
                )  # fmt: skip
        rows = sum(shard.rows or 0 for shard in sets)
        write_json(folder / SEAL, {"generation": number, "inputs": inputs, "documents": rows})
