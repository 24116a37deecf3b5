"""Our side of the training benchmark; each part runs in a process of its own.

    python -m benchmarks.train_ours run|attention|memory TRIAL

TRIAL is a `benchmarks.trial.Trial`. Prints one line of JSON.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.train_case import Case
from benchmarks.trial import PeakMemory, Stopwatch, Trial
from skywright.model.attention import causal_attention
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.head import Head
from skywright.model.hf import TORCH_DTYPES
from skywright.planner import Workload
from skywright.planner.cpu import peak_memory
from skywright.tokens import Loader
from skywright.train import TrainConfig, train
from skywright.train.optimizer import MasterOptimizer
from skywright.train.precision import resolve
from skywright.train.utilisation import measured_peak

FORMS: dict[str, dict[str, Any]] = {
    "eager": {"compile": "off"},
    "compiled": {"compile": "layers"},
}
"""Settings of TrainConfig by the form's name."""

PEAK_TRIES = 10
PARTS_ROUNDS = 9


def forms() -> dict[str, dict[str, Any]]:
    """Those forms that this trainer has; without a choice, the one way it works is called eager."""
    known = {n: s for n, s in FORMS.items() if s.keys() <= TrainConfig.model_fields.keys()}
    return known or {"eager": {}}


class Inside:
    """Seconds of each of chosen calls, none of which makes another."""

    def __init__(self, *chosen: tuple[type, str]) -> None:
        self.calls: list[float] = []
        for owner, name in chosen:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.calls.append(time.perf_counter() - began)

        return timed


def run(trial: Trial) -> dict[str, Any]:
    """The whole trainer, as `skywright train` runs it; a step lasts from one line to the next.

    host_share: of each step, what is spent neither in the model nor in the optimizer, with what
    the loader's thread took beside it; journal_tokens_s: by the steps' own clock.
    """
    watch = Stopwatch(trial)
    work = Inside(
        (Decoder, "__call__"), (Head, "__call__"), (Tensor, "backward"),
        (MasterOptimizer, "accumulate"), (MasterOptimizer, "gradient_norm"),
        (MasterOptimizer, "update"),
    )  # fmt: skip
    loading = Inside((Loader, "batch"))
    folder = Path(trial.folder)
    case = Case.read(folder)
    worked: list[float] = []

    def progress(*_: Any) -> None:
        watch.step()
        worked.append(sum(work.calls))

    with tempfile.TemporaryDirectory() as out:
        loader = case.loader(folder.parent / "shards")
        train(
            case.config(trial.threads, export_at_segment_ends=False, **forms()[trial.form]),
            case.model, loader.plan, loader, folder.parent / "tokenizer", [], Path(out), progress,
        )  # fmt: skip
        lines = (Path(out) / "metrics.jsonl").read_text().splitlines()
    journal = [json.loads(line) for line in lines]
    told = watch.told(
        losses=[line["loss_nats"] for line in journal],
        journal_tokens_s=[line["tokens_per_s"] for line in journal],
    )
    inside = [after - before for before, after in itertools.pairwise(worked)]
    load_s = statistics.median(loading.calls)  # the first call opens files and loads kernels
    told["host_share"] = [
        (step - within + load_s) / step for step, within in zip(told["step_s"], inside, strict=True)
    ]
    # After the steps, so that it costs the first one nothing.
    told["peak_flops"] = measured_peak(torch.bfloat16, PEAK_TRIES)
    return told


def attention(trial: Trial) -> dict[str, Any]:
    """Attention of all layers alone over a whole forward and backward pass, timed turn about."""
    torch.set_num_threads(trial.threads)
    case = Case.read(Path(trial.folder))
    config, dtype = case.model, TORCH_DTYPES[resolve("auto")]
    rows, tokens = case.step_tokens // config.context_tokens, config.context_tokens
    model = Decoder(config)
    model.initialise(0)
    model.to(dtype)
    if trial.form == "compiled":
        model.compile_layers()
    ids = torch.randint(config.vocab_size, (rows, tokens + 1))
    # As a layer has them: heads are a view of the projections.
    q, k, v = (
        torch.randn(rows, tokens, heads, config.head_size, dtype=dtype).transpose(1, 2)
        for heads in (config.heads, config.key_value_heads, config.key_value_heads)
    )
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    above = torch.randn_like(q)

    def whole() -> None:
        model.head(model(ids[:, :-1]), ids[:, 1:]).total.backward()
        model.zero_grad()

    def alone() -> None:
        for _ in range(config.layers):
            torch.autograd.grad(causal_attention(*inputs), inputs, above)

    def seconds(call: Callable[[], None]) -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    for call in (whole, alone):
        call()
    shares = [seconds(alone) / seconds(whole) for _ in range(PARTS_ROUNDS)]
    return {"attention_share": statistics.median(shares)}


def memory(trial: Trial) -> dict[str, Any]:
    """The peak of a training run, an export and a checkpoint with it, and what the planner said.

    A tiny run goes first, so that what is left is the run's own: no imports, no first calls.
    """
    folder = Path(trial.folder)
    case = Case.read(folder)
    tiny = ModelConfig(
        vocab_size=case.model.vocab_size, hidden=32, layers=1, heads=1, ffn_hidden=64,
        context_tokens=case.model.context_tokens,
    )  # fmt: skip
    _train(Case(tiny, case.model.context_tokens, 1), folder, trial.threads)
    watch = PeakMemory()
    _train(case, folder, trial.threads)
    workload = Workload(
        sequence_tokens=case.model.context_tokens,
        global_batch_tokens=case.step_tokens,
        tokens=case.steps * case.step_tokens,
    )
    planned = peak_memory(case.model, workload, resolve("auto"))
    return {
        "measured_bytes": watch.added_bytes(),
        "planned_bytes": planned.peak_bytes,
        "state_bytes": planned.state_bytes,
        "fullest": planned.fullest,
    }


def _train(case: Case, folder: Path, threads: int) -> None:
    loader = case.loader(folder.parent / "shards")
    with tempfile.TemporaryDirectory() as out:
        train(
            case.config(threads, **forms()["eager"]), case.model, loader.plan, loader,
            folder.parent / "tokenizer", [], Path(out),
        )  # fmt: skip


PARTS: dict[str, Callable[[Trial], dict[str, Any]]] = {
    "run": run, "attention": attention, "memory": memory,
}  # fmt: skip


def main() -> None:
    """Do one part and print what it tells."""
    with redirect_stdout(sys.stderr):
        told = PARTS[sys.argv[1]](Trial.given())
    print(json.dumps(told))


if __name__ == "__main__":
    main()
