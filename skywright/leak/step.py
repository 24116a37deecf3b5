"""Test checkpoints for a leak of a benchmark: the leak step of a run."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skywright.engine.files import stable_hash, write_json
from skywright.engine.lines import text_lines
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.models import EvaluatedModel, chosen_models, score_models
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.store import Store
from skywright.evaluate.summary import nats_per_reference_token
from skywright.leak.config import LeakConfig
from skywright.leak.deltas import paired_difference, unpaired_difference
from skywright.leak.reference import build_reference
from skywright.leak.verdict import judge
from skywright.sets import EvaluationDocument, EvaluationSet, document_id
from skywright.sets.schema import content_hash

NOTE = (
    "Sample = question, newline, worked solution. delta1 = test - look-alikes on the same items,"
    " paired: low if the test set was in training. delta2 = test - seen train items: clean models"
    " too reach .06 to .08 nats, so it decides nothing where seen minus unseen exists: the halves"
    " of a random split, whose null is exactly 0. Nats per reference token, 95 % intervals."
)


def subset(item: EvaluationSet, ids: set[str]) -> EvaluationSet:
    """The documents of a set with these ids, as a set of its own."""
    documents = tuple(d for d in item.documents if d.id in ids)
    return replace(
        item,
        documents=documents,
        content_hash=content_hash(item.domain, item.lang, item.purpose, documents),
    )


def read_reference_file(path: Path) -> EvaluationSet:
    """A reference set that somebody else wrote: JSONL, plain, .gz or .zst, a `text` in every line.

    Equal texts count once. Raises `UserError` naming the line that cannot be read.
    """
    documents: dict[str, EvaluationDocument] = {}
    for number, line in enumerate(text_lines(path), 1):
        try:
            text = unicodedata.normalize("NFC", json.loads(line)["text"])
            identity = document_id(text)
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number}: needs a JSON object with a 'text'") from None
        documents[identity] = EvaluationDocument(
            identity, text, "reference", "en", None, None, "as its source says"
        )
    if not documents:
        raise UserError(f"{path}: is empty; it needs a JSON object with a 'text' in every line")
    found = tuple(sorted(documents.values(), key=lambda d: d.id))
    purpose = "leak_reference"
    return EvaluationSet(
        path.name.split(".")[0], "reference", "en", found,
        content_hash("reference", "en", purpose, found), "as its source says", purpose,
    )  # fmt: skip


def _named(sets: Sequence[EvaluationSet], name: str, field: str) -> EvaluationSet:
    for item in sets:
        if item.name == name:
            return item
    names = ", ".join(item.name for item in sets) or "none"
    raise UserError(f"leak.{field}: no set named {name!r}; the recipe's sets are {names}")


def _choose_test(test: EvaluationSet, items: int | None, seed: int) -> EvaluationSet:
    order = sorted((stable_hash([seed, d.id]), d.id) for d in test.documents)
    return subset(test, {identity for _, identity in order[:items]})


def run(
    config: LeakConfig,
    models: Sequence[EvaluatedModel],
    sets: Sequence[EvaluationSet],
    reference_tokenizer: ReferenceTokenizer,
    out: Path,
    progress: Progress = silent,
    store_root: Path | None = None,
) -> dict[str, Any]:
    """Score test, look-alikes and the two halves of the train items; write `summary.json`.

    Look-alikes are made from the chosen test items and stand in `out/reference/`; scores stand
    under `store_root` (default: `out/store/`), so a killed step goes on where it was. Returns the
    summary.
    """
    out = Path(out)
    test = _choose_test(_named(sets, config.test, "test"), config.items, config.seed)
    reference = build_reference(test, config.reference_items, config.seed, out, progress)
    compared = {"test": test, "reference": reference.documents}
    if config.seen is not None:
        compared["train_seen"] = _named(sets, config.seen, "seen")
    if config.unseen is not None:
        compared["train_unseen"] = _named(sets, config.unseen, "unseen")
    if config.overlap_reference is not None:
        compared["other_reference"] = read_reference_file(config.overlap_reference)
    protocol = Protocol()
    scored_models = score_models(
        chosen_models(models, config.checkpoints), compared, protocol, reference_tokenizer,
        Store(store_root or out / "store"), progress,
        device=config.device, dtype=config.dtype, batch_tokens=config.batch_tokens,
    )  # fmt: skip
    rows = []
    for scored in scored_models:
        model, tables = scored.model, scored.tables
        losses = {role: nats_per_reference_token(table) for role, table in tables.items()}
        delta1 = paired_difference(tables["test"], tables["reference"], reference.original_of)
        delta1_unpaired = unpaired_difference(tables["test"], tables["reference"])
        delta2 = seen_minus_unseen = None
        if "train_seen" in tables:
            delta2 = unpaired_difference(tables["test"], tables["train_seen"])
            if "train_unseen" in tables:
                seen_minus_unseen = unpaired_difference(
                    tables["train_seen"], tables["train_unseen"]
                )
        verdict = judge(delta1, delta2, seen_minus_unseen)
        rows.append(
            {
                "model": model["name"],
                "tokens": model["tokens"],
                "segment": model["segment"],
                **{role: estimate.as_json() for role, estimate in losses.items()},
                "delta1": delta1.as_json(),
                "delta1_unpaired": delta1_unpaired.as_json(),
                "delta2": delta2 and delta2.as_json(),
                "seen_minus_unseen": seen_minus_unseen and seen_minus_unseen.as_json(),
                "verdict": verdict.word,
                "reason": verdict.reason,
            }
        )
    summary: dict[str, Any] = {
        "models": rows,
        "sets": {item.name: len(item.documents) for item in compared.values()},
        "look_alikes": {
            "made": len(reference.documents.documents),
            "refused": dict(reference.refused),
        },
        "protocol": protocol.model_dump() | {"dtype": config.dtype},
        "reference_tokenizer": reference_tokenizer.fingerprint,
        "note": NOTE,
    }
    write_json(out / "summary.json", summary)
    return summary
