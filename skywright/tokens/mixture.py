"""Shares of a segment's sources over its length: constant, in steps, or along a power of time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from skywright.config import Config, TokenCount
from skywright.errors import UserError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SUM_TOLERANCE = 1e-6  # shares are written by hand with a few digits; 1/3 as .333333 is accepted
_POINTS = 101  # places of a segment at which a mixture of moving shares is checked
_ROOTS = 45  # binary digits of an exponent's fraction: 2^-45 moves no sample of 10^12


class Ramp(Config):
    """A share that goes from `from` at a segment's start to `to` at its end.

    share(t) = from + (to - from) * t^p, where t in 0..1 is the part of the segment's tokens
    already read. p is given as `power`, or by the `mean` share, which is
    from + (to - from) / (p + 1), or is 1: a straight line. The Skywork-13B report's second
    stage (10 % to 40 %, 20 % on average) has p = 2 exactly.
    """

    # "from" is a Python keyword; recipes write it as it is.
    model_config = ConfigDict(populate_by_name=True)

    from_: float = Field(alias="from")
    to: float
    mean: float | None = None
    power: float | None = None

    @property
    def exponent(self) -> float:
        """The exponent p > 0; raises UserError if what was asked for has none."""
        if self.mean is not None and self.power is not None:
            raise UserError("a ramp takes `mean` or `power`, not both; leave one out")
        if self.power is not None:
            if not self.power > 0:
                raise UserError(f"a ramp's power must be positive, not {self.power:g}")
            return self.power
        if self.mean is None:
            return 1.0
        low, high = sorted((self.from_, self.to))
        if not low < self.mean < high:
            raise UserError(
                f"a ramp from {self.from_:g} to {self.to:g} cannot have the mean {self.mean:g};"
                f" give a mean between {low:g} and {high:g}"
            )
        return (self.to - self.from_) / (self.mean - self.from_) - 1

    @property
    def average(self) -> float:
        """The mean share over the segment."""
        return self.from_ + (self.to - self.from_) / (self.exponent + 1)

    @property
    def edges(self) -> tuple[float, float]:
        """The shares at the segment's start and end."""
        return self.from_, self.to

    def at(self, t: Floats) -> Floats:
        """The share at the parts t of the segment."""
        return self.from_ + (self.to - self.from_) * _power(t, self.exponent)

    def upto(self, t: Floats) -> Floats:
        """The mean share from the segment's start to the parts t of it."""
        return self.from_ + (self.average - self.from_) * _power(t, self.exponent)

    def check(self) -> None:
        """Raise UserError for figures that are no shares or have no solution."""
        given = (self.from_, self.to) if self.mean is None else (self.from_, self.to, self.mean)
        for part in given:
            _check_share(part)
        _ = self.exponent


class Steps(Config):
    """A share that changes at set places: `steps: [[0, .1], [.5, .3]]` is .1, then .3 at half.

    Each pair is the part of the segment (0..1) from which a share holds, and that share.
    """

    steps: tuple[tuple[float, float], ...] = Field(min_length=1)

    @property
    def average(self) -> float:
        """The mean share over the segment."""
        return float(self.upto(np.ones(1))[0])

    @property
    def edges(self) -> tuple[float, float]:
        """The shares at the segment's start and end."""
        return self.steps[0][1], self.steps[-1][1]

    def at(self, t: Floats) -> Floats:
        """The share at the parts t of the segment."""
        starts = np.array([start for start, _ in self.steps])
        shares = np.array([share for _, share in self.steps])
        return shares[np.searchsorted(starts, t, side="right") - 1]

    def upto(self, t: Floats) -> Floats:
        """The mean share from the segment's start to the parts t of it."""
        ends = [*(start for start, _ in self.steps[1:]), 1.0]
        total = np.zeros_like(t)
        for (start, share), end in zip(self.steps, ends, strict=True):
            total += share * (np.clip(t, start, end) - start)
        return np.divide(total, t, out=np.full_like(t, self.steps[0][1]), where=t > 0)

    def check(self) -> None:
        """Raise UserError for figures that are no shares or places out of order."""
        starts = [start for start, _ in self.steps]
        if starts[0] != 0 or any(b <= a for a, b in pairwise(starts)):
            raise UserError(f"steps begin at {starts}; the first must be 0 and the rest rise")
        if starts[-1] >= 1:
            raise UserError(f"the step at {starts[-1]:g} is outside the segment; write 0 to 1")
        for _, share in self.steps:
            _check_share(share)


Share = float | Ramp | Steps
Mixture = Mapping[str, Share]


def _check_share(value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"{value:g} is not a share; write 0 to 1")


class SegmentMixture(Config):
    """A span of training of `tokens` tokens with one mixture.

    `mixture` gives each source a share of the tokens (0..1), a ramp or steps. Shares that do not
    move sum to 1 where all are such. Beside moving ones, the plain shares are scaled at every
    point to fill what those leave; they may be written to sum to 1, or to 1 together with the
    moving shares' means, or to 1 together with their starts. `sequence_tokens` replaces the
    run's sample length in this segment.
    """

    name: str
    tokens: TokenCount
    mixture: dict[str, float | Ramp | Steps]
    sequence_tokens: TokenCount | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _shares_sum(self) -> SegmentMixture:
        check_mixture(self.name, self.mixture)
        return self


def _moving(mixture: Mixture) -> dict[str, Ramp | Steps]:
    """Shares that move, in the order of names, so that sums come out the same to the last bit."""
    return {n: share for n in sorted(mixture) if isinstance(share := mixture[n], Ramp | Steps)}


def check_mixture(segment: str, mixture: Mixture) -> None:
    """Raise UserError, with the wrong figure, unless the shares make a whole at every point."""
    where = f"segment {segment!r}: mixture"
    if not mixture:
        raise UserError(f"{where}: is empty; name at least one source and its share")
    for name, share in mixture.items():
        try:
            share.check() if isinstance(share, Ramp | Steps) else _check_share(share)
        except UserError as error:
            raise UserError(f"{where}: {name}: {error}") from None
    moving = _moving(mixture)
    plain = sum(share for share in mixture.values() if isinstance(share, float))
    if not moving:
        if abs(plain - 1) > _SUM_TOLERANCE:
            raise UserError(f"{where}: the shares sum to {plain:.6g}, not to 1; correct them")
        return
    points = np.linspace(0, 1, _POINTS)
    taken = np.zeros(_POINTS)
    for share in moving.values():
        taken += share.at(points)
    highest = int(np.argmax(taken))
    if taken[highest] > 1 + _SUM_TOLERANCE:
        raise UserError(
            f"{where}: the ramps {', '.join(moving)} take {taken[highest]:.4g} of the tokens at"
            f" {points[highest]:.0%} of the segment; together they may take at most 1"
        )
    if plain == 0:
        lowest = int(np.argmin(taken))
        if taken[lowest] < 1 - _SUM_TOLERANCE:
            raise UserError(
                f"{where}: the ramps {', '.join(moving)} sum to {taken[lowest]:.4g} at"
                f" {points[lowest]:.0%} of the segment, and no other source fills the rest"
            )
        return
    wholes = {
        "the ramps' means": plain + sum(share.average for share in moving.values()),
        "the ramps' starts": plain + sum(share.edges[0] for share in moving.values()),
    }
    if all(abs(whole - 1) > _SUM_TOLERANCE for whole in (plain, *wholes.values())):
        sums = " and ".join(f"{whole:.6g} with {name}" for name, whole in wholes.items())
        raise UserError(
            f"{where}: the shares without a ramp sum to {plain:.6g} ({sums}); one of these"
            " must be 1"
        )


def targets(mixture: Mixture, samples: int, ends: Integers) -> Floats:
    """Samples that each source should have had after the first `ends` of a segment's `samples`.

    Shape (len(ends), sources), in the order of sorted names; rows sum to `ends`.
    """
    names = sorted(mixture)
    n = ends.astype(np.float64)
    result = np.zeros((len(ends), len(names)))
    rest = n.copy()
    for name, share in _moving(mixture).items():
        column = names.index(name)
        result[:, column] = n * share.upto(n / samples)
        rest -= result[:, column]
    plain = {name: share for name, share in mixture.items() if isinstance(share, float)}
    whole = sum(plain[name] for name in sorted(plain))
    for name, part in plain.items():
        if whole > 0:
            result[:, names.index(name)] = rest * (part / whole)
    return result


def _power(t: Floats, exponent: float) -> Floats:
    """t ** exponent, to the last bit the same on every machine; t in 0..1, exponent > 0.

    The processor's own power functions differ in the last bit from one to the next, which could
    move a sample. Products and square roots are rounded correctly everywhere (IEEE 754): the
    whole part of the exponent is multiplied out, its fraction is summed in halves, quarters ...
    """
    whole, fraction = divmod(exponent, 1.0)
    result = np.ones_like(t)
    for bit in f"{int(whole):b}":
        result = result * result * (t if bit == "1" else 1.0)
    root = t
    for _ in range(_ROOTS):
        root = np.sqrt(root)
        digit, fraction = divmod(fraction * 2, 1.0)
        if digit:
            result = result * root
    return result


def planned(mixture: Mixture) -> dict[str, float | list[float]]:
    """Each source's mean share of the segment, or [from, to, mean] if it moves; sorted names."""
    moving = _moving(mixture)
    taken = sum(share.average for share in moving.values())
    plain = sum(share for share in mixture.values() if isinstance(share, float))
    result: dict[str, float | list[float]] = {}
    for name in sorted(mixture):
        share = mixture[name]
        if isinstance(share, Ramp | Steps):
            result[name] = [*share.edges, share.average]
        else:
            result[name] = share * (1 - taken) / plain if plain else 0.0
    return result
