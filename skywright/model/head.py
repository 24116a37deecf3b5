"""The output layer and its loss, by chunks of rows: no (tokens, vocabulary) table ever exists."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK_ROWS = 512
"""Rows of logits at a time. Measured with both gradients at hidden 256, vocabulary 8,192, bf16, one
core: 256, 512 and 1,024 rows are within 4 % of each other, 1.2 times the bare matrix products."""

SCORED_ROWS = 256
"""As CHUNK_ROWS, for `token_losses`: 256 x 8,192 fp32 logits are 8 MiB, which stay near the cache
(the fastest measured)."""

IGNORE = -100
"""Label of a position that has no loss, as in torch.nn.functional.cross_entropy."""


class Loss(NamedTuple):
    """Two scalars (fp32, or fp64 of fp64 inputs), summed over tokens.

    total: what is minimised, with the z-loss; has gradients. nats: the cross-entropy alone, for
    the journal.
    """

    total: Tensor
    nats: Tensor


class Spread(Protocol):
    """How a head's rows are spread over processes, each holding a run of ids."""

    first: int  # the first id of this process's rows

    def largest(self, table: Tensor) -> Tensor:
        """Element by element, the largest over the processes."""
        ...

    def total(self, table: Tensor) -> Tensor:
        """Element by element, the sum over the processes."""
        ...


class _ChunkedLoss(torch.autograd.Function):
    """Sum of cross-entropies; both gradients are made in the forward pass, chunk by chunk.

    Over the vocabulary there are four reductions and no others: the largest logit, the sum of
    exponentials, the picked logit, and (in `table @ weight`) the gradient of the hidden states. A
    head whose rows are spread over processes does the first three across them; of the gradient
    each process then has its part, and the sum is the caller's.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        z_loss: float,
        gradients: bool,
        spread: Spread | None,
    ) -> tuple[Tensor, Tensor]:
        narrow, wide = hidden.dtype, torch.promote_types(hidden.dtype, torch.float32)
        rows = min(CHUNK_ROWS, len(hidden))
        # Used again for every chunk: fresh memory for each would cost a tenth of the time.
        products = hidden.new_empty(rows, len(weight))
        scratch = products if narrow == wide else products.new_empty(products.shape, dtype=wide)
        nats = squares = hidden.new_zeros((), dtype=wide)
        if gradients:
            hidden_grad, product = torch.empty_like(hidden), torch.empty_like(weight)
            # Summed over chunks in fp32: bf16 would lose the small terms.
            weight_grad = torch.zeros(weight.shape, dtype=wide, device=weight.device)
        for start in range(0, len(hidden), CHUNK_ROWS):
            chunk, label = hidden[start : start + CHUNK_ROWS], labels[start : start + CHUNK_ROWS]
            counted = (label != IGNORE)[:, None]
            column = label[:, None] - (0 if spread is None else spread.first)
            own = counted & (column >= 0) & (column < len(weight))
            column = column.where(own, 0)
            logits = torch.mm(chunk, weight.T, out=products[: len(chunk)])
            table = _cast(logits, scratch)
            picked = table.gather(-1, column) * own
            largest = table.amax(-1, keepdim=True)
            if spread is not None:
                largest = spread.largest(largest)
            sums = table.sub_(largest).exp_().sum(-1, keepdim=True)
            if spread is not None:
                sums, picked = spread.total(torch.cat([sums, picked], -1)).split(1, -1)
            log_sums = sums.log() + largest
            nats = nats + ((log_sums - picked) * counted).sum()
            squares = squares + (log_sums.square() * counted).sum()
            if gradients:
                # d loss / d logits = (table (1 + 2 z log_sums) - sums at the label) / sums. The
                # division is done on the narrow sides of the two products, not on the wide table.
                if z_loss:
                    table *= 1 + 2 * z_loss * log_sums
                table.scatter_add_(-1, column, -sums * own)
                scale = counted / sums
                table = _cast(table, products)
                hidden_grad[start : start + CHUNK_ROWS] = (table @ weight) * scale
                weight_grad += torch.mm(table.T, (chunk * scale).to(narrow), out=product)
        if gradients:
            ctx.save_for_backward(hidden_grad, weight_grad.to(weight.dtype))
        ctx.mark_non_differentiable(nats)
        return nats + z_loss * squares, nats

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * gradients[0], weight_grad * gradients[0], None, None, None, None


def _cast(table: Tensor, into: Tensor) -> Tensor:
    """`table` in the dtype of the buffer `into`, written there unless it has that dtype."""
    return table if table.dtype == into.dtype else into[: len(table)].copy_(table)


def chunked_loss(
    hidden: Tensor, weight: Tensor, labels: Tensor, z_loss: float, spread: Spread | None = None
) -> Loss:
    """The loss of `Head.forward`; with `spread`, `weight` is this process's rows of the table.

    Then hidden and labels must be the same on all processes, the loss is that of the whole table
    on each, and each process's gradient of `hidden` is a part, to be summed over them.
    """
    gradients = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    flat = hidden.flatten(0, -2), weight, labels.flatten()
    return Loss(*_ChunkedLoss.apply(*flat, z_loss, gradients, spread))


@torch.no_grad()
def token_losses(
    hidden: Tensor, weight: Tensor, labels: Tensor, spread: Spread | None = None
) -> Tensor:
    """-ln p(label) of each position in nats, fp32, of labels' shape; 0 where the label is IGNORE.

    For scoring: products and log-sum-exp are in fp32 whatever the weights' dtype, and positions
    without a label cost nothing. hidden (..., hidden), weight and `spread` as `chunked_loss` has
    them.
    """
    flat = labels.flatten()
    counted = (flat != IGNORE).nonzero().squeeze(-1)
    rows, wanted = hidden.flatten(0, -2)[counted], flat[counted]
    table = weight.detach().float()
    losses = torch.zeros(flat.shape, dtype=torch.float32, device=hidden.device)
    for start in range(0, len(rows), SCORED_ROWS):
        part = slice(start, start + SCORED_ROWS)
        logits = F.linear(rows[part].float(), table)
        if spread is None:
            picked = logits.gather(-1, wanted[part, None]).squeeze(-1)
            losses[counted[part]] = logits.logsumexp(-1) - picked
            continue
        column = wanted[part, None] - spread.first
        own = (column >= 0) & (column < len(table))
        picked = logits.gather(-1, column.where(own, 0)) * own
        largest = spread.largest(logits.amax(-1, keepdim=True))
        sums = (logits - largest).exp().sum(-1, keepdim=True)
        sums, picked = spread.total(torch.cat([sums, picked], -1)).split(1, -1)
        losses[counted[part]] = (sums.log() + largest - picked).squeeze(-1)
    return losses.view(labels.shape)


class Head(nn.Module):
    """Linear map from hidden states to logits over the vocabulary, used through its losses.

    A module by itself, called as head(hidden, labels): it can be sharded apart from the decoder,
    and be called where the last stage of a pipeline makes its loss.
    """

    def __init__(self, hidden: int, vocab_size: int, z_loss: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, hidden))
        self.z_loss = z_loss

    def forward(self, hidden: Tensor, labels: Tensor) -> Loss:
        """Sum over tokens of -ln p(label), and of z_loss * ln(sum of exponentials)^2.

        hidden (..., hidden); labels (...) int64 in 0..vocab_size-1, or IGNORE for no loss. Logits
        have the weights' dtype, the log-sum-exp is fp32.
        """
        return chunked_loss(hidden, self.weight, labels, self.z_loss)

    def token_losses(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """As the function `token_losses`: (...) fp32, for scoring."""
        return token_losses(hidden, self.weight, labels)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (..., hidden) -> (..., vocab_size), whole: for checks and generation."""
        return F.linear(hidden, self.weight)
