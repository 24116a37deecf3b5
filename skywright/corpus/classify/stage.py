"""The steps that score documents, and that cut the qualities into bins of equal size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus import kernels
from skywright.corpus.classify import ngrams
from skywright.corpus.classify.bins import bins, equal_mass_edges
from skywright.corpus.classify.kernels import VERSION
from skywright.corpus.classify.model import find, load_model, parse
from skywright.corpus.schemas import ID
from skywright.engine.stage import GatherStage, MapStage, Tables
from skywright.errors import UserError

SCORE_SCHEMA = pa.schema(
    [("record", pa.string()), ("id", ID), ("source", pa.string()), ("lang", pa.string()),
     ("label", pa.string()), ("score", pa.float32())]
)  # fmt: skip
"""One row a document and label: `quality`, and the labels of the safety models."""
MODEL_SCHEMA = pa.schema([("kind", pa.string()), ("sha256", pa.string()), ("data", pa.binary())])
"""kind: `classifier`, or the language of an n-gram model."""
BIN_SCHEMA = pa.schema(
    [("label", pa.string()), ("lang", pa.string()), ("edges", pa.list_(pa.float64()))]
)

QUALITY, NGRAM_NATS, CLASSIFIER = "quality", "ngram_nats", "classifier"
BINS = {QUALITY: "quality_bin", NGRAM_NATS: "ngram_bin"}
"""Labels that are cut into bins, and what a document's `meta` calls its bin."""
_REFERENCE = "reference_"


class ScoreParams(Config):
    """The sources that are scored. The models themselves are a side input."""

    sources: tuple[str, ...]


class BinParams(Config):
    """How many bins."""

    bins: int


def model_table(names: Sequence[str], ngram_files: Sequence[tuple[str, str]]) -> pa.Table:
    """The files of models, by checksum: what scores depend on, wherever the files stand.

    `ngram_files` are n-gram models: language, path.

    Raises UserError for a model that there is not, or that cannot be read.
    """
    rows = []
    for name in names:
        load_model(find(name))
        data = find(name).read_bytes()
        rows.append((CLASSIFIER, data))
    for lang, name in sorted(ngram_files):
        if not Path(name).is_file():
            raise UserError(
                f"{name}: no such n-gram model (classify.ngrams.{lang}); check the path"
            )
        rows.append((lang, Path(name).read_bytes()))
        ngrams.parse(rows[-1][1])
    return pa.Table.from_pylist(
        [
            {"kind": kind, "sha256": hashlib.sha256(data).hexdigest(), "data": data}
            for kind, data in rows
        ],
        schema=MODEL_SCHEMA,
    )


def language_group(lang: str) -> str:
    """en, zh, or "" for a language without models."""
    return {"en": "en", "zh-Hans": "zh", "zh-Hant": "zh"}.get(lang, "")


def score(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Scores of the documents of languages that have models, label by label."""
    params = cast(ScoreParams, params)
    table = table.filter(
        pc.and_(
            pc.is_in(table["lang"], pa.array(["en", "zh-Hans", "zh-Hant"])),
            pc.is_in(table["source"], pa.array(params.sources, pa.string())),
        )
    )
    groups = np.array([language_group(lang) for lang in table["lang"].to_pylist()], dtype=object)
    named = table.select(["record", "id", "source", "lang"])
    hashed = list(kernels.token_hashes(table["text"]))  # once for all models
    parts = [SCORE_SCHEMA.empty_table()]
    for kind, _, data in (row.values() for row in side["models"].to_pylist()):
        if kind != CLASSIFIER:
            rows = np.flatnonzero(groups == kind)
            nats = ngrams.parse(data).nats(table["text"].take(pa.array(rows)))
            parts.append(_labelled(named.take(pa.array(rows)), NGRAM_NATS, nats))
            continue
        model = parse(data)
        scores = model.scores_of(hashed)
        for number, label in enumerate(model.labels):
            rows = np.arange(len(groups))
            name = label
            if label.startswith(_REFERENCE):
                rows = np.flatnonzero(groups == label.removeprefix(_REFERENCE))
                name = QUALITY
            parts.append(_labelled(named.take(pa.array(rows)), name, scores[rows, number]))
    found = pa.concat_tables(parts)
    return {"scores": found.sort_by([("record", "ascending"), ("label", "ascending")])}


def _labelled(table: pa.Table, label: str, scores: np.ndarray) -> pa.Table:
    table = table.append_column("label", pa.repeat(pa.scalar(label), table.num_rows))
    return table.append_column("score", pa.array(scores.astype(np.float32))).cast(SCORE_SCHEMA)


SCORES = MapStage(
    "scores", f"1 {VERSION} {ngrams.VERSION} {kernels.TOKENS_VERSION}", score,
    {"scores": SCORE_SCHEMA}, batch_rows=512,
)  # fmt: skip


def edges(tables: Tables, params: Config) -> Tables:
    """Edges between the bins of each label and language group, over the whole corpus's scores."""
    rows = []
    for label in BINS:
        scores = tables["scores"].filter(pc.equal(tables["scores"]["label"], label))
        langs = scores["lang"].to_pylist()
        groups = np.array([language_group(lang) for lang in langs], dtype=object)
        values = scores["score"].to_numpy().astype(float)
        for group in ("en", "zh"):
            if (groups == group).any():
                cut = equal_mass_edges(values[groups == group], cast(BinParams, params).bins)
                rows.append({"label": label, "lang": group, "edges": cut})
    return {"edges": pa.Table.from_pylist(rows, schema=BIN_SCHEMA)}


EDGES = GatherStage("quality_edges", "2", edges, {"edges": BIN_SCHEMA})


def bins_of(scores: pa.Table, edge_table: pa.Table) -> dict[bytes, dict[str, float]]:
    """What the `meta` of a document says of its scores and bins, by document id."""
    cut = {(row["label"], row["lang"]): row["edges"] for row in edge_table.to_pylist()}
    found: dict[bytes, dict[str, float]] = {}
    binned = pc.is_in(scores["label"], value_set=pa.array(list(BINS)))
    for row in scores.filter(binned).to_pylist():
        edge = cut[row["label"], language_group(row["lang"])]
        told = found.setdefault(row["id"], {})
        told[row["label"]] = round(row["score"], 4)
        told[BINS[row["label"]]] = int(bins(np.array([row["score"]]), edge)[0])
    return found
