"""The same models on two periods of the same domains: does their ranking hold on new documents?

A model that had read the first period's documents, or text like them, loses ground on the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywright.engine.files import write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.compare.scores import RANKED, Scores, gather
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.models import EvaluatedModel, chosen_models, dtype_of, score_models
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import ScoringProtocol
from skywright.evaluate.step import sets_by_domain
from skywright.evaluate.store import Store
from skywright.sets import EvaluationSet
from skywright.statistics import Leaderboard, Period, Stability, leaderboard, ranking_stability
from skywright.statistics.studentised import DRAWS


@dataclass(frozen=True)
class PeriodFacts:
    """One period's documents: how many in each domain, and when they were published.

    first, last: the earliest and the latest date that a document names, or None.
    """

    documents: Mapping[str, int]
    content_hashes: Mapping[str, str]
    first: str | None
    last: str | None

    @classmethod
    def of(cls, domains: Mapping[str, EvaluationSet]) -> PeriodFacts:
        """The facts of these sets, by domain."""
        dates = sorted(d.published for s in domains.values() for d in s.documents if d.published)
        return cls(
            {domain: len(item.documents) for domain, item in domains.items()},
            {domain: item.content_hash for domain, item in domains.items()},
            dates[0] if dates else None,
            dates[-1] if dates else None,
        )

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "documents": dict(self.documents),
            "content_hashes": dict(self.content_hashes),
            "first": self.first,
            "last": self.last,
        }


@dataclass(frozen=True)
class PeriodComparison:
    """Models on two periods: both leaderboards, and what changed between them.

    Losses are nats per reference token, over domains. boards, facts: first and second period.
    """

    models: tuple[str, ...]
    boards: tuple[Leaderboard, Leaderboard]
    facts: tuple[PeriodFacts, PeriodFacts]
    stability: Stability
    protocol: Mapping[str, Any]
    reference_tokenizer: str
    noise_floor: float

    def as_json(self) -> dict[str, Any]:
        """The fields under their names, the periods as `first` and `second`."""
        first, second = (
            {**facts.as_json(), **board.as_json()}
            for facts, board in zip(self.facts, self.boards, strict=True)
        )
        return {
            "models": list(self.models),
            "periods": {"first": first, "second": second},
            "stability": self.stability.as_json(),
            "protocol": dict(self.protocol),
            "reference_tokenizer": self.reference_tokenizer,
            "noise_floor": self.noise_floor,
        }


def compare_periods(
    models: Sequence[EvaluatedModel],
    first: Sequence[EvaluationSet],
    second: Sequence[EvaluationSet],
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
    out: Path,
    progress: Progress = silent,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    batch_tokens: int = BATCH_TOKENS,
    store_root: Path | None = None,
    noise_floor: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
    options: BackendOptions | None = None,
    examine: bool = False,
) -> PeriodComparison:
    """Score every model on both periods' domain sets and write `stability.json` under `out`.

    first, second: sets of the same domains and of different documents, since the two periods are
    taken as independent samples. Scores stand under `store_root` (default: `out/store`); those
    that are there are not computed again. noise_floor: nats per reference token; no smaller change
    is called one. options, examine: see `score_models`; draws, seed: see `ranking_stability`.
    Raises `UserError` for fewer than two models, periods whose domains differ or that share
    documents, and what scoring refuses.
    """
    if len(models) < 2:
        raise UserError("stability: name at least two models")
    periods = sets_by_domain(first), sets_by_domain(second)
    _check(*periods)
    domains, out = sorted(periods[0]), Path(out)
    named = {(n, domain): periods[n][domain] for n in (0, 1) for domain in domains}
    tables: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    dtypes: dict[str, str] = {}
    for scored in score_models(
        chosen_models(models, "all"),
        {f"{domain}, period {n + 1}": item for (n, domain), item in named.items()},
        protocol, reference, Store(store_root or out / "store"), progress,
        device=device, dtype=dtype, batch_tokens=batch_tokens, options=options, examine=examine,
    ):  # fmt: skip
        dtypes[scored.model["name"]] = scored.backend.dtype
        for n in (0, 1):
            tables[n][scored.model["name"]] = {
                domain: scored.tables[f"{domain}, period {n + 1}"] for domain in domains
            }
    progress(1, 1, "compare")
    before, after = (_period(gather(found)) for found in tables)
    first_board, second_board = (
        leaderboard(
            period.losses, period.sizes, period.domains,
            noise_floor=noise_floor, draws=draws, seed=seed,
        )
        for period in (before, after)
    )  # fmt: skip
    comparison = PeriodComparison(
        models=tuple(before.losses),
        boards=(first_board, second_board),
        facts=(PeriodFacts.of(periods[0]), PeriodFacts.of(periods[1])),
        stability=ranking_stability(before, after, noise_floor, draws, seed),
        protocol=protocol.model_dump() | {"dtype": dtype_of(dtypes)},
        reference_tokenizer=reference.fingerprint,
        noise_floor=noise_floor,
    )
    write_json(out / "stability.json", comparison.as_json())
    return comparison


def _check(first: Mapping[str, EvaluationSet], second: Mapping[str, EvaluationSet]) -> None:
    alone = sorted(set(first) ^ set(second))
    if alone:
        missing = "second" if alone[0] in first else "first"
        raise UserError(
            f"stability: domain {alone[0]} is missing in the {missing} period; both need the same"
            " domains"
        )
    known = {d.id: item.name for item in first.values() for d in item.documents}
    for item in second.values():
        shared = [document.id for document in item.documents if document.id in known]
        if shared:
            raise UserError(
                f"sets {known[shared[0]]} and {item.name}: document {shared[0]} stands in both"
                f" periods ({len(shared)} of {len(item.documents)}); leave it out of one of them"
            )


def _period(scores: Scores) -> Period:
    return Period(scores.losses(RANKED), scores.sizes(RANKED), scores.domain_of)
