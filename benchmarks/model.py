"""One model forward and backward in several forms, turn about: what each form is worth.

    python -m benchmarks.model [--rounds 7] [--threads 2] [--out benchmarks/results/model.json]

Forms: `plain` is torch's attention kernel and cross-entropy over the whole table of logits;
`attention` has blocked attention instead, `ours` the chunked head as well, and `compiled` is ours
with each layer compiled. Every round times each form once, so that what else the machine does
falls on all of them. Ratios are medians over rounds of a form's time by plain's, on the wall's
clock and on the process's own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.flops import flops_per_token, parameters
from skywright.run.runner import environment

SHAPE = ModelConfig(
    vocab_size=8192, hidden=256, layers=8, heads=4, ffn_hidden=688, context_tokens=512
)
BATCH = 8


def whole_table(model: Decoder, hidden: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with all logits at once, as most trainers compute it."""
    return F.cross_entropy(model.head.logits(hidden).flatten(0, 1).float(), labels.flatten())


def chunked(model: Decoder, hidden: Tensor, labels: Tensor) -> Tensor:
    """Our head's loss, as a mean."""
    return model.head(hidden, labels).total / labels.numel()


def forms() -> dict[str, Callable[[], float]]:
    """Each form's step: forward, backward, gradients cleared; returns the loss."""
    ids = torch.randint(SHAPE.vocab_size, (BATCH, SHAPE.context_tokens + 1))
    steps = {}
    for name in ("plain", "attention", "ours", "compiled"):
        model = Decoder(SHAPE, kernel="sdpa" if name == "plain" else "blocked")
        model.initialise(0)
        model.bfloat16()
        if name == "compiled":
            model.compile_layers()
        loss_of = whole_table if name in ("plain", "attention") else chunked

        def step(model: Decoder = model, loss_of: Callable[..., Tensor] = loss_of) -> float:
            loss = loss_of(model, model(ids[:, :-1]), ids[:, 1:])
            loss.backward()
            model.zero_grad()
            return loss.item()

        steps[name] = step
    return steps


def clocks(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call: on the wall, and of this process over all its threads."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own


def measure(rounds: int) -> dict:
    """Time every form `rounds` times, turn about, and the peak that matrix products reach."""
    square = torch.randn(2048, 2048).bfloat16()
    work = {"peak": lambda: square @ square, **forms()}
    first = {name: round(clocks(step)[0], 2) for name, step in work.items()}
    times = {name: [] for name in work}
    for _ in range(rounds):
        for name, step in work.items():
            times[name].append(clocks(step))
    # MFU as in the trainer's benchmark: 6 (N - V d) + 6 L d T, over the best product of this run.
    count = parameters(SHAPE)["total"] - SHAPE.vocab_size * SHAPE.hidden
    attention = 6 * SHAPE.layers * SHAPE.hidden * SHAPE.context_tokens
    tokens = BATCH * SHAPE.context_tokens
    peak = 2 * 2048**3 / min(wall for wall, _ in times["peak"])
    result: dict = {
        "first_call_s": first,
        "flops_per_token": flops_per_token(SHAPE, SHAPE.context_tokens),
        "gemm_peak_gflops": round(peak / 1e9, 1),
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }
    for name in list(work)[1:]:
        wall = statistics.median(wall for wall, _ in times[name])
        result[name] = {
            "wall_s": round(wall, 3),
            "mfu": round((6 * count + attention) * tokens / wall / peak, 3),
            **{
                f"{clock}_by_plain": round(
                    statistics.median(
                        a[i] / b[i] for a, b in zip(times[name], times["plain"], strict=True)
                    ),
                    3,
                )
                for i, clock in enumerate(("wall", "process"))
            },
        }
    return result


def main() -> None:
    """Parse, measure, print, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = measure(arguments.rounds)
    machine = environment()
    result["date"] = datetime.date.today().isoformat()
    result["machine"] = {k: machine[k] for k in ("cpu", "cores", "memory_gb", "platform")}
    result["torch"] = machine["packages"].get("torch")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, sort_keys=True, indent=1) + "\n")
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
