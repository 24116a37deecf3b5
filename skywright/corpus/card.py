"""The data card of a finished corpus: what it holds, what became of the rest, under which terms."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from skywright.corpus.waterfall import waterfall
from skywright.engine.files import read_json

FILE = "card.json"
UNNAMED = "not named"


def counts(folder: Path) -> dict[str, Any]:
    """Documents, characters and UTF-8 bytes of a corpus by language, source, quality and licence.

    `licence` is what each document's `meta` says in `license` or `licence`; `quality_bin` is the
    bin its score falls in, within its language.
    """
    tables: dict[str, dict[str, Counter[str]]] = {
        name: defaultdict(Counter) for name in ("lang", "source", "licence", "quality_bin")
    }
    total: Counter[str] = Counter()
    for path in sorted((Path(folder) / "documents").glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["source", "lang", "text", "meta"]):
                for row in batch.to_pylist():
                    meta = json.loads(row["meta"] or "{}")
                    size = {
                        "documents": 1, "chars": len(row["text"]),
                        "bytes": len(row["text"].encode()),
                    }  # fmt: skip
                    total.update(size)
                    tables["lang"][row["lang"]].update(size)
                    tables["source"][row["source"]].update(size)
                    licence = meta.get("license") or meta.get("licence") or UNNAMED
                    tables["licence"][str(licence)].update(size)
                    if "quality_bin" in meta:
                        group = row["lang"].partition("-")[0]
                        tables["quality_bin"][f"{group} {meta['quality_bin']}"].update(size)
    ordered = {
        name: {key: dict(table[key]) for key in sorted(table)} for name, table in tables.items()
    }
    return {"total": dict(total), **{f"by_{name}": table for name, table in ordered.items()}}


def card(folder: Path, name: str) -> str:
    """The data card in Markdown. Everything in it is counted from the corpus in `folder`."""
    folder = Path(folder)
    told, found = waterfall(folder), counts(folder)
    total = found["total"] or {"documents": 0, "chars": 0, "bytes": 0}
    parts = [
        f"# {name}",
        f"{total['documents']:,} documents, {total['chars']:,} characters, {total['bytes']:,} "
        f"bytes of text, from {told['input_records']:,} input records.",
        "Fields: `text`, `id` (hex), `url`, `date`, `source`, `lang`, `meta`. Where a number of "
        "`meta` is called `quality`, it is the score of a classifier for pages that a reference "
        "work would cite, and `quality_bin` its place within its language, 0 the lowest.",
    ]
    for title, key in (
        ("Languages", "by_lang"), ("Sources", "by_source"), ("Quality bins", "by_quality_bin"),
        ("Licences, as the documents name them", "by_licence"),
    ):  # fmt: skip
        if found[key]:
            parts += [f"## {title}", _size_table(found[key])]
    parts += ["## What was dropped", _drop_table(told)]
    if told.get("edits"):
        parts += ["## What was cut out of documents", _edit_table(told["edits"])]
    parts += ["## Evaluation text", _evaluation(told, folder)]
    parts += [
        "## Terms",
        "The texts keep the licences of their sources; the table above counts what the documents "
        f"say. Of those that say nothing ({UNNAMED}) the source is named by `source` and `url`.",
    ]
    return "\n\n".join(parts) + "\n"


def _size_table(table: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        f"| {_cell(key)} | {row['documents']:,} | {row['chars']:,} | {row['bytes']:,} |"
        for key, row in table.items()
    ]
    return "\n".join(["| | documents | characters | bytes |", "|---|---:|---:|---:|", *rows])


def _cell(text: str) -> str:
    """What a document says of itself, in one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _drop_table(told: Mapping[str, Any]) -> str:
    rows = [
        f"| {row['step']} | {row['rule']} | {row['dropped']:,} | "
        f"{len(told['samples'].get(row['step'] + '/' + row['rule'], []))} |"
        for row in told["steps"]
    ]
    head = ["| step | rule | records | samples in waterfall.json |", "|---|---|---:|---:|"]
    return "\n".join([*head, *rows])


def _edit_table(edits: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        f"| {rule} | {row['documents']:,} | {row['spans']:,} | {row['chars']:,} |"
        for rule, row in edits.items()
    ]
    return "\n".join(["| rule | documents | places | characters |", "|---|---:|---:|---:|", *rows])


def _evaluation(told: Mapping[str, Any], folder: Path) -> str:
    held = told["heldout"]
    text = (
        f"{held['documents']:,} evaluation documents were held out; {held['dropped']:,} records "
        "were dropped for overlapping them. The largest share of 5-grams that a kept document has "
        f"in common with one is {held['max_containment_kept']:.3f}, found by exhaustive search "
        f"(the bound: {held['threshold']})."
    )
    path = folder / "decontamination.json"
    if not path.is_file():
        return text
    found = read_json(path)
    rows = [
        f"| {name} | {row['items']:,} | {row['too_short_or_common']:,} | {row['found_items']:,} | "
        f"{row['documents']:,} |"
        for name, row in found["benchmarks"].items()
    ]
    head = [
        "| benchmark | items | too short or common to look for | items found | documents |",
        "|---|---:|---:|---:|---:|",
    ]
    action = {
        "document": "Documents in which an item was found were dropped.",
        "span": "Items were cut out of the documents in which they were found.",
        "report": "Items that were found stay; they are only reported.",
    }[found["action"]]
    return "\n\n".join([text, action, "\n".join([*head, *rows])])
