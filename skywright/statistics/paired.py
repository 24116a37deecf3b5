"""Two models on the same documents: difference by domain and over domains, with a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skywright.statistics.aggregate import mean_over_domains
from skywright.statistics.estimate import Estimate, Floats, check_level, finite_or_none
from skywright.statistics.linear import linearise
from skywright.statistics.multiple import holm
from skywright.statistics.power import detectable_difference
from skywright.statistics.signflip import flippable_effects, sign_flip_p
from skywright.statistics.studentised import DRAWS
from skywright.statistics.units import Stratum, losses_of, sizes_of, strata_of

Verdict = Literal["a lower", "b lower", "cannot tell", "below noise"]

A_MINUS_B: Floats = np.array([[1.0], [-1.0]])


@dataclass(frozen=True)
class Difference:
    """Loss of a minus loss of b in one domain, or in the mean over domains ("macro").

    difference: with its pointwise t interval. p: two-sided, sign-flip. p_adjusted: Holm's over
    the domains; the macro's own p for the macro. detectable: the true difference that a test
    of this size calls four times out of five. verdict: from p_adjusted and the noise floor.
    """

    domain: str
    difference: Estimate
    p: float
    p_adjusted: float
    detectable: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """All fields; a bound or a detectable difference that is not finite becomes null."""
        return {
            "domain": self.domain,
            "difference": self.difference.as_json(),
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "detectable": finite_or_none(self.detectable),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Comparison:
    """Differences a - b: by domain, their mean, and that mean with domains as the unit."""

    domains: tuple[Difference, ...]
    macro: Difference
    over_domains: Estimate
    noise_floor: float
    level: float

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "domains": [difference.as_json() for difference in self.domains],
            "macro": self.macro.as_json(),
            "over_domains": self.over_domains.as_json(),
            "noise_floor": self.noise_floor,
            "level": self.level,
        }


def paired_comparison(
    losses_a: ArrayLike,
    losses_b: ArrayLike,
    sizes: ArrayLike,
    domains: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    noise_floor: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare models a and b on the same documents, domain by domain and over domains.

    losses: nats a document, shape (n,); sizes: its bytes or reference tokens; domains, clusters:
    a label a document. noise_floor: the largest difference, in nats per unit of size, that one
    model shows against itself when dtype or batches change; a difference of smaller size is
    called "below noise", whatever its p. Else the lower model is named if p_adjusted is at most
    1 - level, and "cannot tell" otherwise. draws, seed: of the sign-flip test. Domains come in
    the order of their names. Raises ValueError on bad input.
    """
    check_level(level)
    check_noise_floor(noise_floor)
    losses = losses_of({"a": losses_a, "b": losses_b})
    strata = strata_of(losses, sizes_of(sizes, len(losses)), domains, clusters)
    differences = [stratum.combined(A_MINUS_B) for stratum in strata]
    p_values = [_p([stratum], draws, seed) for stratum in differences]
    parts = [
        _difference(stratum.domain, [stratum], p, adjusted, noise_floor, level)
        for stratum, p, adjusted in zip(differences, p_values, holm(p_values), strict=True)
    ]
    p = _p(differences, draws, seed)
    return Comparison(
        domains=tuple(parts),
        macro=_difference("macro", differences, p, p, noise_floor, level),
        over_domains=mean_over_domains([part.difference.value for part in parts], level),
        noise_floor=noise_floor,
        level=level,
    )


def verdict_of(value: float, called: bool, noise_floor: float) -> Verdict:
    """The verdict on a difference a - b; `called`: the test or interval excludes 0."""
    if abs(value) < noise_floor:
        return "below noise"
    if not called or value == 0:
        return "cannot tell"
    return "a lower" if value < 0 else "b lower"


def check_noise_floor(noise_floor: float) -> None:
    """Raise ValueError unless it is a finite number, 0 or more."""
    if not (math.isfinite(noise_floor) and noise_floor >= 0):
        raise ValueError(f"the noise floor must be a number not below 0, got {noise_floor}")


def _p(strata: Sequence[Stratum], draws: int, seed: int) -> float:
    if min(stratum.n for stratum in strata) < 2:
        return 1.0  # a domain of one unit says nothing about its spread
    observed = float(linearise(strata, "domain-macro").values[0])
    return sign_flip_p(flippable_effects(strata), observed, draws, seed)


def _difference(
    name: str,
    strata: Sequence[Stratum],
    p: float,
    p_adjusted: float,
    noise_floor: float,
    level: float,
) -> Difference:
    linear = linearise(strata, "domain-macro")
    estimate = linear.estimate(level=level)
    return Difference(
        domain=name,
        difference=estimate,
        p=p,
        p_adjusted=p_adjusted,
        detectable=detectable_difference(estimate.standard_error, linear.freedom(), level),
        verdict=verdict_of(estimate.value, p_adjusted <= 1 - level, noise_floor),
    )
