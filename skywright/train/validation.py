"""Domain losses during training: the evaluation's own scoring, on the weights as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from skywright.evaluate.backends import Backend
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score
from skywright.sets import EvaluationSet
from skywright.tokenizer import Tokenizer


def validate(
    backend: Backend,
    tokenizer: Tokenizer,
    sets: Sequence[EvaluationSet],
    max_chars: int | None,
) -> dict[str, dict[str, Any]]:
    """{domain: {"nats_per_token", "bpb", "documents"}} over the sets, each summed over its tokens.

    The reference tokenizer is the model's own, so nats are per token of the model. Sets of one
    domain are taken together.
    """
    sums: dict[str, list[float]] = {}
    for evaluation_set in sets:
        table = score(backend, evaluation_set, Protocol(max_chars=max_chars), reference=tokenizer)
        row = sums.setdefault(evaluation_set.domain, [0.0, 0.0, 0.0, 0.0])
        for index, column in enumerate(("nll_nats", "tokens", "bytes")):
            row[index] += sum(table[column].to_pylist())
        row[3] += table.num_rows
    return {
        domain: {
            "nats_per_token": nats / tokens,
            "bpb": nats / math.log(2) / size,
            "documents": int(documents),
        }
        for domain, (nats, tokens, size, documents) in sorted(sums.items())
    }
