"""Every pair of models: paired differences by domain, and the verdict among all pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skywright.evaluate.compare.scores import RANKED, Scores
from skywright.statistics import Comparison, PairDifference, paired_comparison


@dataclass(frozen=True)
class Pair:
    """Losses of a minus losses of b, in nats per reference token.

    alone: the pair by itself, domain by domain (Holm over the domains) and over domains; joint:
    the difference over domains with the interval that holds for all pairs at once.
    """

    a: str
    b: str
    alone: Comparison
    joint: PairDifference

    @property
    def verdict(self) -> str:
        """The verdict over domains that holds among all pairs, with the model's name."""
        return self.in_words(self.joint.verdict)

    def in_words(self, verdict: str) -> str:
        """A verdict with the name of the model in place of its letter."""
        return {"a lower": f"{self.a} lower", "b lower": f"{self.b} lower"}.get(verdict, verdict)

    @property
    def domains_won(self) -> dict[str, int]:
        """How many domains have each verdict, in words."""
        found = Counter(self.in_words(d.verdict) for d in self.alone.domains)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def as_json(self) -> dict[str, Any]:
        """The two names, the verdict, and both sets of differences."""
        joint, alone = self.joint.as_json(), self.alone.as_json()
        return {
            "a": self.a,
            "b": self.b,
            "verdict": self.verdict,
            "simultaneous": {key: joint[key] for key in ("difference", "detectable", "verdict")},
            "macro": alone["macro"],
            "over_domains": alone["over_domains"],
            "domains": alone["domains"],
        }


def pairs(
    scores: Scores,
    joint: Sequence[PairDifference],
    noise_floor: float,
    draws: int,
    seed: int,
    level: float,
) -> tuple[Pair, ...]:
    """The pairs of `joint`, in its order, each compared by itself too."""
    nats, sizes = scores.losses(RANKED), scores.sizes(RANKED)
    return tuple(
        Pair(
            found.a,
            found.b,
            paired_comparison(
                nats[found.a],
                nats[found.b],
                sizes,
                scores.domain_of,
                noise_floor=noise_floor,
                draws=draws,
                seed=seed,
                level=level,
            ),
            found,
        )
        for found in joint
    )
