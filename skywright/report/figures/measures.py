"""Measured values with their intervals: perplexities, leak differences, the branch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from skywright.report.records import Estimate, Leak, Score, Study
from skywright.report.text import count, estimate, inline, share
from skywright.report.theme import (
    AFTER,
    BEFORE,
    DROPPED,
    INK,
    KEPT,
    SOFT,
    Figure,
    axis,
    canvas,
    colour,
    plain,
    stripes,
)


def _whiskers(values: Sequence[Estimate], colour_of: str = INK, scale: float = 1) -> dict[str, Any]:
    up, down = [], []
    for given in values:
        known = given.value is not None and given.low is not None and given.high is not None
        up.append((given.high - given.value) * scale if known else None)  # type: ignore[operator]
        down.append((given.value - given.low) * scale if known else None)  # type: ignore[operator]
    return {
        "type": "data", "symmetric": False, "array": up, "arrayminus": down,
        "color": colour_of, "thickness": 1.4, "width": 4,
    }  # fmt: skip


def _log_ticks(rows: Sequence[Score], unigram: dict[str, float | None]) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 times the powers of ten, written out, over what is drawn."""
    values = [row.perplexity.value for row in rows]
    values += [math.exp(nats) for nats in unigram.values() if nats is not None]
    there = [value for value in values if value is not None and math.isfinite(value)]
    low, high = math.log10(min(there, default=1)), math.log10(max(there, default=10))
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}


def final_domains(rows: Sequence[Score], unigram: dict[str, float | None]) -> Figure:
    """Perplexity of one checkpoint by domain with intervals, and the unigram baseline."""
    names = [plain(row.domain) for row in rows]
    values = [row.perplexity for row in rows]
    figure = canvas(
        xaxis=axis("perplexity (logarithmic)", type="log", **_log_ticks(rows, unigram)),
        yaxis=axis(autorange="reversed", type="category", ticks="", tickfont={"size": 13}),
    )
    figure.add_scatter(
        name="this model, 95 % interval",
        x=[value.value for value in values],
        y=names,
        mode="markers",
        marker={"size": 10, "color": KEPT},
        error_x=_whiskers(values),
        customdata=[[" ".join(estimate(value))] for value in values],
        hovertemplate="%{y}: %{customdata[0]}<extra></extra>",
    )
    baseline = [unigram.get(row.domain) for row in rows]
    figure.add_scatter(
        name="unigram baseline",
        x=[None if nats is None else math.exp(nats) for nats in baseline],
        y=names,
        mode="markers",
        marker={"size": 10, "color": DROPPED, "symbol": "diamond-open", "line": {"width": 2}},
        hovertemplate="%{y}: unigram %{x:,.0f}<extra></extra>",
    )
    told = "; ".join(f"{row.domain} {inline(row.perplexity)}" for row in rows)
    return Figure(
        "final-domains",
        f"The last checkpoint, {rows[-1].model}, by domain",
        f"Points with intervals on a logarithmic scale. Perplexity: {told}.",
        "Perplexity per reference token with 95 % intervals over documents. Diamonds: a unigram "
        "model with add-one counts of the training tokens, the exponential of its nats per "
        "reference token. Left is better.",
        110 + 30 * len(rows),
        figure,
    )


def leak_deltas(leak: Leak) -> Figure:
    """The three differences of every model with their intervals, and zero."""
    kinds = (
        ("\u0394\u2081 = test \u2212 reference", [row.delta1 for row in leak.models], "circle"),
        ("\u0394\u2082 = test \u2212 train", [row.delta2 for row in leak.models], "square"),
        ("seen \u2212 unseen", [row.seen_minus_unseen for row in leak.models], "diamond"),
    )
    figure = canvas(
        xaxis=axis("difference, nats per reference token", zeroline=True, zerolinecolor=SOFT),
        yaxis=axis(
            autorange="reversed",
            ticks="",
            tickvals=list(range(len(leak.models))),
            ticktext=[plain(row.model) for row in leak.models],
            tickfont={"size": 13},
        ),
    )
    told = []
    for index, (name, values, symbol) in enumerate(kinds):
        given = [value or Estimate(value=None) for value in values]
        figure.add_scatter(
            name=name,
            x=[value.value for value in given],
            y=[row + 0.22 * (index - 1) for row in range(len(given))],
            mode="markers",
            marker={"size": 10, "color": colour(index), "symbol": symbol},
            error_x=_whiskers(given, colour(index)),
            customdata=[[" ".join(estimate(value, signed=True))] for value in given],
            hovertemplate=name + ": %{customdata[0]}<extra></extra>",
        )
        told += [
            f"{row.model}, {name}: {inline(value, signed=True)}"
            for row, value in zip(leak.models, given, strict=True)
        ]
    return Figure(
        "leak-deltas",
        "The differences",
        f"Points with intervals beside a line at zero. {'; '.join(told)}.",
        "Differences of mean losses with 95 % intervals. An interval that holds zero, or lies "
        "within the differences that clean models show, is no evidence.",
        110 + 74 * len(leak.models),
        figure,
    )


def branch(study: Study) -> list[Figure]:
    """Benchmark and domain losses before and after the in-domain branch."""
    bench = study.benchmark
    figures: list[Figure] = []
    for name, title, labels, pairs, unit, scale, protocol in (
        (
            "branch-benchmark",
            "The benchmark",
            [bench.name],
            [(bench.before, bench.after)],
            "accuracy, %",
            100.0,
            f"{count(bench.items)} items, share answered right, 95 % intervals; dotted: chance, "
            f"{share(bench.chance)}.",
        ),
        (
            "branch-domains",
            "Domain losses",
            [row.domain for row in study.domains],
            [(row.before, row.after) for row in study.domains],
            "nats per reference token",
            1.0,
            "Held-out documents, before and after the branch, 95 % intervals over documents. The "
            "same documents are scored twice: judge by the paired differences in the table, not by "
            "whether whiskers meet.",
        ),
    ):
        figure = canvas(
            barmode="group",
            bargap=0.3,
            xaxis=axis(type="category", ticks="", showgrid=False),
            yaxis=axis(unit, rangemode="tozero"),
        )
        for side, (label, shade) in enumerate((("before", BEFORE), ("after", AFTER))):
            values = [pair[side] for pair in pairs]
            figure.add_bar(
                name=label,
                x=[plain(text) for text in labels],
                y=[None if v.value is None else v.value * scale for v in values],
                error_y=_whiskers(values, scale=scale),
                marker={
                    "color": shade,
                    "pattern": stripes() if side else None,
                },
                customdata=[[" ".join(estimate(value, scale))] for value in values],
                hovertemplate="%{x}, " + label + ": %{customdata[0]}<extra></extra>",
            )
        if name == "branch-benchmark":
            figure.add_hline(y=100 * bench.chance, line={"color": SOFT, "dash": "dot", "width": 1})
        told = "; ".join(
            f"{text}: {inline(before, scale)} before, {inline(after, scale)} after"
            for text, (before, after) in zip(labels, pairs, strict=True)
        )
        figures.append(
            Figure(name, title, f"Bars before and after. {told}.", protocol, 380, figure)
        )
    return figures
