"""Decisions that need more than a page's own signals: code, learned scores, benchmark items.

They come after the rules, on what these have kept; like them they cost seconds and can be asked
again with another threshold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.corpus import joined
from skywright.corpus.classify.config import SafetyRule
from skywright.corpus.classify.stage import QUALITY, SCORE_SCHEMA, language_group
from skywright.corpus.code import rules as code_rules
from skywright.corpus.code.languages import language_of
from skywright.corpus.code.rules import CodeConfig
from skywright.corpus.decontaminate.stage import HIT_SCHEMA
from skywright.corpus.measure import KEPT_SCHEMA
from skywright.corpus.schemas import DROP_SCHEMA, drop, drop_table
from skywright.engine.stage import ERRORS_SCHEMA, MapStage, Shard, Tables

# ---------------------------------------------------------------- code

FAILURE_SCHEMA = pa.schema(
    [("record", pa.string()), ("rule", pa.string()), ("value", pa.float64()),
     ("threshold", pa.float64())]
)  # fmt: skip


def examine(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Source files that fail a rule of their language."""
    params = cast(CodeConfig, params)
    rows = []
    for row in table.filter(pc.equal(table["lang"], "code")).to_pylist():
        meta = json.loads(row["meta"])
        licence = str(meta.get("license") or meta.get("licence") or "")
        found = code_rules.failure(
            row["text"], code_language(row, meta, params), licence, row["id"].hex(), params
        )
        if found is not None:
            rows.append({"record": row["record"], **found._asdict()})
    return {"failures": pa.Table.from_pylist(rows, schema=FAILURE_SCHEMA)}


def code_language(row: dict[str, Any], meta: dict[str, Any], config: CodeConfig) -> Any:
    """The language of a source file by its name: the field `path_field`, else its address."""
    return language_of(str(meta.get(config.path_field) or row["url"] or ""))


CODE = MapStage("code", f"1 {code_rules.VERSION}", examine, {"failures": FAILURE_SCHEMA})

# ---------------------------------------------------------------- decisions


class JudgeParams(Config):
    """Thresholds by language group and label, what a found benchmark item means, and the steps
    whose tables of errors are joined, in their order.
    """

    safety: tuple[SafetyRule, ...]
    min_quality: dict[str, float]
    action: str
    max_cut_share: float
    error_steps: tuple[str, ...] = ()


def read_judged(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the kept records of a shard, each with the first reason against it, if any.

    The joined tables are known by their columns; each may be missing.
    """
    params = cast(JudgeParams, params)
    kept, *others = joined.whole_tables(shard)
    reasons: dict[str, dict[str, Any]] = {}
    error_steps = iter(params.error_steps)
    for table in others:
        if table.schema.equals(ERRORS_SCHEMA):
            step = next(error_steps)
            for row in table.to_pylist():
                row["rule"] = row.pop("error")
                reasons.setdefault(row["record"], {"step": step, **row})
        elif table.schema.equals(FAILURE_SCHEMA):
            for row in table.to_pylist():
                reasons.setdefault(row["record"], {"step": "code", **row})
        elif table.schema.equals(SCORE_SCHEMA):
            for row in _unsafe(table, params):
                reasons.setdefault(row["record"], row)
        elif table.schema.equals(HIT_SCHEMA) and params.action != "report":
            for row in _contaminated(table, params):
                reasons.setdefault(row["record"], row)
    told = [reasons.get(name) for name in kept["record"].to_pylist()]
    column = pa.array([row and json.dumps(row) for row in told], pa.string())
    yield kept.append_column("reason", column)


def _unsafe(scores: pa.Table, params: JudgeParams) -> Iterator[dict[str, Any]]:
    rules: dict[tuple[str, str], float] = {
        (rule.label, lang): rule.threshold for rule in params.safety for lang in rule.lang
    }
    for row in scores.to_pylist():
        group = language_group(row["lang"])
        found = {"record": row["record"], "value": row["score"]}
        threshold = rules.get((row["label"], group))
        if threshold is not None and row["score"] >= threshold:
            rule = row["label"]
            yield {"step": "safety", "rule": rule, "threshold": threshold, **found}
        lowest = params.min_quality.get(group, 0.0)
        if row["label"] == QUALITY and row["score"] < lowest:
            yield {"step": "safety", "rule": "quality", "threshold": lowest, **found}


def _contaminated(hits: pa.Table, params: JudgeParams) -> Iterator[dict[str, Any]]:
    rows = hits.sort_by([("record", "ascending"), ("score", "descending")]).to_pylist()
    for row in rows:
        if params.action == "span" and row["found_share"] <= params.max_cut_share:
            continue
        yield {
            "record": row["record"], "step": "decontaminate",
            "rule": f"decontaminate:{row['benchmark']}", "value": row["score"],
            "threshold": row["threshold"], "message": row["item"],
        }  # fmt: skip


def judge_shard(table: pa.Table, params: Config, side: Tables) -> Tables:
    """Part the kept records of a shard from those with a reason against them."""
    reasons = table.filter(pc.is_valid(table["reason"]))["reason"].to_pylist()
    dropped = []
    for text in reasons:
        row = json.loads(text)
        dropped.append(drop(row.pop("record"), row.pop("step"), row.pop("rule"), **row))
    kept = table.filter(pc.is_null(table["reason"])).drop_columns(["reason"])
    return {"kept": kept, "dropped": drop_table(dropped)}


JUDGE = MapStage(
    "judge", "2", judge_shard, {"kept": KEPT_SCHEMA, "dropped": DROP_SCHEMA}, read_judged,
    rowwise=False,
)  # fmt: skip
