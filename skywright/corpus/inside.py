"""Runs the steps that cut what documents have in common, out of those that nothing has dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus.config import CorpusConfig
from skywright.corpus.dedup.paragraphs import LineParams, line_edits
from skywright.corpus.dedup.substrings import SubstringParams, substring_edits
from skywright.corpus.duplicates import scopes_of, without_copies
from skywright.corpus.joined import join, whole_tables
from skywright.corpus.measure import KEPT_SCHEMA
from skywright.corpus.pages import NoParams
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import MapStage, Shard

CUTTING = ("line_edits", "substring_edits")
"""Outputs of the steps, in their order: `documents` and `kept` of what stays, `edits`, `dropped`,
and `signals` of what changed.
"""


def read_standing(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the unique documents of a shard, less those at which a later step failed and those
    that are taken down.
    """
    documents, unique, *gone = whole_tables(shard)
    failed = pa.concat_arrays([table["record"].combine_chunks() for table in gone])
    stay = pc.and_(
        pc.is_in(documents["record"], value_set=unique["record"].combine_chunks()),
        pc.invert(pc.is_in(documents["record"], value_set=failed)),
    )
    yield documents.filter(stay)


STANDING = MapStage(
    "standing", "1", without_copies, {"unique": KEPT_SCHEMA}, read_standing, rowwise=False,
    narrow="record",
)  # fmt: skip


def without_repeats(
    config: CorpusConfig,
    documents: Sequence[Shard],
    unique: Sequence[Shard],
    gone: Sequence[Sequence[Shard]],
    copies: Mapping[str, Sequence[Shard]],
    runner: Runner,
) -> dict[str, Output]:
    """The outputs of the steps that the recipe asks for, by name; none by default.

    `unique` ranks documents, less those of `gone` (tables with `record`, shard by shard) and
    `copies` (tables of drops).
    """
    wanted = config.duplicates
    done: dict[str, Output] = {}
    if wanted.lines is None and wanted.substrings is None:
        return done
    done["standing"] = runner.map(STANDING, join(unique, unique, *gone), NoParams(), copies)
    standing = join(documents, done["standing"].shards("unique"))
    least, scopes = config.edits.min_chars, scopes_of(config)
    if wanted.lines is not None:
        lines = LineParams(**wanted.lines.model_dump(), scopes=scopes)
        done |= line_edits(runner, standing, lines, config.partitions, least)
        left = done["line_edits"]
        standing = join(left.shards("documents"), left.shards("kept"))
    if wanted.substrings is not None:
        runs = SubstringParams(**wanted.substrings.model_dump(), scopes=scopes)
        done |= substring_edits(runner, standing, runs, config.partitions, least)
    return done
