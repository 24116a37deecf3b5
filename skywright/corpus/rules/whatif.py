"""What another threshold would change, answered from the stored signals of a finished corpus."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import suggest
from skywright.corpus.edits.lines import NAMES as EDITS
from skywright.corpus.rules.decide import Rule, decide_and_tag
from skywright.corpus.waterfall import waterfall
from skywright.engine.files import read_json
from skywright.errors import UserError

IN_FORCE = "rules.json"
SIGNALS, EDITED, USERS = "signals", "signals_edited", "signals_user"
"""Folders of a corpus: signals of the extracted texts, of those that edits changed, a user's."""
SHOWN = 10
EXCERPT_CHARS = 200

RulesBy = dict[str, dict[str, tuple[Rule, ...]]]


def read_in_force(folder: Path) -> RulesBy:
    """The rules that a finished corpus was decided by. Raises UserError when there is none."""
    path = Path(folder) / IN_FORCE
    if not path.is_file():
        raise UserError(f"{folder}: no {IN_FORCE} there; give the folder of a finished corpus")
    return {
        source: {lang: tuple(Rule.model_validate(r) for r in rules) for lang, rules in by.items()}
        for source, by in read_json(path)["rules"].items()
    }


def parse(changes: Sequence[str]) -> dict[str, float | None]:
    """`rule=threshold` or `rule=off`, as a mapping; None stands for off."""
    found: dict[str, float | None] = {}
    for text in changes:
        name, sign, value = text.partition("=")
        try:
            found[name.strip()] = None if value.strip() == "off" else float(value)
        except ValueError:
            sign = ""
        if not sign or math.isnan(found[name.strip()] or 0):
            raise UserError(f"{text!r}: write rule=threshold (chars_min=100) or rule=off")
    return found


def _changed(rules: RulesBy, changes: Mapping[str, float | None]) -> RulesBy:
    known = {rule.name for by in rules.values() for some in by.values() for rule in some}
    for name in changes:
        if name in EDITS:
            raise UserError(
                f"{name} is an edit: other cuts change the texts, so signals must be measured "
                "again; change `edits` in the recipe and build"
            )
        if name not in known:
            hint = suggest(name, sorted(known), "the rules")
            raise UserError(f"no rule in force is called {name!r}; {hint}")
    return {
        source: {
            lang: tuple(
                rule if changes.get(rule.name) is None
                else rule.model_copy(update={"threshold": changes[rule.name]})
                for rule in some
                if not (rule.name in changes and changes[rule.name] is None)
            )
            for lang, some in by.items()
        }
        for source, by in rules.items()
    }  # fmt: skip


def _tables(folder: Path, path: Path, needed: set[str] | None) -> tuple[pa.Table, pa.Table]:
    """Signals of one input file before and after the edits, with the same rows (None: all)."""
    columns = [
        name
        for name in pq.read_schema(path).names
        if needed is None or name in needed or name in ("record", "source", "lang")
    ]
    extracted = pq.read_table(path, columns=columns)
    final = extracted
    edited = folder / EDITED / path.name
    if edited.is_file():
        changed = pq.read_table(edited, columns=columns)
        at = pc.index_in(extracted["record"], value_set=changed["record"].combine_chunks())
        final = pa.table(
            {
                name: pc.if_else(pc.is_valid(at), changed[name].take(at), extracted[name])
                for name in columns
            }
        )
    users = folder / USERS / path.name
    if users.is_file():
        own = pq.read_table(users)
        at = pc.index_in(final["record"], value_set=own["record"].combine_chunks())
        for name in own.column_names[1:]:
            final = final.append_column(name, own[name].take(at))
    return extracted, final


def whatif(folder: Path, changes: Mapping[str, float | None]) -> dict[str, Any]:
    """What would stay if rules had other thresholds (None: if they were off).

    Returns `before` and `after` by source and language (documents and mixed tokens that the rules
    let through and that no other step has dropped), `newly_kept` and `newly_dropped` (counts and up
    to 10 examples each), and `notes`: what the answer cannot know without building. Raises
    UserError for a rule that is not in force, for an edit, and for a folder without a corpus.
    """
    folder = Path(folder)
    rules = read_in_force(folder)
    wanted = _changed(rules, changes)
    needed = {r.signal for by in wanted.values() for some in by.values() for r in some if r.signal}
    reads_all = any(r.function for by in wanted.values() for some in by.values() for r in some)
    outcomes = _outcomes(folder)
    counts: dict[tuple[str, str], Counter[str]] = {}
    gained: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for path in sorted((folder / SIGNALS).glob("*.parquet")):
        extracted, final = _tables(folder, path, None if reads_all else needed)
        at = pc.index_in(final["record"], value_set=outcomes["record"])
        stands = pc.is_valid(at)
        extracted, final = extracted.filter(stands), final.filter(stands)
        known = outcomes.take(at.filter(stands))
        for source in sorted(set(final["source"].to_pylist())):
            here = pc.equal(final["source"], source)
            rows, facts = final.filter(here), known.filter(here)
            decided = decide_and_tag(
                extracted.filter(here), rows, rows["lang"], wanted[source]
            ).decisions
            _tally(source, facts, decided, counts, gained, lost)
    names = ("documents_before", "documents_after", "tokens_before", "tokens_after")
    by = [
        {"source": source, "lang": lang, **{name: count[name] for name in names}}
        for (source, lang), count in sorted(counts.items())
    ]
    return {
        "changes": {name: "off" if value is None else value for name, value in changes.items()},
        "by": by,
        "total": {name: sum(row[name] for row in by) for name in names},
        "newly_kept": {"documents": len(gained), "examples": _examples(folder, gained)},
        "newly_dropped": {"documents": len(lost), "examples": _examples(folder, lost)},
        "notes": _notes(folder, gained, lost),
    }


def _outcomes(folder: Path) -> pa.Table:
    """Ledger rows of the documents that were kept or that a rule dropped."""
    path = folder / "ledger.parquet"
    columns = ["record", "id", "url", "lang", "tokens", "kept", "step", "rule", "value"]
    table = pq.read_table(path, columns=columns)
    stands = pc.or_(table["kept"], pc.fill_null(pc.equal(table["step"], "rules"), False))
    return table.filter(stands).combine_chunks()


def _tally(
    source: str,
    facts: pa.Table,
    decided: pa.Table,
    counts: dict[tuple[str, str], Counter[str]],
    gained: list[dict[str, Any]],
    lost: list[dict[str, Any]],
) -> None:
    for row, new in zip(facts.to_pylist(), decided.to_pylist(), strict=True):
        count = counts.setdefault((source, row["lang"]), Counter())
        tokens = row["tokens"] or 0
        before, after = int(row["kept"]), int(new["kept"])  # a bool would be shown as one
        count.update(documents_before=before, tokens_before=tokens * before)
        count.update(documents_after=after, tokens_after=tokens * after)
        if new["kept"] and not row["kept"]:
            gained.append({**row, "source": source})
        elif row["kept"] and not new["kept"]:
            lost.append({**row, "source": source, "rule": new["rule"], "value": new["value"]})


def _examples(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same few rows on every call, with the beginning of the text where it is at hand: of a
    kept document, or of a dropped one among the samples of its rule. Those come first.
    """
    samples = waterfall(folder)["samples"].values()
    dropped = {row["record"]: row["excerpt"] or "" for some in samples for row in some}

    def place(row: Mapping[str, Any]) -> tuple[bool, bytes]:
        shown = row["kept"] or row["record"] in dropped
        return not shown, hashlib.blake2b(row["record"].encode()).digest()

    order = sorted(rows, key=place)[:SHOWN]
    ids = pa.array([row["id"] for row in order if row["kept"]], pa.binary(16))
    texts: dict[bytes, str] = {}
    for path in sorted((folder / "documents").glob("*.parquet")) if len(ids) else ():
        found = pq.read_table(path, columns=["id", "text"], filters=pc.field("id").isin(ids))
        texts |= dict(zip(found["id"].to_pylist(), found["text"].to_pylist(), strict=True))
    return [
        {
            **{name: row[name] for name in ("record", "url", "source", "lang", "rule", "value")},
            "excerpt": (texts.get(row["id"]) or dropped.get(row["record"], ""))[:EXCERPT_CHARS],
        }
        for row in order
    ]


def _notes(
    folder: Path, gained: Sequence[Mapping[str, Any]], lost: Sequence[Mapping[str, Any]]
) -> list[str]:
    notes = []
    steps = pq.read_table(folder / "ledger.parquet", columns=["step", "rule"])
    failed = pc.and_(pc.equal(steps["step"], "signals"), pc.starts_with(steps["rule"], "error:"))
    unknown = pc.sum(failed).as_py()
    if unknown:
        whose = "1 document has" if unknown == 1 else f"{unknown} documents have"
        which = "it" if unknown == 1 else "them"
        notes.append(
            f"{whose} no signals, because measuring {which} failed: no count holds {which}, and no "
            f"threshold brings {which} back"
        )
    if gained:
        notes.append(
            f"{len(gained)} newly kept documents have not been compared with others: some may be "
            "copies, which a build would drop"
        )
    if lost:
        ids = np.array([row["id"] for row in lost], dtype=object)
        table = pq.read_table(folder / "ledger.parquet", columns=["kept_id"])
        copies = pc.sum(pc.is_in(table["kept_id"], value_set=pa.array(ids, pa.binary(16)))).as_py()
        if copies:
            notes.append(
                f"{copies} records were dropped in favour of newly dropped documents; a build "
                "would look at them again"
            )
    return notes
