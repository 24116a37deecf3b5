"""Numbers as the pages and the command show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from skywright.statistics import Estimate

MINUS = "\N{MINUS SIGN}"
MOST_PLACES = 4


def places_of(low: float, high: float) -> int:
    """Decimals at which half of an interval has two digits, at most MOST_PLACES."""
    half = (high - low) / 2
    if not (math.isfinite(half) and half > 0):
        return 3
    return min(MOST_PLACES, max(0, 1 - math.floor(math.log10(half))))


def decimal(number: float | None, places: int = 3) -> str:
    """A number with a true minus sign; a dash for none."""
    if number is None or not math.isfinite(number):
        return "\N{EM DASH}"
    shown = f"{number:,.{places}f}"
    if float(shown.replace(",", "")) == 0:
        shown = shown.removeprefix("-")
    return shown.replace("-", MINUS)


def p_value(p: float) -> str:
    """A p-value with three decimals; "<0.001" where they would read 0, which no p is."""
    return "<0.001" if p < 0.001 else decimal(p)


def bounds(given: Estimate | Mapping[str, Any]) -> tuple[float, float, float]:
    """Value, low and high of an estimate or of its JSON; a bound that is null is infinite."""
    if isinstance(given, Estimate):
        return given.value, given.low, given.high
    low, high = given["low"], given["high"]
    return given["value"], -math.inf if low is None else low, math.inf if high is None else high


def value(given: Estimate | Mapping[str, Any]) -> str:
    """The value, rounded to what its interval supports."""
    found, low, high = bounds(given)
    return decimal(found, places_of(low, high))


def interval(given: Estimate | Mapping[str, Any]) -> str:
    """The interval, rounded like the value; words if there is none."""
    _, low, high = bounds(given)
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    places = places_of(low, high)
    return f"{decimal(low, places)} to {decimal(high, places)}"


def ranks(best: int, worst: int) -> str:
    """A range of ranks: "2", or "1–3"."""
    return str(best) if best == worst else f"{best}\N{EN DASH}{worst}"


def span(from_bytes: int, to_bytes: int | None) -> str:
    """A range of places in a text: "1 KiB to 4 KiB"."""
    begin = f"{from_bytes // 1024} KiB" if from_bytes else "0"
    return f"{begin} on" if to_bytes is None else f"{begin} to {to_bytes // 1024} KiB"
