"""Rules: a signal, a comparison, a threshold. Deciding costs seconds and can be asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from skywright.config import Config
from skywright.corpus import plugins
from skywright.corpus.plugins import Plugin
from skywright.corpus.signals import SIGNALS, View
from skywright.errors import UserError

USER = "user."
"""What the names of a user's own signals begin with."""


class Rule(Config):
    """Drop a document whose `signal` is `op` `threshold`. `name` is what the ledger says.

    A rule whose `action` is "tag" drops nothing; documents that fail it are named in the table of
    tags. With `function` the rule is a user's own: a function that is given the table of signals
    and says of each row whether it fails; it has no signal then.
    """

    signal: str = ""
    op: Literal["<", ">"] = ">"
    threshold: float = 0.0
    name: str
    action: Literal["drop", "tag"] = "drop"
    function: Plugin | None = None

    @field_validator("signal")
    @classmethod
    def _known(cls, signal: str) -> str:
        if signal and signal not in SIGNALS and not signal.startswith(USER):
            raise ValueError(f"no signal {signal!r}; known signals: {', '.join(SIGNALS)}")
        return signal

    @property
    def view(self) -> View:
        """The text that the rule's signal is taken from."""
        return SIGNALS[self.signal].view if self.signal in SIGNALS else "final"


DECISIONS = pa.schema(
    [
        pa.field("kept", pa.bool_(), False),
        pa.field("rule", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
    ]
)
"""Rows of `decide`; rule, value and threshold are null where kept."""


def rules_for(lang: str, rules: Mapping[str, Sequence[Rule]]) -> Sequence[Rule]:
    """Rules of `lang`: its own entry, or that of the tag before its first hyphen (zh for zh-Hans).

    Raises `UserError` if there is neither; an empty list says that the language has no rules.
    """
    for tag in (lang, lang.partition("-")[0]):
        if tag in rules:
            return rules[tag]
    raise UserError(
        f"rules: no entry for language {lang!r} (there are: {', '.join(sorted(rules)) or 'none'}); "
        "add one, which may be empty"
    )


TAGS = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("rule", pa.string(), False),
        pa.field("value", pa.float64()),
    ]
)
"""Rows of the tags: which row of the signals failed which rule that tags."""


class Decided(NamedTuple):
    """`decisions` of DECISIONS, one row a row; `tags` of TAGS, of rows kept or dropped."""

    decisions: pa.Table
    tags: pa.Table


def decide(
    signals: pa.Table, lang: pa.Array | pa.ChunkedArray, rules: Mapping[str, Sequence[Rule]]
) -> pa.Table:
    """Keep or drop each row of `signals` by the first failing rule of its language.

    `lang` has a tag a row. Returns a table of `DECISIONS`, one row a row. Raises `UserError` for a
    language without entry, a missing signal column, or a length that differs.
    """
    return decide_and_tag(signals, signals, lang, rules).decisions


def decide_and_tag(
    extracted: pa.Table,
    final: pa.Table,
    lang: pa.Array | pa.ChunkedArray,
    rules: Mapping[str, Sequence[Rule]],
) -> Decided:
    """The same from the signals before and after the edits, with the rows that rules tag.

    Each rule looks at its own view; the two tables have the same rows.
    """
    signals = final
    n = signals.num_rows
    tags = lang.to_pylist()
    if len(tags) != n:
        raise UserError(f"rules: {n} rows of signals but {len(tags)} languages; give one a row")
    names = np.full(n, None, dtype=object)
    values = np.full(n, np.nan)
    thresholds = np.full(n, np.nan)
    kept = np.ones(n, dtype=bool)
    languages = np.array(tags, dtype=object)
    tagged: list[tuple[int, str, float | None]] = []
    for tag in sorted(set(tags), key=str):
        if tag is None:
            raise UserError(f"rules: row {tags.index(None)} has no language; label it first")
        of_language = languages == tag
        for rule in rules_for(tag, rules):
            value, fails = failing(rule, extracted if rule.view == "extracted" else final)
            fails = of_language & fails
            if rule.action == "tag":
                known = np.isfinite(value)
                tagged += [
                    (int(row), rule.name, float(value[row]) if known[row] else None)
                    for row in np.flatnonzero(fails)
                ]
                continue
            drop = kept & fails
            kept[drop] = False
            names[drop] = rule.name
            values[drop] = value[drop]
            thresholds[drop] = rule.threshold if rule.function is None else np.nan
    tagged.sort()
    columns = [
        pa.array([row[place] for row in tagged], kind) for place, kind in enumerate(TAGS.types)
    ]
    tags_table = pa.Table.from_arrays(columns, schema=TAGS)
    columns = [
        pa.array(kept),
        pa.array(names, pa.string(), from_pandas=True),
        pa.array(values, pa.float64(), mask=kept | np.isnan(values)),
        pa.array(thresholds, pa.float64(), mask=kept | np.isnan(thresholds)),
    ]
    return Decided(pa.Table.from_arrays(columns, schema=DECISIONS), tags_table)


def failing(rule: Rule, signals: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(value, whether it fails) of every row for one rule; values of a user's rule are NaN.

    Raises `UserError` for a missing signal column and for a function that does not answer with one
    boolean a row.
    """
    n = signals.num_rows
    if rule.function is not None:
        answer = np.asarray(plugins.load(rule.function, f"rule {rule.name}")(signals))
        if answer.shape != (n,) or answer.dtype != np.bool_:
            raise UserError(
                f"rule {rule.name}: {rule.function.ref} returned {answer.dtype} {answer.shape}; "
                f"return {n} booleans, True for a document to drop"
            )
        return np.full(n, np.nan), answer
    if rule.signal not in signals.column_names:
        raise UserError(
            f"rules: rule {rule.name!r} needs the signal {rule.signal!r}, which the table "
            "does not have; measure it again"
        )
    value = signals[rule.signal].to_numpy().astype(np.float64)
    return value, value < rule.threshold if rule.op == "<" else value > rule.threshold
