"""A sample of documents by their ids: the same ones in whatever order or split the input comes.

A document is in a sample of share p when the first 8 bytes of its id, as a number, are below
p * 2^64: ids are hashes, so that they are spread evenly, and a smaller sample is part of a larger.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.pages import INDEX_SCHEMA, URL_SCHEMA
from skywright.engine.stage import MapStage, Shard, Tables
from skywright.errors import UserError

RULE = "not_in_sample"


class SampleParams(Config):
    """The share of documents that is read, above 0 and at most 1."""

    share: float


def parse_share(text: str) -> float:
    """A share from "1%" or "0.01"; raises UserError for anything that is no share."""
    number = text.strip()
    try:
        share = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UserError(f"--sample {text}: give a share above 0 and at most 1, such as 1%")
    return share


def in_sample(ids: pa.Array | pa.ChunkedArray, share: float) -> pa.Array:
    """For each 16-byte id whether its document is in the sample (null ids: no)."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    places = np.frombuffer(
        b"".join(value[:8] if value else b"\xff" * 8 for value in ids.to_pylist()), dtype=">u8"
    )
    limit = int(share * 2**64)
    inside = np.ones(len(places), bool) if limit >= 2**64 else places < np.uint64(limit)
    return pc.and_(pa.array(inside), pc.is_valid(ids))


def read_index(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the index of a shard, then its addresses; a column `part` tells them apart."""
    both = pa.unify_schemas([INDEX_SCHEMA, URL_SCHEMA])
    for number, table in enumerate(joined.whole_tables(shard)):
        for field in both:
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        part = pa.repeat(pa.scalar(number, pa.int8()), table.num_rows)
        yield table.select(both.names).append_column("part", part)


def sample(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Mark the records outside the sample as not read, and forget their addresses."""
    share = cast(SampleParams, params).share
    inside = in_sample(table["id"], share)
    first = pc.equal(table["part"], 0)
    records = table.filter(first).select(INDEX_SCHEMA.names)
    outside = pc.invert(inside.filter(first.combine_chunks()))
    for name, value in {"step": "read", "rule": RULE, "value": None, "threshold": share}.items():
        new = pa.scalar(value, records.schema.field(name).type)
        records = records.set_column(
            records.schema.get_field_index(name), name, pc.if_else(outside, new, records[name])
        )
    urls = table.filter(pc.and_(pc.invert(first), inside)).select(URL_SCHEMA.names)
    return {"records": records, "urls": urls}


SAMPLE = MapStage(
    "sample", "1", sample, {"records": INDEX_SCHEMA, "urls": URL_SCHEMA}, read_index, rowwise=False
)
