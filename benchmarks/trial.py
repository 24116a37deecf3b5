"""One contender's run in the training benchmark: what it is given, and what it has to tell.

The peers' scripts read this in environments of their own: it needs numpy and torch alone. A folder
holds what is the same for all: `initial/`, a Hugging Face folder with the weights to begin from
(its `config.json` is the shape), and `batches.npy`, the samples of every step.
"""

from __future__ import annotations

import gc
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LR = 1e-3  # constant, from the first step
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
CLIP = 1.0


@dataclass(frozen=True)
class Trial:
    """folder: see above; form: which way of running the contender; threads: of torch; started:
    `time.monotonic()` of the process that started this one, when it did."""

    folder: str
    form: str
    threads: int
    started: float

    @classmethod
    def given(cls) -> Trial:
        """What the last word of the command line says."""
        return cls(**json.loads(sys.argv[-1]))

    def written(self) -> str:
        """That word."""
        return json.dumps(asdict(self))

    @property
    def initial(self) -> Path:
        """The folder of the weights that training begins with."""
        return Path(self.folder) / "initial"

    @property
    def shape(self) -> dict[str, Any]:
        """The model's config.json: hidden_size, num_hidden_layers and so on."""
        return json.loads((self.initial / "config.json").read_text())

    def weights(self) -> dict[str, Tensor]:
        """The weights by the names of LlamaForCausalLM, fp32."""
        from safetensors.torch import load_file

        return load_file(self.initial / "model.safetensors")

    def rows(self) -> np.ndarray:
        """Samples as int64 (steps, samples a step, T + 1): a label is the token after its input."""
        return np.load(Path(self.folder) / "batches.npy").astype(np.int64)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of each step, (samples, T)."""
        for rows in self.rows():
            batch = torch.from_numpy(rows)
            yield batch[:, :-1].contiguous(), batch[:, 1:].contiguous()


def adamw(model: nn.Module) -> torch.optim.AdamW:
    """Torch's fused AdamW with the settings of all; matrices decay, norms do not."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True)


def status_bytes(field: str) -> int | None:
    """A line of Linux's /proc/self/status, in bytes; None on other systems."""
    path = Path("/proc/self/status")
    if not path.is_file():
        return None
    lines = (line.split() for line in path.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == f"{field}:")


class PeakMemory:
    """Resident memory that is added from now on, at its highest."""

    def __init__(self) -> None:
        gc.collect()
        self._before = status_bytes("VmRSS")
        if self._before is not None:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (man 5 proc)

    def added_bytes(self) -> int | None:
        """None where the system does not tell."""
        highest = status_bytes("VmHWM")
        return None if highest is None or self._before is None else highest - self._before


class Stopwatch:
    """Times the steps of a run. To be made after the imports, and before anything else."""

    def __init__(self, trial: Trial) -> None:
        torch.set_num_threads(trial.threads)
        self._started = trial.started
        self._memory = PeakMemory()
        self._ends: list[float] = []
        self._losses: list[float] = []

    def step(self, loss: float | None = None) -> None:
        """A step is done, weights and all; its loss was this."""
        self._ends.append(time.monotonic())
        if loss is not None:
            self._losses.append(loss)

    def told(self, **more: Any) -> dict[str, Any]:
        """The result: times, losses, memory, and what else is given."""
        return {
            "first_step_s": self._ends[0] - self._started,
            "step_s": [after - before for before, after in itertools.pairwise(self._ends)],
            "losses": self._losses,
            "peak_bytes": self._memory.added_bytes(),
            **more,
        }

    def tell(self, **more: Any) -> None:
        """Print the result as the last line."""
        print(json.dumps(self.told(**more)))
