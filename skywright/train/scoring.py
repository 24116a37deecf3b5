"""A model in training as a back-end of the evaluation, where it stands: spread over processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from skywright.evaluate.backends.skywright import SkywrightBackend, labelled, unlabelled
from skywright.model.head import IGNORE
from skywright.parallel.mesh import data_rank, sum_over_all
from skywright.parallel.step import ParallelModel
from skywright.tokenizer import Tokenizer


class SpreadBackend(SkywrightBackend):
    """A `ParallelModel`, scored by all of its processes at once.

    Batches are dealt to the data ranks and each is computed as one process would compute it, so
    that losses do not depend on how many data ranks there are. All processes must ask for the
    same windows in the same order.
    """

    def __init__(self, parallel: ParallelModel, tokenizer: Tokenizer) -> None:
        super().__init__(parallel.model, tokenizer, parallel.dtype)
        self._parallel = parallel

    def batches_nll(
        self, batches: Sequence[tuple[Sequence[np.ndarray], Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        """`token_nll` of each batch, a pair of windows and first scored positions."""
        mesh, ranks = self._parallel.mesh, self._parallel.config.data
        device = torch.device(mesh.device_type)
        sizes = [
            sum(len(window) - first for window, first in zip(*batch, strict=True))
            for batch in batches
        ]
        ends = np.cumsum(sizes)
        # Each place is filled by one process and 0 on all others: their sum is exact.
        losses = torch.zeros(sum(sizes), dtype=torch.float32, device=device)
        for first in range(0, len(batches), ranks):
            own = first + data_rank(mesh)
            # Weights are gathered by all ranks together: one without a batch goes along.
            ids, labels = labelled(*batches[min(own, len(batches) - 1)], device)
            found = self._parallel.token_losses(ids, labels)
            if own < len(batches) and mesh.get_local_rank("tensor") == 0:
                losses[ends[own] - sizes[own] : ends[own]] = found[labels != IGNORE]
        self._parallel.done_scoring()
        flat = sum_over_all(losses, mesh).cpu().numpy()
        return [
            unlabelled(flat[end - size : end], *batch)
            for batch, end, size in zip(batches, ends, sizes, strict=True)
        ]

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """See `Backend.token_nll`."""
        return self.batches_nll([(windows, first_scored)])[0]
