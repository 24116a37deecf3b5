"""Runs the steps after the rules (code, benchmark items, learned scores) and the last cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from skywright.corpus import inside, judge, redact
from skywright.corpus.classify import stage as classify
from skywright.corpus.classify.config import DEFAULT_SAFETY, ClassifyConfig
from skywright.corpus.classify.model import find, load_model
from skywright.corpus.classify.rescore import RESCORE, rescore_params
from skywright.corpus.config import CorpusConfig
from skywright.corpus.decontaminate import stage as decontaminate
from skywright.corpus.decontaminate.benchmarks import read_items
from skywright.corpus.joined import join
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import ERRORS, Shard
from skywright.errors import UserError


def named_sources(choice: str | Sequence[str], inputs: Sequence[Shard]) -> tuple[str, ...]:
    """The sources that "web", "all" or names stand for; raises UserError for an unknown name."""
    known = {shard.meta["source"] for shard in inputs}
    if choice == "all":
        return tuple(sorted(known))
    if choice == "web":
        web = {s.meta["source"] for s in inputs if s.meta["kind"] in ("warc", "html")}
        return tuple(sorted(web))
    for name in choice:
        if name not in known:
            raise UserError(
                f"no input has the source {name!r}; there are {', '.join(sorted(known))}"
            )
    return tuple(sorted(choice))


def check_rules(config: ClassifyConfig) -> None:
    """Raise UserError for a safety rule of the recipe whose label no model gives: it would never
    drop anything. The default rules are for the shipped model, and ask for nothing without it,
    even where a resolved recipe spells them out.
    """
    labels = {label for name in config.models for label in load_model(find(name)).labels}
    for rule in config.safety if config.safety != DEFAULT_SAFETY else ():
        if rule.label not in labels:
            raise UserError(
                f"classify.safety: no model has the label {rule.label!r}; there are "
                + ", ".join(sorted(labels))
            )


def judged(
    config: CorpusConfig,
    inputs: Sequence[Shard],
    documents: Sequence[Shard],
    kept: Sequence[Shard],
    runner: Runner,
) -> dict[str, Output]:
    """Measure documents and decide on the kept ones: the outputs `judge`, and by name those before
    it that the recipe asks for (`code`, `lookup`, `linear_scores`, `scores`, `quality_edges`).
    """
    done: dict[str, Output] = {}
    if any(item.lang == "code" for item in config.inputs):
        done["code"] = runner.map(judge.CODE, documents, config.code)
    wanted = config.decontaminate
    if wanted.benchmarks:
        items = decontaminate.item_table(read_items(wanted.benchmarks))
        done["lookup"] = runner.map(
            decontaminate.LOOKUP, documents,
            decontaminate.LookupParams(threshold=wanted.threshold, sources=wanted.sources),
            {"items": [_side("benchmarks", items, runner)]},
        )  # fmt: skip
    check_rules(config.classify)
    if config.classify.models or config.classify.ngrams:
        models = classify.model_table(config.classify.models, list(config.classify.ngrams.items()))
        done["scores"] = runner.map(
            classify.SCORES, documents,
            classify.ScoreParams(sources=named_sources(config.classify.sources, inputs)),
            {"models": [_side("models", models, runner)]},
        )  # fmt: skip
        if config.classify.rescore is not None:
            done["linear_scores"] = done["scores"]
            done["scores"] = runner.map(
                RESCORE, join(documents, done["linear_scores"].shards("scores")),
                rescore_params(config.classify.rescore),
            )  # fmt: skip
        done["quality_edges"] = runner.gather(
            classify.EDGES, {"scores": done["scores"].shards("scores")},
            classify.BinParams(bins=config.classify.bins),
        )  # fmt: skip
    tables = {"code": "failures", "lookup": "hits", "scores": "scores"}
    steps = {"code": "code", "lookup": "decontaminate", "scores": "safety"}
    joined = [name for name in tables if name in done]
    # Rescoring is done a shard at once: the records that failed are those of the linear scores.
    failing = ["linear_scores" if f"linear_{name}" in done else name for name in joined]
    done["judge"] = runner.map(
        judge.JUDGE,
        join(
            kept,
            *(done[name].shards(tables[name]) for name in joined),
            *(done[name].shards(ERRORS) for name in failing),
        ),
        judge.JudgeParams(
            safety=config.classify.safety,
            min_quality={str(k): v for k, v in config.classify.min_quality.items()},
            action=wanted.action,
            max_cut_share=wanted.max_cut_share,
            error_steps=tuple(steps[name] for name in joined),
        ),
    )
    return done


def redacted(
    config: CorpusConfig, inputs: Sequence[Shard], done: Mapping[str, Output], runner: Runner
) -> Output:
    """The final documents after all cuts, and the edits."""
    beside = [
        done[name].shards(table)
        for name, table in (("lookup", "hits"), ("scores", "scores"))
        if name in done
    ]
    if config.decontaminate.action == "span":
        beside += [done[name].shards("edits") for name in inside.CUTTING if name in done]
    edges = {"edges": done["quality_edges"].shards("edges")} if "quality_edges" in done else {}
    return runner.map(
        redact.REDACT, join(done["final"].shards("documents"), *beside),
        redact.RedactParams(
            pii_sources=named_sources(config.pii.sources, inputs),
            code=config.code,
            cut_items=config.decontaminate.action == "span",
            exercise_sources=named_sources(config.exercises.sources, inputs),
            rewrite_exercises=config.exercises.action == "rewrite",
        ),
        edges,
    )  # fmt: skip


def _side(name: str, table: pa.Table, runner: Runner) -> Shard:
    """A small table as a side input, named by its content."""
    columns = [[str(value) for value in column.to_pylist()] for column in table.columns]
    return runner.constant(name, table, columns)
