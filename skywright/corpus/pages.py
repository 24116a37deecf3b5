"""The steps on raw pages: index, URL duplicates, extraction with language.

Pages are not copied: the source is read once for the index and once more for those records whose
address stays, because reading costs a twentieth of extracting.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.config import (
    CorpusConfig,
    ExtractionConfig,
    Lang,
    LanguageConfig,
    LimitsConfig,
)
from skywright.corpus.extract import extract
from skywright.corpus.extract.model import fingerprint
from skywright.corpus.extract.precise import trafilatura_version
from skywright.corpus.language import Detected, label
from skywright.corpus.records import document_id, tables
from skywright.corpus.schemas import DOCUMENT_SCHEMA, DROP_SCHEMA, ID, drop, drop_table
from skywright.corpus.sources.files import read_records
from skywright.corpus.sources.markup import VERSION as MARKUP_VERSION
from skywright.corpus.sources.markup import text_of
from skywright.corpus.special import rows
from skywright.corpus.special.config import ParallelConfig
from skywright.engine.stage import ExchangeStage, MapStage, Shard, Tables

HTML_TYPES = ("text/html", "application/xhtml+xml")
KNOWN_LANGS: tuple[Lang, ...] = ("en", "zh-Hans", "zh-Hant", "code")


class IndexParams(Config):
    """What the index depends on."""

    max_record_bytes: int


class ExtractParams(Config):
    """What extraction depends on; `trafilatura` is its version where the precise tier is used,
    `model` names the line models where the own tier is, `parallel` how parallel text is aligned
    where an input has it."""

    limits: LimitsConfig
    extraction: ExtractionConfig
    language: LanguageConfig
    trafilatura: str | None
    model: str | None
    parallel: ParallelConfig | None


def extract_params(config: CorpusConfig) -> ExtractParams:
    """The extraction's part of a recipe. Raises `UserError` if its tier is not installed."""
    return ExtractParams(
        limits=config.limits,
        extraction=config.extraction,
        language=config.language,
        trafilatura=trafilatura_version() if config.extraction.tier == "precise" else None,
        model=fingerprint() if config.extraction.tier == "own" else None,
        parallel=config.parallel if any(item.fields.parallel for item in config.inputs) else None,
    )


class NoParams(Config):
    """For stages without parameters."""


def _with_input(table: pa.Table, shard: Shard) -> pa.Table:
    """Add the columns that say which input a record belongs to."""
    for name in ("source", "lang"):
        column = pa.repeat(pa.scalar(shard.meta[name], pa.string()), table.num_rows)
        table = table.append_column(f"input_{name}", column)
    return table


# ---------------------------------------------------------------- index

INDEX_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("url", pa.string()),
        ("source", pa.string()),
        ("date", pa.string()),
        ("bytes", pa.int64()),
        ("step", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("message", pa.string()),
    ]
)
URL_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("url_key", pa.string()),
        ("date", pa.string()),
        ("bytes", pa.int64()),
    ]
)


def read_source(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of the index: the records of a source file."""
    limit = cast(IndexParams, params).max_record_bytes
    for table in tables(read_records(shard, shard.path, limit)):
        yield _with_input(table, shard)


def index(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """Name every record and drop what is no page."""
    found = []
    for row in batch.to_pylist():
        payload = row["payload"] or b""
        item = {
            **{name: row[name] for name in ("record", "url", "date", "bytes")},
            "id": document_id(row["url"], payload),
            "source": row["input_source"],
            **(_no_page(row) or {}),
        }
        found.append(item)
    return {"records": pa.Table.from_pylist(found, schema=INDEX_SCHEMA)}


def _no_page(row: dict[str, Any]) -> dict[str, Any] | None:
    """Why a record is no page with text, or None."""
    if row["rule"]:
        return {"step": "read"} | {n: row[n] for n in ("rule", "value", "threshold", "message")}
    if row["status"] is not None and row["status"] != 200:
        return {"step": "read", "rule": "http_status", "value": row["status"], "threshold": 200.0}
    if not row["payload"].strip():
        return {"step": "read", "rule": "empty", "value": 0.0, "threshold": 1.0}
    if row["form"] == "html" and not _is_html(row["content_type"], row["payload"]):
        return {"step": "read", "rule": "content_type", "message": row["content_type"]}
    return None


def _is_html(content_type: str | None, payload: bytes) -> bool:
    if content_type:
        return content_type in HTML_TYPES
    head = payload[:1024].lower()
    return b"<html" in head or b"<!doctype html" in head


INDEX = MapStage(
    "index", "4", index, {"records": INDEX_SCHEMA}, read_source, batch_rows=64,
    libraries=("fastwarc", "zstandard"),
)  # fmt: skip


# ---------------------------------------------------------------- URL duplicates


def url_keys(table: pa.Table, params: Config) -> np.ndarray:
    """Partition key of a normalised address."""
    keys = (xxhash.xxh3_64_intdigest(key.encode("utf-8", "replace"))
            for key in table["url_key"].to_pylist())  # fmt: skip
    return np.fromiter(keys, dtype=np.uint64, count=table.num_rows)


def url_order(table: pa.Table, params: Config) -> pa.Array:
    """Bytes by which the versions of an address come together, the one that stays first: the
    newest, then the longest, then the first record.
    """
    columns = (table[name].to_pylist() for name in ("url_key", "date", "bytes", "record"))
    return pa.array(
        [
            xxhash.xxh3_128_digest(key.encode("utf-8", "replace"))
            + bytes(255 - byte for byte in (date or "").encode())
            + b"\xff"  # ends the date: no byte of one, turned round, is as high
            + struct.pack(">Q", 2**63 - size)
            + record.encode("utf-8", "replace")
            for key, date, size, record in zip(*columns, strict=True)
        ],
        pa.binary(),
    )


def url_duplicates(rows: Iterator[pa.Table], params: Config, side: Tables) -> Iterator[Tables]:
    """Of the versions of one page all but the first in `url_order` go."""
    kept: dict[str, Any] | None = None
    for table in rows:
        dropped = []
        for row in table.select(["record", "id", "url_key"]).to_pylist():
            if kept is None or row["url_key"] != kept["url_key"]:
                kept = row
            else:
                dropped.append(
                    drop(row["record"], "url_duplicates", "same_url", kept_id=kept["id"],
                         message=row["url_key"])
                )  # fmt: skip
        yield {"dropped": drop_table(dropped)}


URL_DUPLICATES = ExchangeStage(
    "url_duplicates", "2", url_keys, url_duplicates, {"dropped": DROP_SCHEMA}, ("xxhash",),
    order=url_order, stream=True,
)  # fmt: skip

SURVIVOR_SCHEMA = pa.schema([("record", pa.string()), ("id", ID)])


def read_whole(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader for stages on a whole shard: its Parquet file as one table."""
    yield pq.read_table(shard.path)


def survivors(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Records of a shard that neither reading nor their address has dropped.

    A table of its own, so that extraction is done again only where the answer has changed.
    """
    gone = pc.is_in(table["record"], value_set=side["dropped"]["record"].combine_chunks())
    stay = pc.and_(pc.is_null(table["rule"]), pc.invert(gone))
    return {"survivors": table.filter(stay)}


SURVIVORS = MapStage(
    "survivors", "1", survivors, {"survivors": SURVIVOR_SCHEMA}, read_whole, rowwise=False,
    narrow="record",
)  # fmt: skip


# ---------------------------------------------------------------- extraction


def read_survivors(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader of the extraction: the surviving records of a source file, with their ids."""
    source, table = joined.paths(shard)
    stay = pq.read_table(table)
    ids = dict(zip(stay["record"].to_pylist(), stay["id"].to_pylist(), strict=True))
    limit = cast(ExtractParams, params).limits.max_record_bytes
    records = (r for r in read_records(shard, source, limit) if r.record in ids)
    for batch in tables(records):
        names = batch["record"].to_pylist()
        batch = batch.append_column("id", pa.array([ids[name] for name in names], ID))
        yield _with_input(batch, shard)


def extract_batch(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """Text and language of every page; pages without usable text or in other languages go."""
    params = cast(ExtractParams, params)
    documents: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    for row in batch.to_pylist():
        found = _document(row, params)
        (documents if "text" in found else dropped).append(found)
    return {
        "documents": pa.Table.from_pylist(documents, schema=DOCUMENT_SCHEMA),
        "dropped": drop_table(dropped),
    }


def _document(row: dict[str, Any], params: ExtractParams) -> dict[str, Any]:
    """A row of the documents, or of the dropped ones."""
    limits, record = params.limits, row["record"]
    extra: dict[str, Any] = {}
    if row["form"] != "html":
        size = len(row["payload"])
        if size > limits.max_text_bytes:
            return drop(
                record, "extract", "text_bytes", value=size, threshold=limits.max_text_bytes
            )
        if row["form"] in rows.FORMS:
            made = rows.document(row["form"], row["payload"], params.parallel or ParallelConfig())
            if made.text is None:
                return drop(
                    record, "extract", made.rule, value=made.value, threshold=made.threshold
                )
            text, extra, told_by = made.text, dict(made.meta), made.told_by
        else:
            text = told_by = text_of(row["form"], row["payload"])
    else:
        page = extract(row["payload"], row["charset"], limits, params.extraction)
        if page.text is None:
            return drop(
                record, "extract", str(page.rule), value=page.value, threshold=page.threshold
            )
        text = told_by = page.text
        extra = {"charset": page.charset, "title": page.title, "replaced_chars": page.replaced}
    chars = len(text.strip())
    if chars < limits.min_chars:
        return drop(record, "extract", "no_text", value=chars, threshold=limits.min_chars)
    lang = row["input_lang"]
    if not lang:
        detected = label(told_by)
        lang = detected.lang if detected.lang in KNOWN_LANGS else "other"
        refusal = _language_drop(lang, detected, params.language)
        if refusal:
            return drop(record, "language", **refusal)
        if lang == "other":
            extra["lang"] = detected.lang
        extra["lang_score"] = round(detected.score, 4)
    return {
        **{name: row[name] for name in ("record", "id", "url", "date")},
        "source": row["input_source"],
        "lang": lang,
        "text": text,
        "meta": _merged_meta(row["meta"], extra),
    }


def _language_drop(lang: str, detected: Detected, config: LanguageConfig) -> dict[str, Any] | None:
    values = {"value": detected.score, "threshold": config.min_score}
    if lang not in config.keep:
        return {"rule": f"is_{detected.lang}", **values}
    if lang != "code" and detected.score < config.min_score:
        return {"rule": "uncertain", "message": detected.lang, **values}
    return None


def _merged_meta(meta: str | None, extra: dict[str, Any]) -> str:
    values = json.loads(meta or "{}")
    values.update({name: value for name, value in extra.items() if value})
    return json.dumps(values, sort_keys=True)


EXTRACT = MapStage(
    "extract", f"4 {MARKUP_VERSION}", extract_batch,
    {"documents": DOCUMENT_SCHEMA, "dropped": DROP_SCHEMA}, read_survivors, batch_rows=32,
    libraries=("fastwarc", "resiliparse", "fasttext-community"),
)  # fmt: skip
