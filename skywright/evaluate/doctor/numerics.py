"""Checks of the numbers: that they are numbers, look only left, and hold in any batch and dtype."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from skywright.evaluate.backends import Backend, no_number_advice
from skywright.evaluate.batches import batched_nll, token_batches
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.doctor.check import Check, NoiseFloor
from skywright.evaluate.doctor.sample import Sample, per_document
from skywright.evaluate.doctor.tokenizer import view_of
from skywright.evaluate.pace import duration
from skywright.evaluate.protocols import make_windows
from skywright.statistics import paired_ratio_difference

EXACT_NATS = 1e-4
"""Nats per token up to which two fp32 computations are the same: sums in another order differ by
about 1e-6 of a logit, and logits of trained models stay below a hundred."""
WRONG_NATS = 0.05
"""Nats per token beyond which no rounding explains a document's difference. bf16 keeps 8 bits, so
a logit of 20 is off by at most 0.04, with either sign; over a document this averages out."""
LONGEST_WINDOW_TOKENS = 4096
"""The context is tried out up to here, which is the longest window of the default protocol."""
WORSE_NATS = 0.5
"""Rise of the loss from a window's second quarter to its last beyond which its end is suspect; in
a window that a model was trained on, the loss falls or stays."""


def _describe(nats: float) -> str:
    return f"{nats:.2g} nats per token"


def sane(sample: Sample) -> Check:
    """Whether losses are numbers, and better than blind guessing."""
    losses = per_document(sample.alone)
    if not np.isfinite(losses).all():
        bad = int((~np.isfinite(losses)).sum())
        return Check(
            "losses", "refuse", f"{bad} of {len(losses)} texts have a loss that is no number",
            no_number_advice(sample.backend.dtype),
        )  # fmt: skip
    nats = float(losses.sum() / sample.sizes.sum())
    blind = math.log(sample.backend.vocab_size)
    figures = {"nats_per_token": nats, "blind_nats_per_token": blind}
    if nats > blind:
        return Check(
            "losses", "warn", f"{nats:.2f} nats per token; blind guessing costs {blind:.2f}",
            "an untrained model, or weights and tokenizer of two models", figures,
        )  # fmt: skip
    return Check("losses", "pass", f"{nats:.2f} nats per token (blind: {blind:.2f})", "", figures)


def causal(sample: Sample) -> Check:
    """Whether a token's loss is left alone by the tokens after it."""
    window = max(sample.windows(sample.backend.start_token_id), key=len)
    other = window.copy()
    # Not the last one, which a model need not read. Its own loss and the next one may move.
    other[-2] = (int(window[-2]) + 1) % sample.backend.vocab_size
    one, two = (sample.backend.token_nll([w], [1])[0][:-2] for w in (window, other))
    moved = float(np.abs(one - two).max(initial=0.0))
    figures = {"max_nats": moved}
    if moved > WRONG_NATS:
        return Check(
            "reads left", "refuse", f"changing a later token moves earlier losses by {moved:.2g}",
            "the model sees what it is to predict; it is no causal language model", figures,
        )  # fmt: skip
    return Check("reads left", "pass", "later tokens do not move earlier losses", "", figures)


def batch_differences(sample: Sample) -> np.ndarray:
    """Each text's |loss among others - loss alone| in nats per token."""
    return np.abs(per_document(sample.together) - per_document(sample.alone)) / sample.sizes


def batch_invariance(sample: Sample) -> Check:
    """Whether a document's loss depends on its neighbours in the batch."""
    worst = float(batch_differences(sample).max())
    figures = {"max_nats_per_token": worst, "documents": len(sample.texts)}
    finding = f"alone and among {len(sample.texts)} texts: at most {_describe(worst)} apart"
    if not worst <= WRONG_NATS:
        return Check(
            "batch", "refuse", finding,
            "documents see each other or the padding; score one at a time and report it", figures,
        )  # fmt: skip
    if worst > EXACT_NATS:
        return Check("batch", "warn", finding, "call no difference below the noise floor", figures)
    return Check("batch", "pass", finding, "", figures)


def left_padding(sample: Sample) -> Check:
    """Whether the shortest text is scored as if no padding stood beside it.

    The cost of padding on the left that is seen and scored after, as some scripts do with a
    tokenizer that pads there, is measured and told.
    """
    view = view_of(sample.backend)
    short = int(np.argmin(sample.sizes))
    alone = sample.alone[short]
    apart = float(np.abs(sample.together[short] - alone).max())
    window = sample.windows(sample.backend.start_token_id)[short]
    pad = sample.backend.start_token_id if view is None or view.eos_id is None else view.eos_id
    room = min(sample.backend.context_tokens - len(window), int(sample.sizes.max()))
    seen = 0.0
    if room > 0:
        padded = np.concatenate([np.full(room, pad, dtype=np.int32), window])
        after = sample.backend.token_nll([padded], [room + 1])[0]
        seen = float(after.sum(dtype=np.float64) - alone.sum(dtype=np.float64)) / len(alone)
    side = "right" if view is None else view.padding_side
    figures = {"max_nats": apart, "padding_side": side, "visible_nats_per_token": seen}
    if not apart <= 10 * WRONG_NATS:  # one token, not a document's mean
        return Check(
            "padding", "refuse", f"padding moves a token's loss by {apart:.2g} nats",
            "the back-end lets padding be seen; report it", figures,
        )  # fmt: skip
    told = f"ours does not count; {room} visible tokens on the left would cost {_describe(seen)}"
    if side == "left":
        return Check(
            "padding", "pass", told,
            "the tokenizer pads on the left: other tools may score that padding", figures,
        )  # fmt: skip
    return Check("padding", "pass", told, "", figures)


def dtype_differences(sample: Sample, other: list[np.ndarray]) -> np.ndarray:
    """Each text's |loss in this dtype - loss in the other| in nats per token."""
    return np.abs(per_document(sample.alone) - per_document(other)) / sample.sizes


def noise_floor(sample: Sample, other: list[np.ndarray] | None = None) -> NoiseFloor:
    """How far the texts' losses move between batches, and between dtypes.

    other: the same losses in another dtype, if there are any that are numbers.
    """
    gap = None if other is None else dtype_differences(sample, other)
    if gap is not None and not np.isfinite(gap).all():
        gap = None
    return NoiseFloor(batch_differences(sample), gap)


def dtype_gap(
    sample: Sample,
    other: list[np.ndarray],
    other_dtype: str,
    speed_ratio: float | None = None,
) -> Check:
    """How far the losses of another dtype lie from those of this one.

    speed_ratio: tokens a second in the other dtype over those in this one, which is told and
    decides nothing.
    """
    theirs = per_document(other)
    names = f"{sample.backend.dtype} against {other_dtype}"
    if not np.isfinite(theirs).all():
        return Check(
            "dtype", "warn", f"{other_dtype} gives losses that are no numbers",
            f"do not score it in {other_dtype}",
        )  # fmt: skip
    bias = paired_ratio_difference(per_document(sample.alone), theirs, sample.sizes)
    worst = float(dtype_differences(sample, other).max())
    figures = {"bias_nats_per_token": bias.as_json(), "max_nats_per_token": worst,
               "other": other_dtype, "speed_ratio": speed_ratio}  # fmt: skip
    finding = (
        f"{names}: {bias.value:+.2g} nats per token [{bias.low:+.2g}, {bias.high:+.2g}], a"
        f" document at most {worst:.2g}"
    )
    if speed_ratio is not None:
        finding += f"; {other_dtype} reads {speed_ratio:.2g} times as many tokens a second here"
    if worst > WRONG_NATS:
        return Check(
            "dtype", "warn", finding, "the dtypes disagree beyond rounding: score in float32",
            figures,
        )  # fmt: skip
    systematic = not bias.low <= 0 <= bias.high and abs(bias.value) > EXACT_NATS
    advice = "compare models in one dtype only" if systematic else ""
    return Check("dtype", "warn" if systematic else "pass", finding, advice, figures)


def context_limit(backend: Backend, sample: Sample) -> Check:
    """Whether the declared context runs to its end, and a longer document is scored in windows."""
    length = min(backend.context_tokens, LONGEST_WINDOW_TOKENS)
    text = np.concatenate(sample.tokens)
    text = np.tile(text, -(-2 * length // len(text)))
    start = backend.start_token_id
    full = np.concatenate([[start], text[: length - 1]]).astype(np.int32)
    losses = backend.token_nll([full], [1])[0]
    quarter = max(1, len(losses) // 4)
    early, late = float(losses[quarter : 2 * quarter].mean()), float(losses[-quarter:].mean())
    longer = text[: length + length // 2].astype(np.int32)
    windows, firsts = make_windows(longer, start, length, 0.5)
    scored = batched_nll(backend, windows, firsts)
    count, finite = sum(map(len, scored)), all(np.isfinite(s).all() for s in [losses, *scored])
    figures = {"declared_tokens": backend.context_tokens, "tried_tokens": length,
               "second_quarter_nats": early, "last_quarter_nats": late}  # fmt: skip
    if not finite or count != len(longer):
        return Check(
            "context", "refuse",
            f"of {len(longer)} tokens, {count} were scored in windows of {length}"
            + ("" if finite else ", some with no number"),
            "give a smaller --context-tokens", figures,
        )  # fmt: skip
    finding = f"{backend.context_tokens:,} tokens declared, {length:,} tried; longer: in windows"
    if late - early > WORSE_NATS:
        return Check(
            "context", "warn", f"{finding}; the loss rises from {early:.2f} to {late:.2f} nats",
            "the model was trained on shorter windows: give a smaller --context-tokens", figures,
        )  # fmt: skip
    return Check("context", "pass", finding, "", figures)


def tokens_per_second(backend: Backend, windows: Sequence[np.ndarray]) -> float:
    """How fast windows are read, in batches; the first batch is read once before, to warm up."""
    first = token_batches([len(window) for window in windows], BATCH_TOKENS)[0]
    backend.token_nll([windows[i] for i in first], [1] * len(first))
    began = time.perf_counter()
    batched_nll(backend, windows, [1] * len(windows))
    return sum(len(window) for window in windows) / (time.perf_counter() - began)


def throughput(backend: Backend, sample: Sample, set_tokens: int = 0) -> Check:
    """Tokens a second on the sample, and what a set of `set_tokens` would take (0: no set)."""
    rate = tokens_per_second(backend, sample.windows(backend.start_token_id))
    figures: dict[str, float] = {"tokens_s": rate}
    finding = f"{rate:,.0f} tokens/s on short texts"
    if set_tokens:
        figures |= {"set_tokens": set_tokens, "set_s": set_tokens / rate}
        finding += f"; the sets' {set_tokens:,} tokens take about {duration(set_tokens / rate)}"
    return Check("throughput", "pass", finding, "", figures)
