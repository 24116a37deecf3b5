"""Windows into batches: sorted by length, so that padding is next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends import Backend
from skywright.evaluate.config import BATCH_TOKENS

MIN_FILL = 0.95
"""Share of a batch's positions that hold tokens, at least, ..."""
FREE_TOKENS = 256
"""... once it has this many: a smaller batch is bound by reading the weights, padded or not."""


def token_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches: longest first, padded size at most `batch_tokens` (or one window).

    Longest first shows at once if memory is too small. A batch that would hold more than
    FREE_TOKENS positions is filled to MIN_FILL.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    held = 0
    for index in order:
        padded = lengths[batches[-1][0]] * (len(batches[-1]) + 1) if batches else 0
        full = held + lengths[index] >= MIN_FILL * padded or padded <= FREE_TOKENS
        if batches and padded <= batch_tokens and full:
            batches[-1].append(index)
            held += lengths[index]
        else:
            batches.append([index])
            held = lengths[index]
    return batches


def fill(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Share of all batches' positions that hold tokens."""
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    return sum(lengths[i] for batch in batches for i in batch) / padded


def check_ids(ids: np.ndarray, backend: Backend, where: str) -> None:
    """Raise `UserError` if the tokenizer gives an id that the model has no row for."""
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < backend.vocab_size:
        raise UserError(
            f"{where}: the tokenizer gives id {int(ids.max())}, but the model knows"
            f" {backend.vocab_size} tokens; tokenizer and weights are not of one model"
        )


def batched_nll(
    backend: Backend,
    windows: Sequence[np.ndarray],
    first_scored: Sequence[int],
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress = silent,
    text: str = "score",
) -> list[np.ndarray]:
    """Token losses of any number of windows, in their order; see `Backend.token_nll`.

    Progress is told in tokens read. Raises `UserError` if the back-end does not give one loss
    for every token that is scored.
    """
    results: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(windows)
    lengths = [len(window) for window in windows]
    done, total = 0, sum(lengths)
    for batch in token_batches(lengths, batch_tokens):
        losses = backend.token_nll([windows[i] for i in batch], [first_scored[i] for i in batch])
        for index, loss in zip(batch, losses, strict=True):
            if len(loss) != lengths[index] - first_scored[index]:
                raise UserError(
                    f"back-end {backend.name}: {len(loss)} losses for"
                    f" {lengths[index] - first_scored[index]} tokens; a window of"
                    f" {lengths[index]} tokens was cut: score with a shorter window"
                )
            results[index] = loss
        done += sum(lengths[i] for i in batch)
        progress(done, total, text)
    return results
