"""What is cut out of documents that stay: licence headers, secrets, benchmark items, personal data;
and exercises put into one form.

Every cut is a row of the edits table. The spans of a row are characters of the text as it was
before the row's step; steps are applied in the order of `STEPS`, and the rows of one step all speak
of the same text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus import joined, pii
from skywright.corpus.classify.stage import BINS, SCORE_SCHEMA, bins_of
from skywright.corpus.code import secrets
from skywright.corpus.code.header import licence_header
from skywright.corpus.code.rules import CodeConfig
from skywright.corpus.decontaminate.stage import HIT_SCHEMA
from skywright.corpus.edits import EDIT_SCHEMA, Cut, apply, edit_rows, moved, spans_by_id
from skywright.corpus.edits.stage import RECORD_EDIT_SCHEMA
from skywright.corpus.judge import code_language
from skywright.corpus.schemas import FINAL_SCHEMA
from skywright.corpus.special import stem
from skywright.engine.stage import MapStage, Shard, Tables

STEPS = ("decontaminate", "code", "pii", "exercises")

FORGOTTEN = ("code", "pii")
"""Steps whose edits do not keep what stood there: secrets and personal data."""


class RedactParams(Config):
    """What is cut out of which documents."""

    pii_sources: tuple[str, ...]
    code: CodeConfig
    cut_items: bool
    exercise_sources: tuple[str, ...] = ()
    rewrite_exercises: bool = True


def read_redacted(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the final documents of a shard with benchmark spans and scores beside each."""
    documents, *others = joined.whole_tables(shard)
    spans: dict[bytes, list[Cut]] = {}
    steps: list[dict[bytes, list[dict[str, Any]]]] = []
    scores = SCORE_SCHEMA.empty_table()
    for table in others:
        if table.schema.equals(HIT_SCHEMA):
            for row in table.to_pylist():
                cut = Cut(row["start"], row["end"], f"decontaminate:{row['benchmark']}")
                spans.setdefault(row["id"], []).append(cut)
        elif table.schema.equals(SCORE_SCHEMA):
            scores = table
        elif table.schema.equals(RECORD_EDIT_SCHEMA):
            steps.append(spans_by_id(table))
    for made in steps:  # benchmark items were looked for before these steps cut lines
        for identity in made.keys() & spans.keys():
            spans[identity] = [
                cut._replace(
                    start=moved(cut.start, made[identity]), end=moved(cut.end, made[identity])
                )
                for cut in spans[identity]
            ]
    ids = documents["id"].to_pylist()
    items = [json.dumps(spans[i]) if i in spans else None for i in ids]
    documents = documents.append_column("items", pa.array(items, pa.string()))
    for label in BINS:
        given = scores.filter(pc.equal(scores["label"], label))
        at = pc.index_in(documents["id"], value_set=given["id"].combine_chunks())
        documents = documents.append_column(label, given["score"].take(at))
    yield documents


def redact(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The documents of a shard after all cuts, and the cuts."""
    params = cast(RedactParams, params)
    rows = table.to_pylist()
    suspects = pii.candidates(table["text"]) if params.pii_sources else {}
    sources, asked = set(params.pii_sources), set(params.exercise_sources)
    bins = _bins(table, side)
    edits: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        meta = json.loads(row["meta"]) if row["lang"] == "code" else {}
        items = json.loads(row.pop("items") or "[]")
        for label in BINS:
            row.pop(label)
        for step in STEPS:
            cuts: list[Cut] = []
            if step == "decontaminate" and params.cut_items:
                cuts = [Cut(*item) for item in items]
            elif step == "code" and row["lang"] == "code":
                cuts = _code_cuts(row["text"], code_language(row, meta, params.code), params.code)
            elif step == "pii" and number in suspects and row["source"] in sources:
                found = pii.find(row["text"], suspects[number])
                cuts = [Cut(s, e, f"pii:{kind}", pii.TOKENS[kind]) for kind, s, e in found]
            elif step == "exercises" and row["source"] in asked:
                exercises = stem.locate(row["text"])
                if exercises:
                    row["meta"] = _with_meta(row["meta"], exercises=len(exercises))
                if exercises and params.rewrite_exercises:
                    places = stem.rewritten(row["text"])
                    cuts = [Cut(s, e, "exercises:one_form", one) for s, e, one in places]
            if cuts:
                row["text"], spans = apply(row["text"], cuts, step not in FORGOTTEN)
                edits += edit_rows(row["id"], step, spans)
        if row["id"] in bins:
            row["meta"] = _with_meta(row["meta"], **bins[row["id"]])
    return {
        "documents": pa.Table.from_pylist(rows, schema=FINAL_SCHEMA),
        "edits": pa.Table.from_pylist(edits, schema=EDIT_SCHEMA),
    }


def _with_meta(meta: str, **told: Any) -> str:
    return json.dumps(json.loads(meta) | told, sort_keys=True)


def _bins(table: pa.Table, side: Tables) -> dict[bytes, dict[str, float]]:
    if "edges" not in side:
        return {}
    parts = [SCORE_SCHEMA.empty_table()]
    for label in BINS:
        known = table.filter(pc.is_valid(table[label]))
        columns = {name: known[name] for name in ("id", "source", "lang")}
        columns["record"] = pa.nulls(known.num_rows, pa.string())
        columns["label"] = pa.repeat(pa.scalar(label), known.num_rows)
        columns["score"] = known[label]
        parts.append(pa.table(columns).select(SCORE_SCHEMA.names))
    return bins_of(pa.concat_tables(parts), side["edges"])


def _code_cuts(text: str, language: Any, config: CodeConfig) -> list[Cut]:
    cuts: list[Cut] = []
    header = licence_header(text, language) if config.strip_licence_headers else None
    if header is not None:
        cuts.append(Cut(*header, "code:licence_header"))
    if config.redact_secrets:
        cuts += [Cut(*at, "code:secret", secrets.TOKEN) for at in secrets.find_secrets(text)]
    return cuts


REDACT = MapStage(
    "redact", f"3 {pii.VERSION} {secrets.VERSION} {stem.VERSION}", redact,
    {"documents": FINAL_SCHEMA, "edits": EDIT_SCHEMA}, read_redacted, rowwise=False,
)  # fmt: skip
