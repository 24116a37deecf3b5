"""Numbers as readers want them: units, shares, and values rounded to what their interval allows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from markupsafe import Markup

from skywright.report.records import Estimate

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EM DASH}"

LANGUAGES = {
    "en": "English",
    "zh": "Chinese",
    "zh-Hans": "Chinese, simplified",
    "zh-Hant": "Chinese, traditional",
    "all": "All languages",
    "code": "Code",
    "other": "Other",
}


def language(code: str | None) -> str:
    """The name of a language code; an unknown code is shown as it is."""
    return LANGUAGES.get(code or "", code or "Language not recorded")


def language_group(code: str | None) -> str:
    """`zh-Hans` and `zh-Hant` are drawn with `zh`; no language is the empty string."""
    return (code or "").split("-")[0]


def decimal(value: float | None, places: int = 2) -> str:
    """A number with a true minus sign and thousands separated; a dash for none."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:,.{places}f}".replace("-", MINUS)


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return decimal(value, 0)


def quantity(value: float | None) -> str:
    """Three significant digits with k, M, B or T."""
    if value is None or not math.isfinite(value):
        return ABSENT
    for scale, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale * 0.9995:
            scaled = value / scale
            places = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{places}f}{suffix}".replace("-", MINUS)
    return f"{value:,.0f}".replace("-", MINUS)


def size(value: float | None) -> str:
    """Bytes with a decimal unit."""
    if value is None:
        return ABSENT
    for scale, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= scale:
            return f"{value / scale:.1f} {suffix}"
    return f"{value:.0f} B"


def share(part: float | None, whole: float | None = 1.0) -> str:
    """A share in percent; a share that is not nothing is never shown as 0.0 %."""
    if part is None or not whole:
        return ABSENT
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "< 0.1 %"
    if 99.95 <= percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def duration(seconds: float | None) -> str:
    """Seconds as `8.3 s`, `4 min 12 s` or `2 h 5 min`."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


class Shown(NamedTuple):
    """An estimate as text: value, and the interval (empty when there is no interval)."""

    value: str
    interval: str


def estimate(given: Estimate | None, scale: float = 1.0, signed: bool = False) -> Shown:
    """Round an estimate to the digits that its interval supports (at most four decimals).

    The rule is that of the Particle Data Group (Review of Particle Physics, introduction, 5.3):
    half the interval keeps two digits if these are 10 to 35, else one. Differences (`signed`) and
    percentages keep two, because it matters on which side of zero or chance an end lies.
    """
    if given is None or given.value is None or not math.isfinite(given.value):
        return Shown(ABSENT, "")
    low, high = given.low, given.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Shown(_signed(given.value * scale, 3, signed), "no interval")
    places = _places(abs(high - low) * scale / 2, keep_two=signed or scale != 1)
    joint = " to " if signed or low < 0 else "\N{EN DASH}"
    return Shown(
        _signed(given.value * scale, places, signed),
        _signed(low * scale, places, signed) + joint + _signed(high * scale, places, signed),
    )


def _places(half: float, keep_two: bool) -> int:
    """Decimals for a value whose interval reaches `half` to each side."""
    digits, power = f"{half:.2e}".split("e")
    rounds_up = float(digits) >= 9.5
    two = keep_two or rounds_up or float(digits) < 3.55
    return min(4, max(0, two - int(power) - rounds_up))


def _signed(value: float, places: int, signed: bool) -> str:
    plus = "+" if signed and round(value, places) > 0 else ""
    return plus + decimal(value, places)


def inline(given: Estimate | None, scale: float = 1.0, signed: bool = False) -> str:
    """An estimate in running text: `63.2 (95 % interval 60–66)`."""
    shown = estimate(given, scale, signed)
    if not shown.interval or shown.interval == "no interval":
        return f"{shown.value} (no interval)" if shown.interval else shown.value
    return f"{shown.value} (95 % interval {shown.interval})"


def perplexity(nats: float | None) -> str:
    """The exponential of nats a token, three significant digits."""
    if nats is None or not math.isfinite(nats):
        return ABSENT
    value = math.exp(nats)
    return decimal(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def shorten(name: str, most: int) -> str:
    """A name of at most `most` characters, cut with an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def breakable(name: str) -> Markup:
    """A name that may be broken after an underscore."""
    return Markup("_<wbr>").join(str(name).split("_"))


def describe(value: Any) -> str:
    """A protocol or tokenizer that may be a name or a mapping, as one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {describe(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(describe(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", MINUS)
    if isinstance(value, int):
        return count(value)
    return ABSENT if value is None else str(value)
