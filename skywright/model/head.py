"""The output layer and its loss, by chunks of rows: no (tokens, vocabulary) table ever exists."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CHUNK_ROWS = 256
"""Rows of logits at a time. Measured at hidden 192 and 256, vocabulary 8,192, bf16, two cores: 256
rows cost 1.4 times the bare matrix products, 2,048 rows 1.9 times, 64 rows 1.9 times."""


class _ChunkedLoss(torch.autograd.Function):
    """Sum of cross-entropies; both gradients are made in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        wanted = hidden.requires_grad or weight.requires_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        if wanted:
            hidden_grad = torch.empty_like(hidden)
            # Summed over chunks in fp32: bf16 would lose the small terms.
            weight_grad = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        for start in range(0, len(hidden), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            chunk, column = hidden[rows], labels[rows, None]
            logits = (chunk @ weight.T).float()
            picked = logits.gather(-1, column)
            largest = logits.amax(-1, keepdim=True)
            exponentials = logits.sub_(largest).exp_()
            sums = exponentials.sum(-1, keepdim=True)
            total += (sums.log() + largest - picked).sum()
            if wanted:
                # d loss / d logits = (exponentials - sums at the label) / sums. The division is
                # done on the narrow sides of the two products, not on the wide table.
                table = exponentials.scatter_add_(-1, column, -sums).to(hidden.dtype)
                hidden_grad[rows] = (table @ weight) / sums
                weight_grad += table.T @ (chunk / sums).to(hidden.dtype)
        if wanted:
            ctx.save_for_backward(hidden_grad, weight_grad.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * gradients[0], weight_grad * gradients[0], None


class Head(nn.Module):
    """Linear map from hidden states to logits over the vocabulary, used through its losses."""

    def __init__(self, hidden: int, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, hidden))

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Sum over tokens of -ln p(label) in nats, as an fp32 scalar with gradients.

        hidden (..., hidden), labels (...) int64 in 0..vocab_size-1. Logits have the weights' dtype,
        the log-sum-exp is fp32.
        """
        return _ChunkedLoss.apply(hidden.flatten(0, -2), self.weight, labels.flatten())

    @torch.no_grad()
    def token_nll(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """-ln p(label) of each token in nats: hidden (n, hidden), labels (n) int64 -> fp32 (n)."""
        out = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            logits = (hidden[rows] @ self.weight.T).float()
            picked = logits.gather(-1, labels[rows, None]).squeeze(-1)
            out[rows] = logits.logsumexp(-1) - picked
        return out
