"""The ledger: one row for every input record, kept or dropped, by which rule, for which document.

`entries` makes the rows of one shard; `why` answers for one page.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.schemas import LEDGER_SCHEMA, TAKEDOWN
from skywright.corpus.urls import normalise
from skywright.engine.stage import MapStage, Shard, Tables
from skywright.errors import UserError

LEDGER = "ledger.parquet"
EDITS = "edits"
SAMPLES_A_RULE = 20
EXCERPT_CHARS = 200

SAMPLE_SCHEMA = pa.schema(
    [
        ("step", pa.string()),
        ("rule", pa.string()),
        ("record", pa.string()),
        ("url", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("excerpt", pa.string()),
    ]
)

# ---------------------------------------------------------------- making it


def read_traces(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the index of a shard, its documents, and every table that drops some of it.

    A column `part` tells them apart. The order of the joined tables is index, index errors,
    documents, signals, then tables of drops and tables of errors.
    """
    for number, path in enumerate(joined.paths(shard)):
        table = pq.read_table(path, columns=_columns(path))
        if "text" in table.column_names:
            excerpts = pc.utf8_slice_codeunits(table["text"], 0, EXCERPT_CHARS)
            chars = pc.cast(pc.utf8_length(table["text"]), pa.int64())
            table = table.select(["record", "lang"])
            table = table.append_column("excerpt", excerpts).append_column("chars", chars)
        columns = {name: table[name] for name in table.column_names if name in _TRACE.names}
        columns["part"] = pa.repeat(pa.scalar(number, pa.int32()), table.num_rows)
        columns["shard"] = pa.repeat(pa.scalar(shard.key), table.num_rows)
        missing = [f for f in _TRACE if f.name not in columns]
        columns |= {f.name: pa.nulls(table.num_rows, f.type) for f in missing}
        yield pa.table(columns).select(_TRACE.names).cast(_TRACE)


def _columns(path: str) -> list[str]:
    """The columns of a table that the ledger reads."""
    names = pq.read_schema(path).names
    if "content_hash" in names:  # the signals: all but the count of tokens is told elsewhere
        return ["record", "tokens"]
    return [name for name in names if name in (*_TRACE.names, "text")]


_TRACE = pa.schema(
    [
        *LEDGER_SCHEMA,
        ("error", pa.string()),
        ("excerpt", pa.string()),
        ("part", pa.int32()),
    ]
)
_INDEX, _INDEX_ERRORS, _DOCUMENTS, _SIGNALS = range(4)
ERROR_STEPS = {
    "extract": "extract",
    "signals": "signals",
    "edit": "edits",
    "user_signals": "signals",
    "minhash": "near_duplicates",
    "line_edits": "line_duplicates",
    "substring_edits": "substring_duplicates",
}
"""Stages with a table of errors, in the order in which they are joined at the end, and the step
that the ledger names."""


class LedgerParams(Config):
    """How many tables of drops are joined between the signals and the tables of errors, and the
    stages of the latter.
    """

    drop_tables: int
    error_tables: tuple[str, ...]


def entries(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Ledger rows of a shard, in the order of the file, and up to 20 examples of each rule."""
    rows: dict[str, dict[str, Any]] = {}
    excerpts: dict[str, str] = {}
    taken: list[dict[str, Any]] = []
    params = cast(LedgerParams, params)
    first_error = _SIGNALS + 1 + params.drop_tables
    shard = table["shard"][0].as_py() if table.num_rows else ""
    for row in table.to_pylist():
        part, excerpt, record = row.pop("part"), row.pop("excerpt"), row["record"]
        if part == _INDEX:
            rows[record] = row
        elif part == _INDEX_ERRORS:
            source = record.partition("/")[0]
            rows[record] = row | {"source": source, "step": "read", "rule": row["error"]}
        elif part == _DOCUMENTS:
            excerpts[record] = excerpt
            rows[record] |= {"lang": row["lang"], "chars": row["chars"]}
        elif part == _SIGNALS:
            rows[record]["tokens"] = row["tokens"]
        elif row["step"] == TAKEDOWN:
            taken.append(row)
        else:
            step = row["step"]
            if part >= first_error:
                step = ERROR_STEPS[params.error_tables[part - first_error]]
            _drop(rows[record], row | {"step": step, "rule": row["rule"] or row["error"]})
    for name in side:
        ours = side[name].filter(pc.is_in(side[name]["record"], value_set=table["record"]
                                          .combine_chunks()))  # fmt: skip
        for row in ours.to_pylist():
            _drop(rows[row["record"]], row)
    for row in taken:
        excerpts.pop(row["record"], None)  # whatever dropped it, its text is shown nowhere
        if rows[row["record"]]["step"] is None:
            _drop(rows[row["record"]], row)
    for row in rows.values():
        row.pop("error")
        row |= {"kept": row["step"] is None, "shard": shard}
    return {
        "ledger": pa.Table.from_pylist(list(rows.values()), schema=LEDGER_SCHEMA),
        "samples": pa.Table.from_pylist(
            samples(
                {**row, "excerpt": excerpts.get(row["record"]) or row["message"]}
                for row in rows.values()
                if not row["kept"]
            ),
            schema=SAMPLE_SCHEMA,
        ),
    }


def _drop(row: dict[str, Any], reason: dict[str, Any]) -> None:
    if row["step"] is not None:
        raise ValueError(
            f"{row['record']} is dropped twice: by {row['step']} and by {reason['step']}"
        )
    for name in ("step", "rule", "value", "threshold", "kept_id", "similarity", "message"):
        row[name] = reason.get(name)


def samples(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Up to 20 rows of each step and rule, the same ones in whatever order they come."""
    groups: dict[tuple[str, str], list[tuple[bytes, dict[str, Any]]]] = {}
    for row in rows:
        place = hashlib.blake2b(row["record"].encode(), digest_size=8).digest()
        groups.setdefault((row["step"], row["rule"]), []).append((place, row))
    chosen = []
    for key in sorted(groups):
        group = sorted(groups[key], key=lambda item: (item[0], item[1]["record"]))
        for _, row in group[:SAMPLES_A_RULE]:
            chosen.append({name: row.get(name) for name in SAMPLE_SCHEMA.names})
    return chosen


def _read_all(shard: Shard, params: Config) -> Iterator[pa.Table]:
    yield pa.concat_tables(list(read_traces(shard, params)))


ENTRIES = MapStage(
    "ledger", "2", entries, {"ledger": LEDGER_SCHEMA, "samples": SAMPLE_SCHEMA}, _read_all,
    rowwise=False, narrow="record",
)  # fmt: skip

# ---------------------------------------------------------------- asking it

SHOWN_DAMAGED = 5
DAMAGE = ("truncated", "corrupt", "bomb")
"""Rules of the step `read` for what could not be unpacked: more than one record may be lost."""


def damaged(folder: Path) -> list[dict[str, Any]]:
    """Input files that could not be read whole: `file, rules (counts), message` of the first."""
    table = pq.read_table(
        Path(folder) / LEDGER, columns=["record", "rule", "message"],
        filters=(pc.field("step") == "read") & pc.field("rule").isin(DAMAGE),
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        file = row["record"].rpartition(":")[0]
        told = found.setdefault(
            file, {"file": file, "rules": Counter(), "message": row["message"] or ""}
        )
        told["rules"][row["rule"]] += 1
    return list(found.values())


def damage_sentences(folder: Path, run: Path) -> list[str]:
    """The first damaged inputs, and how to look at all, for people; `run` is the run's folder."""
    files = damaged(folder)
    lines = []
    for row in files[:SHOWN_DAMAGED]:
        rules = ", ".join(f"{rule} {count:,}" for rule, count in row["rules"].items())
        lines.append(f"damaged: {row['file']} ({rules}): {row['message']}")
    if files:
        first, *others = sorted({rule for row in files for rule in row["rules"]})
        inputs = "1 input is" if len(files) == 1 else f"{len(files):,} inputs are"
        lines.append(
            f"{inputs} damaged and gave less than they hold; copy them again and build again; look "
            f"with: skywright corpus samples {run} --rule read/{first}"
            + (f" (or {', '.join(others)})" if others else "")
        )
    return lines


def _open(folder: Path) -> pq.ParquetFile:
    path = Path(folder) / LEDGER
    if not path.is_file():
        raise UserError(f"{folder}: no {LEDGER} there; give the folder of a finished corpus")
    return pq.ParquetFile(path)


def why(folder: Path, query: str, near: int = 5) -> list[dict[str, Any]]:
    """What became of a page, asked by its URL, record or id (32 hex digits).

    Returns one dictionary a matching record: the ledger's fields, `match` ("url", "record", "id"),
    and `sentence`, which says it in words; `kept_record` and `kept_url` name the document it went
    in favour of; `edits` says how many characters each edit cut. A URL matches in its normalised
    form. When nothing matches, the nearest addresses of the same host come back with `match`
    "near". Raises UserError without a ledger.
    """
    query = query.strip()
    wanted_id = bytes.fromhex(query) if re.fullmatch(r"[0-9a-fA-F]{32}", query) else None
    key, host = normalise(query), _host(query)
    found: list[dict[str, Any]] = []
    same_host: list[str] = []
    with _open(folder) as file:
        for batch in file.iter_batches(columns=["record", "id", "url"]):
            for row in batch.to_pylist():
                if row["record"] == query:
                    found.append({"record": row["record"], "match": "record"})
                elif row["id"] is not None and row["id"] == wanted_id:
                    found.append({"record": row["record"], "match": "id"})
                elif row["url"] and (row["url"] == query or normalise(row["url"]) == key):
                    found.append({"record": row["record"], "match": "url"})
                elif row["url"] and _host(row["url"]) == host:
                    same_host.append(row["url"])
    if not found and same_host:
        names = difflib.get_close_matches(query, sorted(set(same_host)), n=near, cutoff=0.0)
        return [{**a, "match": "near"} for n in names for a in why(folder, n) if a["url"] == n]
    rows = {row["record"]: row for row in _rows(folder, "record", [f["record"] for f in found])}
    kept_ids = [row["kept_id"] for row in rows.values() if row["kept_id"]]
    kept = {row["id"]: row for row in _rows(folder, "id", kept_ids)}
    cuts = _cuts(folder, [row["id"] for row in rows.values() if row["id"]])
    return [_answer(rows[item["record"]], item["match"], kept, cuts) for item in found]


def _host(url: str) -> str:
    return url.split("://", 1)[-1].partition("/")[0].lower().removeprefix("www.")


def _rows(folder: Path, column: str, values: list[Any]) -> list[dict[str, Any]]:
    if not values:
        return []
    with _open(folder) as file:
        wanted = pa.array(values, file.schema_arrow.field(column).type)
        parts = [
            pa.Table.from_batches([batch]).filter(pc.is_in(batch[column], value_set=wanted))
            for batch in file.iter_batches()
        ]
    return [row for part in parts for row in part.to_pylist()]


def _cuts(folder: Path, ids: list[bytes]) -> dict[bytes, dict[str, int]]:
    """Characters that each edit removed from the documents of these ids."""
    found: dict[bytes, dict[str, int]] = {}
    wanted = pc.field("id").isin(pa.array(ids, pa.binary(16)))
    for path in sorted((Path(folder) / EDITS).glob("*.parquet")) if ids else ():
        table = pq.read_table(path, columns=["id", "rule", "chars_removed"], filters=wanted)
        for row in table.to_pylist():
            cut = found.setdefault(row["id"], {})
            cut[row["rule"]] = cut.get(row["rule"], 0) + row["chars_removed"]
    return found


def _answer(
    row: dict[str, Any],
    match: str,
    kept: dict[bytes, dict[str, Any]],
    cuts: dict[bytes, dict[str, int]],
) -> dict[str, Any]:
    instead = kept.get(row["kept_id"]) if row["kept_id"] else None
    answer = {
        **row,
        "match": match,
        "id": row["id"].hex() if row["id"] else None,
        "kept_id": row["kept_id"].hex() if row["kept_id"] else None,
        "kept_record": instead and instead["record"],
        "kept_url": instead and instead["url"],
        "edits": cuts.get(row["id"], {}) if row["id"] else {},
    }
    return {"sentence": sentence(answer), **answer}


def sentence(answer: dict[str, Any]) -> str:
    """The ledger's row in words."""
    name = answer["url"] or answer["record"]
    if answer["kept"]:
        cut = "".join(f"; {rule} cut {chars}" for rule, chars in answer["edits"].items())
        return f"{name} was kept: {answer['lang']}, {answer['chars']} characters{cut}."
    text = f"{name} was dropped at step {answer['step']} by rule {answer['rule']}"
    if answer["value"] is not None:
        text += f": value {answer['value']:.4g}"
        if answer["threshold"] is not None:
            text += f", threshold {answer['threshold']:.4g}"
    if answer["kept_id"]:
        text += f"; in favour of {answer['kept_url'] or answer['kept_record'] or answer['kept_id']}"
        if answer["similarity"] is not None:
            text += f" (similarity {answer['similarity']:.3f})"
    if answer["message"]:
        text += f" ({answer['message']})"
    return text + "."
