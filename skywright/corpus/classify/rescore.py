"""The step that gives the grey band of a score to an encoder.

torch and transformers are imported where a page of the band is, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.classify.config import RescoringConfig
from skywright.corpus.classify.encoder import encoder_scores, fingerprint
from skywright.corpus.classify.stage import SCORE_SCHEMA, language_group
from skywright.engine.stage import MapStage, Shard, Tables

LINEAR = "_linear"
"""The label under which a page's linear score is kept when the encoder has given it another."""

DECIMALS = 4
"""Of the encoder's scores: sums of floats come out a little different in another batch, on another
number of threads or device."""


class RescoreParams(Config):
    """Which pages are scored again, and by what. The encoder is named by the hash of its files;
    where they stand is no part of what a task makes.
    """

    label: str
    band: tuple[float, float]
    lang: tuple[str, ...]
    max_tokens: int
    batch: int
    device: str
    fingerprint: str
    encoder: str = Field(exclude=True)


def rescore_params(config: RescoringConfig) -> RescoreParams:
    """The step's parameters. Raises UserError for a folder that holds no encoder with a head."""
    told = config.model_dump()
    return RescoreParams(fingerprint=fingerprint(config.encoder), **told)


def read_grey(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the scores of a shard, those in the band with their page's `text`."""
    params = cast(RescoreParams, params)
    documents, scores = joined.paths(shard)
    table = pq.read_table(scores)
    langs = pa.array([language_group(lang) in params.lang for lang in table["lang"].to_pylist()])
    grey = pc.and_(pc.equal(table["label"], params.label), langs)
    grey = pc.and_(grey, pc.greater_equal(table["score"], params.band[0]))
    grey = pc.and_(grey, pc.less(table["score"], params.band[1]))
    wanted = table.filter(grey)["record"].combine_chunks()
    names, texts = [pa.array([], pa.string())], [pa.array([], pa.string())]
    with pq.ParquetFile(documents) as file:
        for batch in file.iter_batches(columns=["record", "text"]):
            found = batch.filter(pc.is_in(batch["record"], value_set=wanted))
            names.append(found["record"])
            texts.append(found["text"])
    at = pc.index_in(table["record"], value_set=pa.concat_arrays(names))
    at = pc.if_else(grey, at, pa.scalar(None, pa.int32()))
    yield table.append_column("text", pa.concat_arrays(texts).take(at.combine_chunks()))


def rescore(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The scores of a shard; those of the band are the encoder's, and the linear ones stay beside
    them under the label with `LINEAR` behind.
    """
    params = cast(RescoreParams, params)
    grey = table.filter(pc.is_valid(table["text"]))
    scores = table.select(SCORE_SCHEMA.names)
    if grey.num_rows:
        texts = grey["text"].to_pylist()
        order = np.argsort([-len(text) for text in texts], kind="stable")  # less padding
        given = RescoringConfig(
            **params.model_dump(exclude={"fingerprint"}), encoder=params.encoder
        )
        found = np.empty(len(texts))
        found[order] = encoder_scores([texts[int(i)] for i in order], given)
        fresh = grey.select(SCORE_SCHEMA.names)
        score = pa.array(found.round(DECIMALS), pa.float32())
        linear = pa.repeat(pa.scalar(params.label + LINEAR), fresh.num_rows)
        scores = pa.concat_tables(
            [
                scores.filter(pc.is_null(table["text"])),
                fresh.set_column(SCORE_SCHEMA.names.index("score"), "score", score),
                fresh.set_column(SCORE_SCHEMA.names.index("label"), "label", linear),
            ]
        ).cast(SCORE_SCHEMA)
    return {"scores": scores.sort_by([("record", "ascending"), ("label", "ascending")])}


RESCORE = MapStage(
    "rescore", "1", rescore, {"scores": SCORE_SCHEMA}, read_grey, rowwise=False,
    libraries=("tokenizers", "torch", "transformers"),
)  # fmt: skip
