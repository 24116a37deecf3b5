"""The step that looks for benchmark items, and the report by item."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus.decontaminate import kernels
from skywright.corpus.decontaminate.index import Hit, Index, Item, character_spans
from skywright.corpus.schemas import ID
from skywright.engine.stage import MapStage, Tables

ITEM_SCHEMA = pa.schema(
    [("benchmark", pa.string()), ("item", pa.string()), ("question", pa.string()),
     ("answer", pa.string())]
)  # fmt: skip
HIT_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("answer_score", pa.float64()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("found_share", pa.float64()),
    ]
)
"""An item found in a document: `start`, `end` in characters of its text; `answer_score` null where
the answer cannot be looked for; `found_share`: characters of the document inside any item."""


class LookupParams(Config):
    """Threshold, and the sources that are searched (all when None)."""

    threshold: float
    sources: tuple[str, ...] | None = None


def item_table(items: Sequence[Item]) -> pa.Table:
    """Items as a side input."""
    columns = list(zip(*items, strict=True)) or [(), (), (), ()]
    return pa.table([pa.array(c, pa.string()) for c in columns], schema=ITEM_SCHEMA)


@lru_cache(maxsize=1)
def _index(items: tuple[Item, ...]) -> Index:
    return Index.build(items)


def lookup(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Every benchmark item that a document holds, in the order of documents and items."""
    params = cast(LookupParams, params)
    if params.sources is not None:
        table = table.filter(pc.is_in(table["source"], pa.array(params.sources, pa.string())))
    index = _index(tuple(Item(*row.values()) for row in side["items"].to_pylist()))
    rows: list[dict[str, Any]] = []
    hits = index.find(table["text"], params.threshold)
    for number, own in _by_row(hits).items():
        document = table.slice(number, 1).to_pylist()[0]
        spans = [character_spans(document["text"], [(hit.start, hit.end)])[0] for hit in own]
        inside = np.zeros(len(document["text"]), bool)
        for start, end in spans:
            inside[start:end] = True
        for hit, (start, end) in zip(own, spans, strict=True):
            item = index.items[hit.item]
            rows.append(
                {
                    "record": document["record"], "id": document["id"],
                    "benchmark": item.benchmark, "item": item.id, "score": hit.score,
                    "threshold": hit.threshold,
                    "answer_score": None if math.isnan(hit.answer_score) else hit.answer_score,
                    "start": start, "end": end, "found_share": float(inside.mean()),
                }
            )  # fmt: skip
    return {"hits": pa.Table.from_pylist(rows, schema=HIT_SCHEMA)}


def _by_row(hits: Iterable[Hit]) -> dict[int, list[Hit]]:
    groups: dict[int, list[Hit]] = defaultdict(list)
    for hit in hits:
        groups[hit.row].append(hit)
    return groups


LOOKUP = MapStage("lookup", f"1 {kernels.VERSION}", lookup, {"hits": HIT_SCHEMA}, batch_rows=512)


def report(items: pa.Table, hits: pa.Table, action: str, threshold: float) -> dict[str, Any]:
    """What was found, by benchmark and item: counts, and every found item with its documents."""
    index = _index(tuple(Item(*row.values()) for row in items.to_pylist()))
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in hits.sort_by([("benchmark", "ascending"), ("record", "ascending")]).to_pylist():
        found[row["benchmark"]][row["item"]].append(
            {
                "record": row["record"],
                "score": round(row["score"], 4),
                "answer_score": row["answer_score"] and round(row["answer_score"], 4),
            }
        )
    benchmarks: dict[str, dict[str, Any]] = {}
    for item, searchable in zip(index.items, index.searchable.tolist(), strict=True):
        counts = benchmarks.setdefault(
            item.benchmark,
            {"items": 0, "too_short_or_common": 0, "found_items": 0, "documents": 0, "found": {}},
        )
        counts["items"] += 1
        counts["too_short_or_common"] += not searchable
    for name, by_item in found.items():
        records = {row["record"] for rows in by_item.values() for row in rows}
        benchmarks[name] |= {
            "found_items": len(by_item), "documents": len(records), "found": dict(by_item),
        }  # fmt: skip
    return {"action": action, "threshold": threshold, "benchmarks": benchmarks}
