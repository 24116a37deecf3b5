"""Trains a step or two in a process of its own and prints the peak of its resident memory.

    python -m tests.planner.peak FOLDER '{"model": {...}, "sequence_tokens": 256, ...}'

A tiny run goes first, so that what is left is the run's own: no imports, no first-call caches.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from skywright.model.config import ModelConfig
from tests.train.small import Small, make

TINY = ModelConfig(vocab_size=420, hidden=32, layers=1, heads=1, ffn_hidden=64, context_tokens=256)


def status_bytes(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def train(small: Small, out: Path, model: ModelConfig, steps: int, **settings: int) -> None:
    """`steps` optimizer steps, a validation, an export and a checkpoint."""
    segment = {
        "name": "one",
        "tokens": steps * settings["global_batch_tokens"],
        "mixture": {"en": 0.5, "zh": 0.5},
        "schedule": {"kind": "constant", "peak_lr": 1e-4},
    }
    never = {"checkpoint_every": None, "validate_every": None}
    small.train(out, model=model, **never, **settings, segments=[segment])


def main() -> None:
    """Parse, train twice, print."""
    folder, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    model = ModelConfig.model_validate(request.pop("model"))
    make(folder)
    train(Small(folder), folder / "tiny", TINY, 1, **request)
    gc.collect()
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak starts anew (man 5 proc)
    train(Small(folder), folder / "run", model, 3, **request)
    print(json.dumps({"peak_bytes": status_bytes("VmHWM") - before}))


if __name__ == "__main__":
    main()
