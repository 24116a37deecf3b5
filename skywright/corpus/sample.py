"""A sample of documents by their ids: the same ones in whatever order or split the input comes.

A document is in a sample of share p when the first 8 bytes of its id, as a number, are below
p * 2^64: ids are hashes, so that they are spread evenly, and a smaller sample is part of a larger.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus.pages import INDEX_SCHEMA
from skywright.engine.stage import MapStage, Tables
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


def sample(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Mark the records outside the sample as not read."""
    share = cast(SampleParams, params).share
    outside = pc.invert(in_sample(table["id"], share))
    for name, value in {"step": "read", "rule": RULE, "value": None, "threshold": share}.items():
        new = pa.scalar(value, table.schema.field(name).type)
        table = table.set_column(
            table.schema.get_field_index(name), name, pc.if_else(outside, new, table[name])
        )
    return {"records": table}


SAMPLE = MapStage("sample", "2", sample, {"records": INDEX_SCHEMA}, rowwise=False)
