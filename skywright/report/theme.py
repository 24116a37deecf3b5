"""One look for all figures: colours, type, axes, and the object the page places.

Colours are the Okabe-Ito set (Okabe and Ito, "Color Universal Design", 2008, without its yellow,
too pale on white) followed by colours of Paul Tol's "muted" set (SRON/EPS/TN/09-002, 2021).
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

INK = "#1b1f24"
SOFT = "#5b6470"
GRID = "#e4e6ea"
KEPT = "#0072B2"
DROPPED = "#D55E00"
BEFORE = "#9AA5B1"
AFTER = "#D55E00"
SERIES = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00",
    "#332288", "#882255", "#117733", "#999933", "#AA4499", "#88CCEE", "#777777",
)  # fmt: skip
DASHES = ("solid", "dash", "dot", "dashdot")
FONT = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC", '
    '"Microsoft YaHei", "Noto Sans CJK SC", sans-serif'
)


@dataclass(frozen=True)
class View:
    """One way to see a figure: which traces show, and the layout that goes with them."""

    label: str
    visible: tuple[bool, ...]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A drawn figure and the words that must stand beside it.

    `alt` tells what the picture shows to those who do not see it; `protocol` how its numbers were
    made; `height` is in CSS pixels.
    """

    id: str
    title: str
    alt: str
    protocol: str
    height: int
    drawing: go.Figure
    views: tuple[View, ...] = ()


def plain(text: str) -> str:
    """Text that plotly shows as it is: its labels read a small HTML of their own."""
    return html.escape(str(text), quote=True)


def colour(index: int) -> str:
    """The colour of the n-th series."""
    return SERIES[index % len(SERIES)]


def dash(index: int) -> str:
    """The line style of the n-th series: changes when the colours start again."""
    return DASHES[index // len(SERIES) % len(DASHES)]


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis in the house style; `more` is plotly's own vocabulary."""
    return {
        "title": {"text": title, "font": {"size": 13, "color": SOFT}, "standoff": 10},
        "gridcolor": GRID,
        "linecolor": "#b9c0c9",
        "tickfont": {"size": 12, "color": SOFT},
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#b9c0c9",
        **more,
    }


def stripes() -> dict[str, Any]:
    """A light hatch, so that two kinds of bars differ without their colours."""
    return {"shape": "/", "fillmode": "overlay", "fgcolor": "#fff", "size": 6, "solidity": 0.16}


def tokens_axis(**more: Any) -> dict[str, Any]:
    """The axis of tokens read, shared by all curves; `exponentformat` B writes 1B, not 1G."""
    return axis("training tokens", exponentformat="B", rangemode="tozero", nticks=8, **more)


def canvas(**layout: Any) -> go.Figure:
    """An empty figure in the house style; the page sets its width."""
    figure = go.Figure()
    figure.update_layout(
        **{
            "template": go.layout.Template(),
            "font": {"family": FONT, "size": 13, "color": INK},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 12, "r": 16, "t": 16, "b": 12},
            "hoverlabel": {"font": {"family": FONT, "size": 12.5}},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.03,
                "yanchor": "bottom",
                "font": {"size": 12.5},
                "traceorder": "normal",
            },
            **layout,
        }
    )
    return figure


def segment_marks(figure: go.Figure, spans: list[tuple[str, float, float]], **where: Any) -> None:
    """Mark segments by a thin line at each bound and the name at its top left."""
    for index, (name, first, _) in enumerate(spans):
        if index:
            figure.add_shape(
                type="line", x0=first, x1=first, y0=0, y1=1, yref="paper",
                line={"color": SOFT, "width": 1, "dash": "dot"},
            )  # fmt: skip
        figure.add_annotation(
            **{
                "x": first, "xanchor": "left", "xshift": 4,
                "y": 1, "yref": "paper", "yanchor": "top",
                "text": plain(name), "showarrow": False,
                "font": {"size": 11.5, "color": SOFT}, "bgcolor": "rgba(255,255,255,.75)",
                **where,
            }
        )  # fmt: skip
