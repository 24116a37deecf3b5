"""The step that cuts lines: edited documents, the edits table, and signals of what changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import joined, signals
from skywright.corpus.edits import lines
from skywright.corpus.edits.spans import EDIT_SCHEMA, apply, edit_rows
from skywright.corpus.measure import SIGNAL_SCHEMA, measured_columns
from skywright.corpus.schemas import DOCUMENT_SCHEMA
from skywright.engine.stage import MapStage, Shard, Tables

STEP = "lines"


class EditParams(Config):
    """Line rules in force, by source and language, in the order of their precedence."""

    rules: dict[str, dict[str, tuple[str, ...]]]


def read_lined(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the documents of a shard that were measured, each with its flagged lines."""
    documents, flagged = joined.paths(shard)
    found = pq.read_table(flagged)
    names = found["record"].combine_chunks()
    with pq.ParquetFile(documents) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            at = pc.index_in(rows["record"], value_set=names).combine_chunks()
            measured = pc.is_valid(at)
            rows, at = rows.filter(measured), at.filter(measured)
            for name in ("lines", "flags"):
                rows = rows.append_column(name, found[name].take(at))
            yield rows


def edit_batch(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """Make the cuts of the rules in force; what is unchanged passes as it is."""
    rules = cast(EditParams, params).rules
    texts: list[str] = []
    edits: list[dict[str, Any]] = []
    changed: list[int] = []
    columns = ("record", "id", "source", "lang", "text", "lines", "flags")
    rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
    for place, (record, identity, source, lang, text, numbers, flags) in enumerate(rows):
        names = rules[source].get(lang, ())
        found = lines.cuts(text, numbers, flags, names) if names else []
        if found:
            text, spans = apply(text, found)
            edits += [{"record": record, **row} for row in edit_rows(identity, STEP, spans)]
            changed.append(place)
        texts.append(text)
    at = batch.column_names.index("text")
    documents = batch.set_column(at, "text", pa.array(texts, pa.string()))
    return {
        "documents": documents.select(DOCUMENT_SCHEMA.names),
        "edits": pa.Table.from_pylist(edits, schema=RECORD_EDIT_SCHEMA),
        "signals": measured_columns(documents.take(pa.array(changed, pa.int64()))),
    }


RECORD_EDIT_SCHEMA = pa.schema([("record", pa.string()), *EDIT_SCHEMA])

EDIT = MapStage(
    "edit",
    f"1 {lines.VERSION} {signals.VERSION}",
    edit_batch,
    {"documents": DOCUMENT_SCHEMA, "edits": RECORD_EDIT_SCHEMA, "signals": SIGNAL_SCHEMA},
    read_lined,
)
