"""One model's loss over a set of documents: three averages, each under its own name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skywright.statistics.estimate import Estimate, check_level, vector, weights_of
from skywright.statistics.intervals import t_interval
from skywright.statistics.linear import Aggregate, linearise
from skywright.statistics.studentised import DRAWS, studentised
from skywright.statistics.units import Stratum, sizes_of, strata_of

Interval = Literal["studentised", "t"]


@dataclass(frozen=True)
class Aggregates:
    """A model's loss, in nats per unit of size, averaged in each way that has a name.

    micro: sum of losses / sum of sizes; long documents and large domains count most.
    document_macro: mean over documents of loss / size; a short document counts as much as a
    long one. domain_macro: mean over domains of the domain's micro; each domain counts the
    same. over_domains: the domain_macro again, with domains as the unit of sampling: what it
    would be over other domains like these. domains: each domain's micro.
    """

    micro: Estimate
    document_macro: Estimate
    domain_macro: Estimate
    over_domains: Estimate
    domains: Mapping[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """The fields under their names; `domains` by domain."""
        return {
            "micro": self.micro.as_json(),
            "document_macro": self.document_macro.as_json(),
            "domain_macro": self.domain_macro.as_json(),
            "over_domains": self.over_domains.as_json(),
            "domains": {name: e.as_json() for name, e in self.domains.items()},
        }


def aggregates(
    losses: ArrayLike,
    sizes: ArrayLike,
    domains: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    interval: Interval = "studentised",
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Aggregates:
    """All averages of one model's losses, with intervals.

    losses: nats a document, shape (n,); sizes: its bytes or reference tokens, all positive;
    domains, clusters: a label a document. `interval` chooses the studentised bootstrap (`draws`
    draws from `seed`, clusters drawn within each domain) or the t interval. Raises ValueError
    on bad input.
    """
    check_level(level)
    tops = vector(losses, "losses")
    bottoms = sizes_of(sizes, tops.size)
    strata = strata_of(tops[:, None], bottoms, domains, clusters)
    rates = strata_of((tops / bottoms)[:, None], np.ones_like(tops), domains, clusters)

    def estimate(part: Sequence[Stratum], aggregate: Aggregate) -> Estimate:
        if interval == "studentised":
            return studentised(part, aggregate, draws, seed, level)
        return linearise(part, aggregate).estimate(level=level)

    by_domain = {stratum.domain: estimate([stratum], "micro") for stratum in strata}
    return Aggregates(
        micro=estimate(strata, "micro"),
        document_macro=estimate(rates, "micro"),
        domain_macro=estimate(strata, "domain-macro"),
        over_domains=mean_over_domains([float(s.ratios[0]) for s in strata], level),
        domains=by_domain,
    )


def domain_macro(
    losses: ArrayLike,
    sizes: ArrayLike,
    domains: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Mean over domains of sum(losses) / sum(sizes), with the t interval of `aggregates`.

    Numbers and labels one a document, shape (n,); losses may be differences of two models, sizes
    may be 0. The interval speaks of new documents in these domains. Raises ValueError on bad
    input, and for a domain whose sizes add up to 0.
    """
    check_level(level)
    tops = vector(losses, "losses")
    strata = strata_of(tops[:, None], weights_of(sizes, tops), domains, clusters)
    for stratum in strata:
        if not stratum.sizes.sum() > 0:
            raise ValueError(f"domain {stratum.domain}: its sizes add up to 0")
    return linearise(strata, "domain-macro").estimate(level=level)


def mean_over_domains(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean of domains' values with the t interval that takes domains as the unit.

    It answers what the mean would be over other domains, were these drawn from them at random;
    t has domains - 1 degrees of freedom. The spread of the values holds the sampling of their
    documents too, so nothing is to be added. One domain has no interval.
    """
    check_level(level)
    points = vector(values, "values")
    count = points.size
    se = float(points.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return t_interval(float(points.mean()), se, count - 1, count, level)
