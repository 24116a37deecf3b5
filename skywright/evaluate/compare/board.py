"""The leaderboard: perplexity by domain and over domains, with intervals and rank ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skywright.evaluate.compare.scores import RANKED, Scores
from skywright.evaluate.summary import UNITS
from skywright.statistics import Estimate, Leaderboard, PairDifference, leaderboard, perplexity


@dataclass(frozen=True)
class Cell:
    """One model in one domain, or in the equal-weight mean over domains (the macro).

    perplexity: exp of the nats per reference token; of the macro that is the geometric mean of
    the domains' perplexities, the average column of table 6 of the Skywork report (arXiv
    2310.19341). simultaneous: the same with the interval that holds for all models at once. Ranks
    are by nats per reference token; best_rank and worst_rank hold for all models at once.
    """

    perplexity: Estimate
    simultaneous: Estimate
    nats_per_reference_token: Estimate
    bpb: Estimate
    bits_per_char: Estimate
    rank: int
    best_rank: int
    worst_rank: int

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "perplexity": self.perplexity.as_json(),
            "simultaneous": self.simultaneous.as_json(),
            "nats_per_reference_token": self.nats_per_reference_token.as_json(),
            "bpb": self.bpb.as_json(),
            "bits_per_char": self.bits_per_char.as_json(),
            "rank": self.rank,
            "best_rank": self.best_rank,
            "worst_rank": self.worst_rank,
        }


@dataclass(frozen=True)
class Row:
    """One model of the leaderboard: its macro, and its domains in the order of the sets."""

    model: str
    macro: Cell
    domains: Mapping[str, Cell]

    def as_json(self) -> dict[str, Any]:
        """The fields under their names; `domains` by domain."""
        return {
            "model": self.model,
            "macro": self.macro.as_json(),
            "domains": {domain: cell.as_json() for domain, cell in self.domains.items()},
        }


def board(
    scores: Scores, noise_floor: float, draws: int, seed: int, level: float
) -> tuple[tuple[Row, ...], tuple[PairDifference, ...]]:
    """Models from lowest to highest macro, and their differences, simultaneous over all pairs.

    noise_floor: in nats per reference token. Ranges of ranks in a domain hold for all models in
    that domain, not for all domains at once.
    """

    def ranked(documents: np.ndarray) -> dict[str, Leaderboard]:
        return {
            unit: leaderboard(
                {model: losses[documents] for model, losses in scores.losses(unit).items()},
                scores.sizes(unit)[documents],
                scores.domain_of[documents],
                noise_floor=noise_floor if unit == RANKED else 0.0,
                draws=draws,
                seed=seed,
                level=level,
            )
            for unit in UNITS
        }

    whole = ranked(np.ones(len(scores.domain_of), dtype=bool))
    macro = _cells(whole)
    domains = {domain: _cells(ranked(scores.domain_of == domain)) for domain in scores.domains}
    rows = tuple(
        Row(
            standing.model,
            macro[standing.model],
            {domain: cells[standing.model] for domain, cells in domains.items()},
        )
        for standing in whole[RANKED].standings
    )
    return rows, whole[RANKED].pairs


def _cells(boards: Mapping[str, Leaderboard]) -> dict[str, Cell]:
    """By model, from the same documents' leaderboards in every unit."""
    losses = {
        unit: {standing.model: standing.loss for standing in found.standings}
        for unit, found in boards.items()
    }
    return {
        standing.model: Cell(
            perplexity=perplexity(standing.loss),
            simultaneous=perplexity(standing.simultaneous),
            nats_per_reference_token=standing.loss,
            bpb=losses["bpb"][standing.model],
            bits_per_char=losses["bits_per_char"][standing.model],
            rank=standing.rank,
            best_rank=standing.best_rank,
            worst_rank=standing.worst_rank,
        )
        for standing in boards[RANKED].standings
    }
