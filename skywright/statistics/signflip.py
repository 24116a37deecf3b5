"""The sign-flip test: could the sign of every unit's effect as well be the other?

Under no difference a unit's effect is as likely positive as negative, so all patterns of signs
are alike (Fisher 1935, The Design of Experiments, section 21). With one domain and effects
that are symmetric about 0 the test is exact; else it is the wild cluster bootstrap with
Rademacher weights and the null imposed (Cameron, Gelbach & Miller 2008, Review of Economics and
Statistics 90, 414-427), which is right in large samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skywright.statistics.bootstrap import WEIGHTS_AT_ONCE
from skywright.statistics.estimate import Floats
from skywright.statistics.units import Stratum

_TIE = 1e-12  # of the sum of absolute effects: closer than that two sums are the same


def flippable_effects(strata: Sequence[Stratum]) -> Floats:
    """What each unit adds to the mean over domains of the first column, if its true value is 0.

    A domain keeps its distance to the mean over domains; only the mean is held at 0. With d the
    domain's ratio and m the mean, a unit's effect is (top - (d - m) * size) / (domains * sum of
    the domain's sizes), over sqrt(1 - (1 - 1/domains) / n): what it loses of its spread because
    d is estimated. For one domain it is top / sum of sizes. Shape (units of all domains,).
    """
    count = len(strata)
    mean = float(np.mean([stratum.ratios[0] for stratum in strata]))
    effects = []
    for stratum in strata:
        residuals = stratum.residuals(stratum.ratios - mean)[:, 0]
        shrunk = np.sqrt(1 - (1 - 1 / count) / stratum.n)
        effects.append(residuals / (count * stratum.sizes.sum() * shrunk))
    return np.concatenate(effects)


def sign_flip_p(effects: Floats, observed: float, draws: int, seed: int) -> float:
    """Share of sign patterns whose sum is at least as far from 0 as `observed`; two-sided.

    All patterns are counted where there are no more than `draws` of them up to a common sign
    (14 units for 10,000); else `draws` random ones, and the observed pattern as one more
    (Phipson & Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9, 39). So
    p is never 0.
    """
    units = len(effects)
    if draws < 1:
        raise ValueError(f"a permutation test needs at least 1 draw, got {draws}")
    reached = abs(observed) - _TIE * float(np.abs(effects).sum())
    if 2 ** (units - 1) <= draws:
        sums = effects[:1]  # a pattern and its mirror image are equally far from 0
        for effect in effects[1:]:
            sums = np.concatenate([sums + effect, sums - effect])
        return float(np.mean(np.abs(sums) >= reached))
    rng = np.random.default_rng(seed)
    total, hits = effects.sum(), 0
    step = max(1, WEIGHTS_AT_ONCE // units)
    for start in range(0, draws, step):
        kept = rng.integers(0, 2, size=(min(step, draws - start), units), dtype=np.int8)
        sums = 2 * (kept @ effects) - total
        hits += int(np.count_nonzero(np.abs(sums) >= reached))
    return (1 + hits) / (1 + draws)
