"""Score checkpoints on domain sets: the evaluate step of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from skywright.engine.files import write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends import open_backend
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.config import EvaluateConfig
from skywright.evaluate.doctor import examined
from skywright.evaluate.protocols import Protocol, cut_text
from skywright.evaluate.score import ReferenceTokenizer, score
from skywright.evaluate.store import Store
from skywright.evaluate.summary import domain_rows
from skywright.evaluate.unigram import unigram_nats
from skywright.sets import EvaluationSet


class EvaluatedModel(TypedDict):
    """A model to score: its name in tables, its folder, and where in training it stands."""

    name: str
    path: str
    tokens: int
    segment: str


def find_model(models: Sequence[EvaluatedModel], wanted: str) -> EvaluatedModel:
    """The checkpoint called "first", "last", "segment:NAME" (its last) or by its own name.

    Raises `UserError`, naming those there are, if there is none.
    """
    ordered = sorted(models, key=lambda model: model["tokens"])
    segment = wanted.removeprefix("segment:")
    found = [
        model
        for place, model in enumerate(ordered)
        if wanted == model["name"]
        or (wanted == "first" and place == 0)
        or (wanted == "last" and place == len(ordered) - 1)
        or (segment != wanted and model["segment"] == segment)
    ]
    if not found:
        names = ", ".join(f"{model['name']} (segment {model['segment']})" for model in ordered)
        raise UserError(f"no checkpoint {wanted!r}; there are {names or 'none'}")
    return found[-1]


def chosen_models(
    models: Sequence[EvaluatedModel], names: Literal["all"] | list[str]
) -> list[EvaluatedModel]:
    """The models named (see `find_model`), in training order; `UserError` if a name repeats."""
    known = [model["name"] for model in models]
    if len(set(known)) != len(known):
        raise UserError(f"models {known}: a name stands twice; give each its own")
    if names == "all":
        return list(models)
    wanted = {find_model(models, name)["name"] for name in names}
    return [model for model in models if model["name"] in wanted]


def sets_by_domain(sets: Sequence[EvaluationSet]) -> dict[str, EvaluationSet]:
    """The sets with purpose "domain", by their domain; `UserError` if a domain repeats."""
    found: dict[str, EvaluationSet] = {}
    for item in sets:
        if item.purpose != "domain":
            continue
        if item.domain in found:
            raise UserError(
                f"sets: {found[item.domain].name} and {item.name} are both of domain"
                f" {item.domain!r}; name one of them"
            )
        found[item.domain] = item
    if not found:
        raise UserError("sets: none has the purpose 'domain'; name at least one in the recipe")
    return found


def unigram_baseline(
    counts: np.ndarray,
    domains: Mapping[str, EvaluationSet],
    protocol: Protocol,
    reference: ReferenceTokenizer,
) -> dict[str, float]:
    """`unigram_nats` of each domain's documents, cut as the protocol says, and their mean."""
    nats = {
        domain: unigram_nats(
            counts,
            [reference.encode(cut_text(d.text, protocol.max_chars)) for d in item.documents],
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
    protocol = Protocol(max_chars=config.max_chars)
    domains = sets_by_domain(sets)
    store = Store(store_root or Path(out) / "store")
    chosen = chosen_models(models, config.checkpoints)
    rows = []
    for number, model in enumerate(chosen):
        backend = open_backend(model["path"], config.device, config.dtype, options)
        if examine:
            backend = examined(backend, model["name"])
        tables = {}
        for place, (domain, item) in enumerate(domains.items()):
            progress(number * len(domains) + place, len(chosen) * len(domains),
                     f"{model['name']} on {domain}")  # fmt: skip
            tables[domain] = score(
                backend, item, protocol, reference_tokenizer, store,
                batch_tokens=config.batch_tokens,
            )  # fmt: skip
        langs = {domain: item.lang for domain, item in domains.items()}
        for row in domain_rows(tables, langs, config.bootstrap_draws, config.seed):
            rows.append(
                {"model": model["name"], "tokens": model["tokens"],
                 "segment": model["segment"], **row}
            )  # fmt: skip
    progress(1, 1, "evaluate")
    summary: dict[str, Any] = {
        "protocol": protocol.model_dump() | {"dtype": config.dtype},
        "reference_tokenizer": reference_tokenizer.fingerprint,
        "interval": f"95 %, document bootstrap, {config.bootstrap_draws} draws",
        "sets": {item.name: item.content_hash for item in domains.values()},
        "rows": rows,
        "unigram": {}
        if unigram_counts is None
        else unigram_baseline(unigram_counts, domains, protocol, reference_tokenizer),
    }
    write_json(Path(out) / "summary.json", summary)
    return summary
