"""What a plan comes to, before anything is read: shares, epochs, curves, and a drawing of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from skywright.tokens.mixture import planned
from skywright.tokens.plan import Layout, Plan

CURVE_POINTS = 20
_BARS = " ▁▂▃▄▅▆▇█"


def realised(plan: Plan) -> list[dict[str, Any]]:
    """For each segment: its name, and by source the share and tokens it really gets and the
    epochs read by its end.

    Epochs tell of the sources met so far: a source that a later segment brings does not change
    what is said of this one.
    """
    rows = []
    for layout in plan.layouts:
        drawn = layout.segment.counts[-1].astype(np.int64)
        names = [plan.names[i] for i in layout.columns]
        met = {name: counter.epochs for name, counter in zip(plan.names, layout.after, strict=True)
               if counter.tokens or name in names}  # fmt: skip
        rows.append(
            {
                "name": layout.mixture.name,
                "shares": {n: float(d / layout.samples) for n, d in zip(names, drawn, strict=True)},
                "tokens_by_source": {
                    n: int(d) * layout.sequence_tokens for n, d in zip(names, drawn, strict=True)
                },
                "epochs": met,
            }
        )
    return rows


def summary(plan: Plan) -> dict[str, Any]:
    """The plan as JSON: realised and planned shares, epochs, a curve of up to 20 points.

    A curve point gives each source's realised share in the stretch of whole blocks that ends at
    `tokens` tokens of the run; a segment of fewer than 20 blocks has one a block. `exhausted`
    tells at how many tokens of the run a source reaches its epoch cap, where the others take
    its share.
    """
    segments = []
    for layout, row in zip(plan.layouts, realised(plan), strict=True):
        segments.append(
            {
                **row,
                "samples": layout.samples,
                "sequence_tokens": layout.sequence_tokens,
                "block_samples": layout.segment.block,
                "tokens": layout.samples * layout.sequence_tokens,
                "first_sample": layout.first_sample,
                "planned": planned(layout.mixture.mixture),
                "exhausted": {
                    plan.names[layout.columns[event.column]]: layout.first_token
                    + event.sample * layout.sequence_tokens
                    for event in layout.exhausted
                },
                "curve": _curve(plan, layout),
            }
        )
    return {
        "seed": plan.seed,
        "sequence_tokens": plan.sequence_tokens,
        "epochs": plan.epochs.model_dump(mode="json"),
        "fingerprint": plan.fingerprint(),
        "segments": segments,
        "sources": {
            name: {"tokens": size.tokens, "windows": size.windows[plan.sequence_tokens]}
            for name, size in plan.sources.items()
        },
    }


def _curve(plan: Plan, layout: Layout) -> list[dict[str, Any]]:
    counts, block = layout.segment.counts, layout.segment.block
    blocks = len(counts) - 1
    points = min(CURVE_POINTS, blocks)
    edges = [blocks * point // points for point in range(points + 1)]
    curve = []
    for start, stop in pairwise(edges):
        inside = counts[stop].astype(np.int64) - counts[start]
        last = min(stop * block, layout.samples)
        curve.append(
            {
                "tokens": layout.first_token + last * layout.sequence_tokens,
                "shares": {
                    plan.names[i]: float(count / inside.sum())
                    for i, count in zip(layout.columns, inside, strict=True)
                },
            }
        )
    return curve


def rows(told: dict[str, Any]) -> list[dict[str, Any]]:
    """A summary as table rows, one a source and segment; the share's course as a small drawing.

    The drawing's height is relative to the highest share of any source in the whole plan.
    """
    top = max(
        point["shares"][name]
        for segment in told["segments"]
        for point in segment["curve"]
        for name in point["shares"]
    )
    return [
        {
            "segment": segment["name"],
            "source": name,
            "tokens": segment["tokens_by_source"][name],
            "share": segment["shares"][name],
            "course": "".join(
                _BARS[math.ceil(point["shares"][name] / top * (len(_BARS) - 1))]
                for point in segment["curve"]
            ),
            "epochs so far": segment["epochs"][name],
            "runs out at": segment["exhausted"].get(name),
        }
        for segment in told["segments"]
        for name in segment["shares"]
    ]
