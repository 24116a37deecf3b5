"""Training loss, learning rate and domain losses against tokens.

Smoothing and thinning are for display alone; the protocol of the figure says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from skywright.report.records import MACRO, DomainLoss, Metric, Run, Validation
from skywright.report.text import decimal, language, language_group, quantity
from skywright.report.theme import (
    DROPPED,
    INK,
    KEPT,
    Figure,
    View,
    axis,
    canvas,
    colour,
    dash,
    plain,
    segment_marks,
    tokens_axis,
)

DRAWN_POINTS = 2_000  # more than the pixels of a wide screen; a longer run is thinned for display
SMOOTHED_SHARE = 0.03  # the running mean spans this share of the steps: chosen by eye
FRAMED_FROM = 0.05  # share of the run before which a loss may leave the frame: chosen by eye
ABSENT_LOSS = DomainLoss(nats_per_token=None)


def _running_mean(values: Sequence[float | None], half: int) -> list[float | None]:
    """Mean of the values up to `half` steps to each side, over the ones that are there."""
    sums, seen = [0.0], [0]
    for value in values:
        there = value is not None and math.isfinite(value)
        sums.append(sums[-1] + (value if there and value is not None else 0.0))
        seen.append(seen[-1] + there)
    result: list[float | None] = []
    for index in range(len(values)):
        first, last = max(0, index - half), min(len(values), index + half + 1)
        number = seen[last] - seen[first]
        result.append((sums[last] - sums[first]) / number if number else None)
    return result


def _metric_spans(points: Sequence[Metric | Validation]) -> list[tuple[str, float, float]]:
    spans: list[tuple[str, float, float]] = []
    for point in points:
        if spans and spans[-1][0] == point.segment:
            spans[-1] = (point.segment, spans[-1][1], point.tokens)
        else:
            spans.append((point.segment, spans[-1][2] if spans else 0.0, point.tokens))
    return spans


def training(metrics: Sequence[Metric]) -> Figure:
    """Training loss, raw and smoothed, above the learning rate."""
    half = max(1, round(len(metrics) * SMOOTHED_SHARE / 2))
    smooth = _running_mean([metric.loss_nats for metric in metrics], half)
    stride = max(1, math.ceil(len(metrics) / DRAWN_POINTS))
    drawn = range(0, len(metrics), stride)
    tokens = [metrics[index].tokens for index in drawn]
    spans = _metric_spans(metrics)
    figure = canvas(
        xaxis=tokens_axis(anchor="y2"),
        yaxis=axis("loss, nats per token", domain=[0.36, 1]),
        yaxis2=axis("learning rate", domain=[0, 0.28], rangemode="tozero", exponentformat="power"),
        hovermode="x",
    )
    for name, losses, line in (
        ("each step", [metrics[i].loss_nats for i in drawn], {"color": "#8fbbd8", "width": 1}),
        ("smoothed", [smooth[i] for i in drawn], {"color": KEPT, "width": 2.4}),
    ):
        figure.add_scatter(
            name=name, x=tokens, y=losses, mode="lines", line=line, hovertemplate="%{y:.3f}"
        )
    figure.add_scatter(
        name="learning rate",
        x=tokens,
        y=[metrics[index].lr for index in drawn],
        yaxis="y2",
        mode="lines",
        line={"color": DROPPED, "width": 2},
        hovertemplate="%{y:.3g}",
    )
    segment_marks(figure, spans)
    first, last = metrics[0], metrics[-1]
    thinned = f" Every {stride}th step is drawn." if stride > 1 else ""
    return Figure(
        "training-curve",
        "Training loss and learning rate",
        f"Two curves over training tokens. The smoothed loss goes from {decimal(smooth[0])} to "
        f"{decimal(smooth[-1])} nats per token between {quantity(first.tokens)} and "
        f"{quantity(last.tokens)} tokens; the learning rate ends at {last.lr:.2g}. Segments: "
        f"{', '.join(name for name, _, _ in spans)}.",
        f"Mean loss of each global batch, nats per token of the run's own tokenizer, on training "
        f"text. Bold: centred running mean over {2 * half + 1} steps, for display only.{thinned}",
        480,
        figure,
    )


def _domain_languages(run: Run) -> dict[str, str]:
    scored = run.evaluation.rows if run.evaluation else ()
    studied = run.study.domains if run.study else ()
    known = [(row.domain, row.lang) for row in scored] + [(row.domain, row.lang) for row in studied]
    return {domain: language_group(lang) for domain, lang in known if domain != MACRO}


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None and math.isfinite(value)]
    return sum(there) / len(there) if values and len(there) == len(values) else None


def _panels(names: Sequence[str], languages: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Domains in at most two panels: Chinese, and all others; the label names the languages."""
    if not any(languages.get(name) for name in names):
        return [("All domains", list(names))]
    panels = []
    for chinese in (False, True):
        members = [name for name in names if (languages.get(name) == "zh") == chinese]
        codes = dict.fromkeys(languages.get(name) or None for name in members)
        labels = [language(code) for code in codes]
        label = " and ".join([labels[0], *(text.lower() for text in labels[1:])] if labels else [])
        panels += [(label, members)] if members else []
    return panels


def _frame(tokens: Sequence[int], lines: Sequence[Sequence[float | None]]) -> list[float]:
    """The range that holds all lines from FRAMED_FROM of the run on, with a small margin."""
    first = FRAMED_FROM * max(tokens, default=0)
    there = [
        value
        for line in lines
        for at, value in zip(tokens, line, strict=True)
        if at >= first and value is not None and math.isfinite(value)
    ]
    low, high = min(there, default=0.0), max(there, default=1.0)
    margin = 0.06 * (high - low) or 0.5
    return [low - margin, high + 2 * margin]


def validation(run: Run) -> list[Figure]:
    """Domain losses against tokens: Chinese beside all others, on one scale."""
    rows = run.validation
    names = list(dict.fromkeys(name for row in rows for name in row.domains if name != MACRO))
    panels = _panels(names, _domain_languages(run))
    tokens = [row.tokens for row in rows]
    losses = {name: [row.domains.get(name, ABSENT_LOSS) for row in rows] for name in names}
    units: list[tuple[str, dict[str, list[float | None]]]] = [
        ("nats per token", {n: [loss.nats_per_token for loss in losses[n]] for n in names}),
        ("bits per byte", {n: [loss.bpb for loss in losses[n]] for n in names}),
    ]
    macros = [
        [_mean([values[name][i] for name in names]) for i in range(len(rows))]
        for _, values in units
    ]
    frames = [_frame(tokens, list(values.values())) for _, values in units]
    has_bits = any(value is not None for line in units[1][1].values() for value in line)
    unigram = run.evaluation.unigram.get(MACRO) if run.evaluation else None
    spans = _metric_spans(rows)
    figures: list[Figure] = []
    for label, members in panels:
        figure = canvas(
            xaxis=tokens_axis(), yaxis=axis(units[0][0], range=frames[0]), hovermode="x unified"
        )
        for unit, (_, values) in enumerate(units):
            for index, name in enumerate([*members, MACRO]):
                bold = index == len(members)
                figure.add_scatter(
                    name="macro, all domains" if bold else plain(name),
                    x=tokens,
                    y=macros[unit] if bold else values[name],
                    mode="lines+markers",
                    line={
                        "color": INK if bold else colour(index),
                        "width": 3.6 if bold else 1.9,
                        "dash": "solid" if bold else dash(index),
                    },
                    marker={"size": 6 if bold else 5, "symbol": "circle" if bold else index},
                    visible=unit == 0,
                    hovertemplate="%{y:.3f}",
                )
        segment_marks(figure, spans)
        nats = units[0][1]
        ends = ", ".join(f"{n} {decimal(nats[n][0])} to {decimal(nats[n][-1])}" for n in members)
        traces = len(members) + 1
        views = tuple(
            View(
                name,
                tuple(trace // traces == unit for trace in range(2 * traces)),
                {"yaxis.title.text": name, "yaxis.range": frames[unit]},
            )
            for unit, (name, _) in enumerate(units)
        )
        figures.append(
            Figure(
                f"validation-{len(figures)}",
                label,
                f"Lines over training tokens, one for each domain ({label}), nats per token from "
                f"the first to the last measurement: {ends}.",
                "Loss on held-out documents, per token of the run's own tokenizer or per UTF-8 "
                "byte. Macro: equal-weight mean of all domains. One scale for all panels; what "
                f"comes before {FRAMED_FROM:.0%} of the run may lie above the frame. "
                + (
                    f"Unigram baseline, macro: {decimal(unigram)} nats. "
                    if unigram is not None
                    else ""
                )
                + "No intervals here: section 6 has them.",
                430,
                figure,
                views if has_bits else (),
            )
        )
    return figures
