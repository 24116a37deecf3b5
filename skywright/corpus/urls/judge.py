"""The stage that judges addresses: what the index has read, less what an address refuses.

A stage of its own, over the index and not over the pages, so that a changed list reads no page
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus.pages import INDEX_SCHEMA, URL_SCHEMA
from skywright.corpus.urls.lists import UrlParams
from skywright.corpus.urls.normalise import normalise
from skywright.corpus.urls.rules import rules_of
from skywright.engine.stage import MapStage, Shard, Tables

_UNIQUE = "unique_urls"


def read_index(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the index of a source file, and whether an address there stands for one page."""
    table = pq.read_table(shard.path)
    unique = pa.repeat(pa.scalar(bool(shard.meta[_UNIQUE])), table.num_rows)
    yield table.append_column(_UNIQUE, unique)


def judge(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Drop the records whose address is refused; hand on the addresses of the others."""
    rules = rules_of(cast(UrlParams, params), side["blocked"])
    addresses = table["url"].to_pylist()
    read = pc.is_null(table["rule"]).to_pylist()
    verdicts = [
        rules.check(url) if good else None for url, good in zip(addresses, read, strict=True)
    ]
    refused = pa.array([verdict is not None for verdict in verdicts], pa.bool_())
    records = table.select(INDEX_SCHEMA.names)
    columns = {"step": [verdict and "urls" for verdict in verdicts]} | {
        name: [verdict and getattr(verdict, name) for verdict in verdicts]
        for name in ("rule", "value", "threshold", "message")
    }
    for name, values in columns.items():
        at = INDEX_SCHEMA.get_field_index(name)
        told = pa.array(values, INDEX_SCHEMA.field(name).type)
        records = records.set_column(at, name, pc.if_else(refused, told, records[name]))
    keys = pa.array([normalise(url) for url in addresses], pa.string())
    stay = pc.and_(pc.and_(pc.is_null(records["rule"]), table[_UNIQUE]), pc.is_valid(keys))
    urls = records.append_column("url_key", keys).filter(stay).select(URL_SCHEMA.names)
    return {"records": records, "urls": urls}


URLS = MapStage(
    "urls", "2", judge, {"records": INDEX_SCHEMA, "urls": URL_SCHEMA}, read_index, rowwise=False,
    libraries=("pyahocorasick", "xxhash"),
)  # fmt: skip
