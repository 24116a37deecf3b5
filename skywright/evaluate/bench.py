"""Multiple choice without generation: the option that the model finds likeliest a byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends import Backend
from skywright.evaluate.batches import batched_nll, check_ids
from skywright.evaluate.config import BATCH_TOKENS
from skywright.statistics import Estimate, proportion_interval

ANSWERS = pa.schema(
    [
        ("item_id", pa.string()),
        ("answer", pa.int64()),
        ("predicted", pa.int64()),
        ("correct", pa.bool_()),
        ("nll_nats_per_byte", pa.list_(pa.float64())),
    ]
)
"""One row an item; nll_nats_per_byte holds one number an option."""


@dataclass(frozen=True)
class MultipleChoiceItem:
    """A context and its options; `answer` is the index of the right one.

    The context ends, and each option begins, so that context + option is the text as it would
    stand in training.
    """

    id: str
    context: str
    options: tuple[str, ...]
    answer: int


def _shared_prefix(sequences: Sequence[np.ndarray]) -> int:
    shortest = min(len(sequence) for sequence in sequences)
    stacked = np.stack([sequence[:shortest] for sequence in sequences])
    same = (stacked == stacked[0]).all(axis=0)
    return int(shortest if same.all() else np.argmin(same))


def answer_items(
    backend: Backend,
    items: Sequence[MultipleChoiceItem],
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress = silent,
) -> pa.Table:
    """Let the model choose in every item; columns as `ANSWERS`.

    Context and option are tokenised as one text, so that the seam is as in training. What is
    scored starts where the context alone and the texts of the item's options stop having the
    same tokens, which is the same place for all its options. Equal losses go to the first.
    Raises `UserError` for an item with two equal options, one that does not fit the model's
    context, and losses that are no numbers.
    """
    windows: list[np.ndarray] = []
    first_scored: list[int] = []
    start = np.asarray([backend.start_token_id], dtype=np.int32)
    for item in items:
        if len(set(item.options)) < len(item.options):
            raise UserError(f"item {item.id}: two options are the same; leave one out")
        texts = [item.context, *(item.context + option for option in item.options)]
        encoded = [np.concatenate([start, backend.encode(text).ids]) for text in texts]
        first = _shared_prefix(encoded)
        for ids in encoded[1:]:
            check_ids(ids, backend, f"item {item.id}")
            if not first < len(ids) <= backend.context_tokens:
                raise UserError(
                    f"item {item.id}: {len(ids)} tokens with an option, of which {first} are not"
                    f" scored; the model takes {backend.context_tokens}: shorten the item"
                )
            windows.append(ids)
            first_scored.append(first)
    losses = batched_nll(backend, windows, first_scored, batch_tokens, progress, "benchmark")
    rows = []
    at = 0
    for item in items:
        per_byte = []
        for option in item.options:
            per_byte.append(float(losses[at].sum(dtype=np.float64)) / len(option.encode()))
            at += 1
        if not np.isfinite(per_byte).all():
            raise UserError(f"item {item.id}: the model gives a loss that is no number")
        predicted = int(np.argmin(per_byte))
        rows.append(
            {
                "item_id": item.id,
                "answer": item.answer,
                "predicted": predicted,
                "correct": predicted == item.answer,
                "nll_nats_per_byte": per_byte,
            }
        )
    return pa.Table.from_pylist(rows, schema=ANSWERS)


def accuracy(answers: pa.Table) -> Estimate:
    """Share of items answered right, with a 95 % Wilson interval."""
    correct = answers.column("correct").to_numpy(zero_copy_only=False)
    return proportion_interval(int(correct.sum()), len(correct))
