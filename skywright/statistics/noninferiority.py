"""Did a change leave every domain unharmed? Non-inferiority with a margin set beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from skywright.statistics.aggregate import Interval
from skywright.statistics.estimate import Estimate, check_level, finite_or_none
from skywright.statistics.linear import linearise
from skywright.statistics.paired import A_MINUS_B
from skywright.statistics.power import detectable_difference
from skywright.statistics.studentised import DRAWS, studentised
from skywright.statistics.units import losses_of, sizes_of, strata_of


@dataclass(frozen=True)
class DomainHarm:
    """Loss of the new model minus loss of the old one in a domain, held against its margin.

    difference: its interval is two-sided at 2 * level - 1, so each bound is one-sided at `level`.
    "not worse": the upper bound lies below the margin. "worse": the lower bound lies above it.
    margin_needed: the margin at which two models that are truly equal pass four times in five;
    infinite where there is no standard error.
    """

    domain: str
    difference: Estimate
    margin: float
    margin_needed: float
    verdict: Literal["not worse", "worse", "cannot tell"]

    def as_json(self) -> dict[str, Any]:
        """The fields under their names; what is not finite becomes null."""
        return {
            "domain": self.domain,
            "difference": self.difference.as_json(),
            "margin": self.margin,
            "margin_needed": finite_or_none(self.margin_needed),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class NonInferiority:
    """The domains' verdicts. nowhere_worse: every domain is "not worse"; as all of them must
    pass, the claim keeps its level without an adjustment (Berger 1982, Technometrics 24,
    295-300)."""

    domains: tuple[DomainHarm, ...]
    nowhere_worse: bool
    level: float

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "domains": [domain.as_json() for domain in self.domains],
            "nowhere_worse": self.nowhere_worse,
            "level": self.level,
        }


def non_inferiority(
    losses_new: ArrayLike,
    losses_old: ArrayLike,
    sizes: ArrayLike,
    margins: float | Mapping[str, float],
    domains: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    interval: Interval = "studentised",
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.975,
) -> NonInferiority:
    """Test in every domain that the new model's loss is not higher by the margin or more.

    losses: nats a document, shape (n,); sizes: bytes or reference tokens; margins: in nats per
    unit of size, positive, one for all domains or one a domain, decided before the losses are
    seen; domains, clusters: a label a document. level: one-sided, of each domain. Raises
    ValueError on bad input or a domain without a margin.
    """
    check_level(level)
    if level <= 0.5:
        raise ValueError(f"a one-sided level must lie above 0.5, got {level}")
    losses = losses_of({"new": losses_new, "old": losses_old})
    strata = strata_of(losses, sizes_of(sizes, len(losses)), domains, clusters)
    two_sided = 2 * level - 1
    found = []
    for stratum in strata:
        margin = _margin_of(margins, stratum.domain)
        pair = [stratum.combined(A_MINUS_B)]
        linear = linearise(pair, "micro")
        difference = (
            studentised(pair, "micro", draws, seed, two_sided)
            if interval == "studentised"
            else linear.estimate(level=two_sided)
        )
        found.append(
            DomainHarm(
                domain=stratum.domain,
                difference=difference,
                margin=margin,
                margin_needed=detectable_difference(
                    difference.standard_error, linear.freedom(), two_sided
                ),
                verdict=(
                    "not worse"
                    if difference.high < margin
                    else "worse"
                    if difference.low > margin
                    else "cannot tell"
                ),
            )
        )
    return NonInferiority(
        domains=tuple(found),
        nowhere_worse=all(domain.verdict == "not worse" for domain in found),
        level=level,
    )


def _margin_of(margins: float | Mapping[str, float], domain: str) -> float:
    if isinstance(margins, Mapping):
        if domain not in margins:
            raise ValueError(f"no margin for domain {domain!r}")
        margin = float(margins[domain])
    else:
        margin = float(margins)
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"the margin of domain {domain!r} must be positive, got {margin}")
    return margin
