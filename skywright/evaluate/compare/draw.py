"""Pictures as inline SVG: no script, and every label escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from skywright.evaluate.compare.board import Row
from skywright.evaluate.compare.numbers import bounds, ranks, span, value
from skywright.evaluate.compare.places import Position

WIDTH = 760
INK, SOFT, GRID, PALE = "#1b1f24", "#5b6470", "#e4e6ea", "#9cc3dc"
SERIES = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#332288", "#882255",
)  # fmt: skip
"""The Okabe-Ito colours (Okabe and Ito, "Color Universal Design", 2008) and two of Tol's."""
DASHES = ("", "6 3", "2 3")  # when the colours start again
LABEL_CHARS = 27


def _element(name: str, content: str | Markup = "", **attributes: object) -> Markup:
    """`<name attribute="...">content</name>`, all of it escaped; numbers with one decimal."""
    shown = Markup("").join(
        Markup(' {}="{}"').format(
            Markup(key.replace("_", "-")), f"{given:.1f}" if isinstance(given, float) else given
        )
        for key, given in attributes.items()
        if given != ""
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), shown, content)


def _text(x: float, y: float, content: str, anchor: str = "start", **more: object) -> Markup:
    more = {"fill": INK, "font_size": 13, **more}
    short = content if len(content) <= LABEL_CHARS else content[: LABEL_CHARS - 1] + "…"
    inside = Markup("{}{}").format(short, _element("title", content)) if short != content else short
    return _element("text", inside, x=float(x), y=float(y), text_anchor=anchor, **more)


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float) -> Markup:
    return _element(
        "line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), stroke=stroke,
        stroke_width=float(width),
    )  # fmt: skip


def _picture(height: float, label: str, parts: Sequence[Markup]) -> Markup:
    paper = _element("rect", width="100%", height="100%", fill="#ffffff")
    return _element(
        "svg", Markup("\n").join([paper, *parts]), xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:.0f}", role="img", aria_label=label,
        font_family="system-ui, sans-serif",
    )  # fmt: skip


@dataclass(frozen=True)
class _Axis:
    """Numbers from `low` to `high` on pixels from `begin` to `end`, by logarithm or evenly."""

    low: float
    high: float
    begin: float
    end: float
    log: bool

    @classmethod
    def over(cls, numbers: Sequence[float], begin: float, end: float, log: bool) -> _Axis:
        """An axis with a little room on both sides."""
        low, high = min(numbers), max(numbers)
        if log:
            room = (high / low) ** 0.04 if high > low else 1.1
            return cls(low / room, high * room, begin, end, log)
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        return cls(low - margin, high + margin, begin, end, log)

    def at(self, number: float) -> float:
        """The pixel of a number."""
        if self.log:
            share = math.log(number / self.low) / math.log(self.high / self.low)
        else:
            share = (number - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers on the axis, with their labels."""
        if self.log and self.high / self.low > 5:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [lead * 10.0**power for power in decades for lead in (1, 2, 5)]
            places = max(0, -decades.start)
        else:
            rough = (self.high - self.low) / 6
            power = math.floor(math.log10(rough))
            step = next(s * 10.0**power for s in (1, 2, 5, 10) if s * 10.0**power >= rough)
            first = math.ceil(self.low / step)
            found = [step * n for n in range(first, math.floor(self.high / step) + 1)]
            places = max(0, -power)
        return [(t, f"{t:,.{places}f}") for t in found if self.low <= t <= self.high]


def _is_drawable(low: float, high: float, log: bool) -> bool:
    return math.isfinite(low) and math.isfinite(high) and (low > 0 or not log)


def standings(rows: Sequence[Row]) -> Markup:
    """A dot and two intervals a model: its perplexity over domains, lowest on top.

    Band: its own interval; line with ends: that which holds for all models at once. The axis is
    logarithmic, as the average is geometric.
    """
    left, right, top, step = 220.0, WIDTH - 150.0, 14.0, 30.0
    drawn = [bounds(e) for row in rows for e in (row.macro.perplexity, row.macro.simultaneous)]
    numbers = [v for v, _, _ in drawn]
    numbers += [n for _, low, high in drawn if _is_drawable(low, high, True) for n in (low, high)]
    axis = _Axis.over(numbers, left, right, True)
    bottom = top + step * len(rows)
    parts = []
    for tick, label in axis.ticks():
        x = axis.at(tick)
        parts.append(_line(x, top, x, bottom, GRID, 1))
        parts.append(_text(x, bottom + 18, label, "middle", fill=SOFT, font_size=12))
    for place, row in enumerate(rows):
        y, cell = top + step * (place + 0.5), row.macro
        parts.append(_text(left - 12, y + 4.5, row.model, "end"))
        _, low, high = bounds(cell.perplexity)
        if _is_drawable(low, high, True):
            parts.append(_line(axis.at(low), y, axis.at(high), y, PALE, 10))
        _, low, high = bounds(cell.simultaneous)
        if _is_drawable(low, high, True):
            parts.append(_line(axis.at(low), y, axis.at(high), y, SERIES[0], 1.5))
            for end in (axis.at(low), axis.at(high)):
                parts.append(_line(end, y - 5, end, y + 5, SERIES[0], 1.5))
        x = axis.at(cell.perplexity.value)
        parts.append(_element("circle", cx=x, cy=y, r=5, fill=INK))
        words = f"{value(cell.perplexity)} · rank {ranks(cell.best_rank, cell.worst_rank)}"
        parts.append(_text(right + 12, y + 4.5, words))
    middle = (left + right) / 2
    words = "perplexity per reference token, geometric mean over domains"
    parts.append(
        _element("text", words, x=middle, y=bottom + 40, text_anchor="middle", fill=SOFT,
                 font_size=12)
    )  # fmt: skip
    return _picture(bottom + 50, "Perplexity over domains of every model, with intervals", parts)


def positions(rows: Sequence[Position], models: Sequence[str]) -> Markup:
    """Bits per byte by range of places, a line a model, with 95 % intervals."""
    left, right, top, height = 64.0, WIDTH - 20.0, 24.0, 260.0
    found = {model: [bounds(row.bpb[model]) for row in rows] for model in models}
    every = [numbers for line in found.values() for numbers in line]
    numbers = [v for v, _, _ in every]
    numbers += [n for _, low, high in every if _is_drawable(low, high, False) for n in (low, high)]
    axis = _Axis.over(numbers, top + height, top, False)
    parts = []
    for tick, label in axis.ticks():
        y = axis.at(tick)
        parts.append(_line(left, y, right, y, GRID, 1))
        parts.append(_text(left - 8, y + 4, label, "end", fill=SOFT, font_size=12))
    room = (right - left) / len(rows)
    centres = [left + room * (place + 0.5) for place in range(len(rows))]
    for centre, row in zip(centres, rows, strict=True):
        words = span(row.from_bytes, row.to_bytes)
        parts.append(_text(centre, top + height + 18, words, "middle", fill=SOFT, font_size=12))
        words = f"{row.documents:,} documents"
        parts.append(_text(centre, top + height + 33, words, "middle", fill=SOFT, font_size=11))
    for number, model in enumerate(models):
        shift = (number - (len(models) - 1) / 2) * min(10.0, 0.6 * room / len(models))
        parts += _curve(found[model], [c + shift for c in centres], axis, number)
    parts.append(_text(0, 12, "bits per byte", fill=SOFT, font_size=12))
    legend, bottom = _legend(models, left, top + height + 58)
    return _picture(bottom, "Bits per byte by place in the document", [*parts, *legend])


def _curve(
    line: Sequence[tuple[float, float, float]], xs: Sequence[float], axis: _Axis, number: int
) -> list[Markup]:
    colour = SERIES[number % len(SERIES)]
    points = [(x, axis.at(v)) for x, (v, _, _) in zip(xs, line, strict=True)]
    parts = [
        _element(
            "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none",
            stroke=colour, stroke_width=2, stroke_dasharray=_dash(number),
        )
    ]  # fmt: skip
    for (x, y), (_, low, high) in zip(points, line, strict=True):
        if _is_drawable(low, high, False):
            parts.append(_line(x, axis.at(low), x, axis.at(high), colour, 1.5))
        parts.append(_element("circle", cx=x, cy=y, r=3, fill=colour))
    return parts


def _legend(models: Sequence[str], left: float, top: float) -> tuple[list[Markup], float]:
    """Names beside their lines, three in a row, and where they end."""
    parts = []
    for number, model in enumerate(models):
        x, y = left + 230 * (number % 3), top + 22 * (number // 3)
        colour = SERIES[number % len(SERIES)]
        parts.append(
            _element("line", x1=x, y1=y, x2=x + 24, y2=y, stroke=colour, stroke_width=3,
                     stroke_dasharray=_dash(number))
        )  # fmt: skip
        parts.append(_text(x + 32, y + 4.5, model))
    return parts, top + 22 * ((len(models) - 1) // 3) + 16


def _dash(number: int) -> str:
    return DASHES[number // len(SERIES) % len(DASHES)]
