"""The same models under every protocol: what each convention reports, and how the ranking moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import kendalltau

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.models import EvaluatedModel, chosen_models, refuse_early, score_models
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import ScoringProtocol
from skywright.evaluate.store import Store
from skywright.evaluate.summary import domain_labels
from skywright.sets import EvaluationSet
from skywright.statistics import Estimate, domain_macro


def headlines(
    models: Sequence[EvaluatedModel],
    sets: Mapping[str, EvaluationSet],
    protocols: Sequence[ScoringProtocol],
    reference: ReferenceTokenizer,
    store: Store | None = None,
    progress: Progress = silent,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    batch_tokens: int = BATCH_TOKENS,
    examine: bool = False,
) -> dict[str, dict[str, Estimate]]:
    """{protocol: {model: mean over sets of the number that the protocol reports}}.

    Intervals are 95 %, t over documents within their sets, also where the protocol joins all
    documents to one text: what crosses from one document to the next is then left out of account.

    Every model and protocol is checked before the first score, see `refuse_early`, whose
    `UserError` this raises; examine: by the doctor too.
    """
    models = chosen_models(models, "all")
    refuse_early(
        models, sets, protocols, reference, store, progress,
        device=device, dtype=dtype, examine=examine,
    )  # fmt: skip
    found: dict[str, dict[str, Estimate]] = {}
    for number, protocol in enumerate(protocols):

        def within(done: float, total: float, text: str, number: int = number) -> None:
            progress(number + done / total, len(protocols), f"{protocols[number].name}: {text}")

        found[protocol.name] = {
            scored.model["name"]: _mean(protocol, scored.tables)
            for scored in score_models(
                models, sets, protocol, reference, store, within,
                device=device, dtype=dtype, batch_tokens=batch_tokens,
            )
        }  # fmt: skip
    return found


def _mean(protocol: ScoringProtocol, tables: Mapping[str, pa.Table]) -> Estimate:
    parts = [protocol.ratio(table) for table in tables.values()]
    return domain_macro(
        np.concatenate([part.numerators for part in parts]),
        np.concatenate([part.denominators for part in parts]),
        domain_labels(tables),
    )


def _ranks(values: Mapping[str, float]) -> dict[str, int]:
    """1 for the lowest loss; equal losses share the better rank."""
    return {name: 1 + sum(v < value for v in values.values()) for name, value in values.items()}


def differences(estimates: Mapping[str, Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    """One row a protocol: its numbers, its ranks, and how they differ from the first protocol's.

    estimates: as `headlines` gives them; lower is better in all. Rows: protocol, values (with their
    intervals) and ranks by model, moved (models whose rank is another), largest_move (places),
    kendall_tau (1: the same order; None with fewer than two models), and spread: the loss of the
    last model over that of the first, minus 1, which says how far apart the protocol sees them.
    Raises `UserError` if the protocols are not of the same models.
    """
    if not estimates:
        raise UserError("no protocol: name at least one")
    values = {
        protocol: {model: estimate.value for model, estimate in found.items()}
        for protocol, found in estimates.items()
    }
    first_name, first = next(iter(values.items()))
    before = _ranks(first)
    rows = []
    for name, found in values.items():
        if set(found) != set(first):
            raise UserError(
                f"protocol {name}: scored {', '.join(found)}, but {first_name} {', '.join(first)};"
                " score the same models under both"
            )
        ranks = _ranks(found)
        moves = [abs(ranks[model] - before[model]) for model in first]
        pairs = [(first[model], found[model]) for model in first]
        tau = kendalltau(*zip(*pairs, strict=True)).statistic if len(pairs) > 1 else np.nan
        rows.append(
            {
                "protocol": name,
                "values": {model: one.as_json() for model, one in estimates[name].items()},
                "ranks": ranks,
                "moved": sum(move > 0 for move in moves),
                "largest_move": max(moves),
                "kendall_tau": float(tau) if np.isfinite(tau) else None,
                "spread": max(found.values()) / min(found.values()) - 1,
            }
        )
    return rows
