"""Score checkpoints on domain sets: the evaluate step of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skywright.engine.files import write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.config import EvaluateConfig
from skywright.evaluate.models import (
    EvaluatedModel,
    chosen_models,
    dtype_of,
    find_model,
    score_models,
)
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import ScoringProtocol, named
from skywright.evaluate.store import Store
from skywright.evaluate.summary import aggregates, domain_rows, headline
from skywright.evaluate.unigram import unigram_nats
from skywright.sets import EvaluationSet, load

__all__ = [
    "EvaluatedModel",
    "chosen_models",
    "find_model",
    "load_domain_sets",
    "run",
    "sets_by_domain",
]


RESERVED = ("macro", "all")
"""Names of the mean over domains and of all documents together, which no domain may have."""


def sets_by_domain(sets: Sequence[EvaluationSet]) -> dict[str, EvaluationSet]:
    """The sets with purpose "domain", by their domain.

    Raises `UserError` if a domain repeats, has a name of RESERVED, or there is none.
    """
    found: dict[str, EvaluationSet] = {}
    for item in sets:
        if item.purpose != "domain":
            continue
        if item.domain in RESERVED:
            raise UserError(
                f"set {item.name}, domain: {item.domain!r} names a row of the results; give the"
                " domain another name"
            )
        if item.domain in found:
            raise UserError(
                f"sets: {found[item.domain].name} and {item.name} are both of domain"
                f" {item.domain!r}; name one of them"
            )
        found[item.domain] = item
    if not found:
        raise UserError("sets: none has the purpose 'domain'; name at least one in the recipe")
    return found


def load_domain_sets(folders: Sequence[Path]) -> list[EvaluationSet]:
    """The sets in these folders. Raises `UserError` for one whose purpose is not "domain"."""
    loaded = [load(folder) for folder in folders]
    for folder, item in zip(folders, loaded, strict=True):
        if item.purpose != "domain":
            raise UserError(
                f"{folder}: its purpose is {item.purpose!r}, and only sets of purpose 'domain' are"
                " scored for their loss; leave it out"
            )
    return loaded


def unigram_baseline(
    counts: np.ndarray,
    domains: Mapping[str, EvaluationSet],
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
) -> dict[str, float]:
    """`unigram_nats` of each domain's documents, cut as the protocol says, and their mean."""
    nats = {
        domain: unigram_nats(
            counts, [reference.encode(protocol.cut(d.text)) for d in item.documents]
        )
        for domain, item in domains.items()
    }
    return {**nats, "macro": float(np.mean(list(nats.values())))}


def run(
    config: EvaluateConfig,
    models: Sequence[EvaluatedModel],
    sets: Sequence[EvaluationSet],
    reference_tokenizer: ReferenceTokenizer,
    out: Path,
    progress: Progress = silent,
    unigram_counts: np.ndarray | None = None,
    store_root: Path | None = None,
    options: BackendOptions | None = None,
    examine: bool = False,
) -> dict[str, Any]:
    """Score every model on every domain set; write `summary.json` under `out`.

    unigram_counts: counts of the reference tokenizer's ids in the training data
    (`unigram.count_tokens`), for the baseline; without them the summary has none. Scores stand
    under `store_root` (default: `out/store`); those that are there are not computed again, so a
    killed step goes on where it was. options: how the models are opened; examine: each goes
    through the doctor's quick checks before its first loss, and `UserError` says what it does not
    pass. Returns the summary.
    """
    protocol = named(config.protocol, config.max_chars, config.window_tokens)
    domains = sets_by_domain(sets)
    store = Store(store_root or Path(out) / "store")
    chosen = chosen_models(models, config.checkpoints)
    langs = {domain: item.lang for domain, item in domains.items()}
    rows: list[dict[str, Any]] = []
    overall: list[dict[str, Any]] = []
    dtypes: dict[str, str] = {}
    scored_models = score_models(
        chosen, domains, protocol, reference_tokenizer, store, progress,
        device=config.device, dtype=config.dtype, batch_tokens=config.batch_tokens,
        tokens=config.tokens, options=options, examine=examine,
    )  # fmt: skip
    for scored in scored_models:
        dtypes[scored.model["name"]] = scored.backend.dtype
        model = {
            "model": scored.model["name"],
            "tokens": scored.model["tokens"],
            "segment": scored.model["segment"],
        }
        found = domain_rows(scored.tables, langs)
        for row in found:
            if row["domain"] in scored.tables:
                row["headline"] = headline(protocol, scored.tables[row["domain"]]).as_json()
        rows += [{**model, **row} for row in found]
        overall.append({**model, **aggregates(scored.tables)})
    progress(1, 1, "evaluate")
    summary: dict[str, Any] = {
        "protocol": protocol.model_dump() | {"dtype": dtype_of(dtypes)},
        "headline_unit": protocol.unit,
        "reference_tokenizer": reference_tokenizer.fingerprint,
        "interval": "95 %, t over documents within domains",
        "sets": {item.name: item.content_hash for item in domains.values()},
        "rows": rows,
        "aggregates": overall,
        "unigram": {}
        if unigram_counts is None
        else unigram_baseline(unigram_counts, domains, protocol, reference_tokenizer),
    }
    write_json(Path(out) / "summary.json", summary)
    return summary
