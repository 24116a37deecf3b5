"""The corpus and the mixture: what was dropped, and what the model reads when.

Shares of the whole run are segment shares weighted by the tokens of the segments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skywright.report.records import Plan, Waterfall
from skywright.report.text import MINUS, count, decimal, quantity, share, shorten, size
from skywright.report.theme import (
    DROPPED,
    KEPT,
    SOFT,
    Figure,
    axis,
    canvas,
    colour,
    plain,
    segment_marks,
    stripes,
    tokens_axis,
)

_SHORT = 0.1  # of the run: a segment shorter than that could not be read on an axis of tokens
_LABELLED = 0.025  # of the run: smaller parts of the ring have no label, the table tells them


def corpus_funnel(waterfall: Waterfall) -> Figure:
    """What is left after each step, and what the step dropped."""
    flow = waterfall.flow
    names = [plain(step.step) for step in flow]
    drops = [max(0, step.records_in - step.records_out) for step in flow]
    whole = max((step.records_in for step in flow), default=0)
    figure = canvas(
        barmode="stack",
        bargap=0.28,
        xaxis=axis("records", rangemode="tozero", range=[0, whole * 1.1], exponentformat="B"),
        yaxis=axis(autorange="reversed", ticks="", type="category", tickfont={"size": 13}),
    )
    figure.add_bar(
        name="goes on",
        orientation="h",
        y=names,
        x=[step.records_out for step in flow],
        marker={"color": KEPT},
        text=[f"{count(s.records_out)} · {share(s.records_out, whole)}" for s in flow],
        textposition="auto",
        insidetextanchor="start",
        textfont={"size": 12},
        customdata=[[size(s.bytes_out)] for s in flow],
        hovertemplate="%{y}: %{x:,} go on, %{customdata[0]}<extra></extra>",
    )
    figure.add_bar(
        name="dropped by this step",
        orientation="h",
        y=names,
        x=drops,
        marker={
            "color": DROPPED,
            "pattern": stripes(),
        },
        text=[f"{MINUS}{count(drop)}" if drop else "" for drop in drops],
        textposition="outside",
        textfont={"size": 12, "color": SOFT},
        cliponaxis=False,
        hovertemplate="%{y}: %{x:,} dropped<extra></extra>",
    )
    told = "; ".join(f"{s.step} {count(s.records_out)}" for s in flow)
    return Figure(
        "corpus-funnel",
        "From input records to kept documents",
        f"Bars by step. Of {count(waterfall.input_records)} input records these go on: {told}. "
        f"{count(waterfall.kept)} are kept.",
        "Every input record counts once; shares are of the records read. Exact counts, no "
        "sampling, so no interval.",
        96 + 38 * len(flow),
        figure,
    )


def _spans(plan: Plan) -> list[tuple[str, float, float]]:
    spans, at = [], 0.0
    for segment in plan.segments:
        spans.append((segment.name, at, at + segment.tokens))
        at += segment.tokens
    return spans


def sources_by_tokens(plan: Plan) -> list[tuple[str, float]]:
    """Sources with the tokens the whole run takes from each, largest first."""
    totals: dict[str, float] = {}
    for segment in plan.segments:
        for source, part in segment.shares.items():
            totals[source] = totals.get(source, 0.0) + part * segment.tokens
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def mixture_pie(plan: Plan) -> Figure:
    """Tokens by source over the whole run."""
    sources = sources_by_tokens(plan)
    whole = sum(tokens for _, tokens in sources)
    epochs = plan.segments[-1].epochs if plan.segments else {}
    figure = canvas(showlegend=False, margin={"l": 4, "r": 4, "t": 8, "b": 8})
    figure.add_pie(
        labels=[plain(source) for source, _ in sources],
        text=[plain(shorten(source, 16)) for source, _ in sources],
        values=[tokens for _, tokens in sources],
        hole=0.52,
        domain={"x": [0.21, 0.79], "y": [0.1, 0.9]},  # room for the labels outside
        sort=False,
        direction="clockwise",
        rotation=80,  # the small shares then end at the right, where labels stack downwards
        marker={
            "colors": [colour(index) for index in range(len(sources))],
            "line": {"color": "#fff", "width": 1.5},
        },
        texttemplate=[
            "%{text}<br>%{percent:.1%}" if tokens >= _LABELLED * whole else ""
            for _, tokens in sources
        ],
        textposition="outside",
        textfont={"size": 12},
        customdata=[
            [quantity(tokens), decimal(epochs.get(source), 2)] for source, tokens in sources
        ],
        hovertemplate="%{label}: %{customdata[0]} tokens, %{percent:.1%}, "
        "%{customdata[1]} epochs<extra></extra>",
    )
    figure.add_annotation(
        text=f"<b>{quantity(whole)}</b><br>tokens", showarrow=False, font={"size": 15}
    )
    told = ", ".join(f"{source} {share(tokens, whole)}" for source, tokens in sources)
    return Figure(
        "mixture-pie",
        "The whole run by source",
        f"Ring of the {quantity(whole)} tokens of the run by source: {told}.",
        "Realised shares of the plan, weighted by the tokens of each segment. The plan is counted, "
        "not sampled: no interval.",
        400,
        figure,
    )


def _even(spans: list[tuple[str, float, float]]) -> dict[str, Any]:
    """An axis of tokens on which every segment is equally wide."""
    bounds = [0.0, *(last for _, _, last in spans)]
    return axis(
        "training tokens, every segment drawn equally wide",
        range=[0, len(spans)],
        tickvals=list(range(len(bounds))),
        ticktext=[quantity(bound) for bound in bounds],
    )


def mixture_area(plan: Plan) -> Figure:
    """Shares of the sources along the run; a short segment is drawn as wide as the others."""
    sources = sources_by_tokens(plan)
    spans = _spans(plan)
    total = spans[-1][2] if spans else 0.0
    even = min(last - first for _, first, last in spans) < _SHORT * total if spans else False
    edges = np.array([0.0, *(last for _, _, last in spans)])

    def place(tokens: float) -> float:
        return float(np.interp(tokens, edges, np.arange(len(edges)))) if even else tokens

    figure = canvas(
        xaxis=_even(spans) if even else tokens_axis(range=[0, total]),
        yaxis=axis("share of tokens", range=[0, 1], tickformat=".0%"),
        hovermode="x unified",
    )
    points: list[tuple[float, dict[str, float]]] = []
    for segment, (_, first, last) in zip(plan.segments, spans, strict=True):
        ends = [(point.tokens, point.shares) for point in segment.curve] or [(last, segment.shares)]
        starts = [first, *(end for end, _ in ends[:-1])]
        middles = [((start + end) / 2, s) for start, (end, s) in zip(starts, ends, strict=True)]
        # Stacks want rising x: a segment starts a millionth of its length after its bound.
        points += [(first + 1e-6 * (last - first), ends[0][1]), *middles, (last, ends[-1][1])]
    for index, (source, _) in enumerate(sources):
        figure.add_scatter(
            name=plain(source),
            x=[place(at) for at, _ in points],
            y=[shares.get(source, 0.0) for _, shares in points],
            stackgroup="mixture",
            mode="lines",
            line={"width": 0.8, "color": "#fff"},
            fillcolor=colour(index),
            hovertemplate="%{y:.1%}",
        )
    segment_marks(figure, [(name, place(first), place(last)) for name, first, last in spans])
    ramps = [
        f"{source} goes from {share(planned[0])} to {share(planned[1])} in {segment.name}"
        for segment in plan.segments
        for source, planned in segment.planned.items()
        if isinstance(planned, tuple)
    ]
    return Figure(
        "mixture-area",
        "Shares along the run",
        f"Stacked areas over {quantity(total)} tokens, one for each source, in "
        f"{len(plan.segments)} segments. {'. '.join(ramps) or 'No source has a ramp'}.",
        "Share of each source in the samples that the run reads, over up to 20 stretches of a "
        "segment, drawn at their middles. Counted, not sampled: no interval. Dotted lines are the "
        "bounds of segments.",
        400,
        figure,
    )
