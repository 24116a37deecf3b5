"""Shares of a segment's sources over its length: constant, or rising along a power of time."""

from __future__ import annotations

import decimal
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from skywright.config import Config, TokenCount
from skywright.errors import UserError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SUM_TOLERANCE = 1e-6  # shares are written by hand with a few digits; 1/3 as .333333 is accepted
_POINTS = 101  # places of a segment at which a mixture of ramps is checked


class Ramp(Config):
    """A share that goes from `from` at a segment's start to `to` at its end, `mean` on average.

    share(t) = from + (to - from) * t^p, where t in 0..1 is the part of the segment's tokens
    already read. Its mean is from + (to - from) / (p + 1), which gives p. The Skywork-13B
    report's second stage (10 % to 40 %, 20 % on average) has p = 2 exactly.
    """

    # "from" is a Python keyword; recipes write it as it is.
    model_config = ConfigDict(populate_by_name=True)

    from_: float = Field(alias="from")
    to: float
    mean: float

    @property
    def power(self) -> float:
        """The exponent p > 0; raises UserError if no exponent gives this mean."""
        low, high = sorted((self.from_, self.to))
        if not low < self.mean < high:
            raise UserError(
                f"a ramp from {self.from_:g} to {self.to:g} cannot have the mean {self.mean:g};"
                f" give a mean between {low:g} and {high:g}"
            )
        return (self.to - self.from_) / (self.mean - self.from_) - 1


Mixture = Mapping[str, float | Ramp]


class SegmentMixture(Config):
    """A span of training of `tokens` tokens with one mixture.

    `mixture` gives each source a share of the tokens (0..1) or a ramp. Without ramps the shares
    sum to 1. Beside ramps, the plain shares are scaled at every point to fill what the ramps
    leave; they may be written to sum to 1, or to 1 together with the ramps' means, or to 1
    together with the ramps' starts.
    """

    name: str
    tokens: TokenCount
    mixture: dict[str, float | Ramp]

    @model_validator(mode="after")
    def _shares_sum(self) -> SegmentMixture:
        check_mixture(self.name, self.mixture)
        return self


def check_mixture(segment: str, mixture: Mixture) -> None:
    """Raise UserError, with the wrong figure, unless the shares make a whole at every point."""
    where = f"segment {segment!r}: mixture"
    if not mixture:
        raise UserError(f"{where}: is empty; name at least one source and its share")
    for name, share in mixture.items():
        parts = (share.from_, share.to, share.mean) if isinstance(share, Ramp) else (share,)
        for part in parts:
            if not 0 <= part <= 1:
                raise UserError(f"{where}: {name}: {part:g} is not a share; write 0 to 1")
        if isinstance(share, Ramp):
            try:
                _ = share.power
            except UserError as error:
                raise UserError(f"{where}: {name}: {error}") from None
    ramps = {name: share for name, share in mixture.items() if isinstance(share, Ramp)}
    plain = sum(share for share in mixture.values() if not isinstance(share, Ramp))
    if not ramps:
        if abs(plain - 1) > _SUM_TOLERANCE:
            raise UserError(f"{where}: the shares sum to {plain:.6g}, not to 1; correct them")
        return
    points = np.linspace(0, 1, _POINTS)
    ramped = np.zeros(_POINTS)
    for ramp in ramps.values():
        ramped += ramp.from_ + (ramp.to - ramp.from_) * points**ramp.power
    highest = int(np.argmax(ramped))
    if ramped[highest] > 1 + _SUM_TOLERANCE:
        raise UserError(
            f"{where}: the ramps {', '.join(ramps)} take {ramped[highest]:.4g} of the tokens at"
            f" {points[highest]:.0%} of the segment; together they may take at most 1"
        )
    if plain == 0:
        lowest = int(np.argmin(ramped))
        if ramped[lowest] < 1 - _SUM_TOLERANCE:
            raise UserError(
                f"{where}: the ramps {', '.join(ramps)} sum to {ramped[lowest]:.4g} at"
                f" {points[lowest]:.0%} of the segment, and no other source fills the rest"
            )
        return
    wholes = {
        "the ramps' means": plain + sum(ramp.mean for ramp in ramps.values()),
        "the ramps' starts": plain + sum(ramp.from_ for ramp in ramps.values()),
    }
    if all(abs(whole - 1) > _SUM_TOLERANCE for whole in (plain, *wholes.values())):
        sums = " and ".join(f"{whole:.6g} with {name}" for name, whole in wholes.items())
        raise UserError(
            f"{where}: the shares without a ramp sum to {plain:.6g} ({sums}); one of these"
            " must be 1"
        )


def targets(mixture: Mixture, samples: int, ends: Integers) -> Floats:
    """Samples that each source should have had after the first `ends` of a segment's `samples`.

    Shape (len(ends), sources), in the order of sorted names; rows sum to `ends`. A ramp's share
    integrates to n * (from + (mean - from) * t^p) at n samples, t = n / samples.
    """
    names = sorted(mixture)
    n = ends.astype(np.float64)
    result = np.zeros((len(ends), len(names)))
    rest = n.copy()
    for column, name in enumerate(names):
        share = mixture[name]
        if isinstance(share, Ramp):
            curve = _power(ends, samples, share.power)
            result[:, column] = n * (share.from_ + (share.mean - share.from_) * curve)
            rest = rest - result[:, column]
    plain = {name: share for name, share in mixture.items() if not isinstance(share, Ramp)}
    whole = sum(plain[name] for name in sorted(plain))
    for column, name in enumerate(names):
        if name in plain and whole > 0:
            result[:, column] = rest * (plain[name] / whole)
    return result


def _power(ends: Integers, samples: int, power: float) -> Floats:
    """(ends / samples) ** power, to the last bit the same on every machine.

    The processor's own power functions differ in the last bit from one to the next, which could
    move a sample; decimal arithmetic does not. Ramps are short, so its slowness does not show.
    """
    with decimal.localcontext() as context:
        context.prec = 25  # float64 holds 17 digits
        exponent = decimal.Decimal(power)
        whole = decimal.Decimal(samples)
        return np.array([float((int(end) / whole) ** exponent) for end in ends], dtype=np.float64)


def planned(mixture: Mixture) -> dict[str, float | list[float]]:
    """Each source's mean share of the segment, or [from, to, mean] of its ramp; sorted names."""
    ramped = sum(share.mean for share in mixture.values() if isinstance(share, Ramp))
    plain = sum(share for share in mixture.values() if not isinstance(share, Ramp))
    result: dict[str, float | list[float]] = {}
    for name in sorted(mixture):
        share = mixture[name]
        if isinstance(share, Ramp):
            result[name] = [share.from_, share.to, share.mean]
        else:
            result[name] = share * (1 - ramped) / plain if plain else 0.0
    return result
