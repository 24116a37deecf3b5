"""The training loop: a plan's samples in order, one optimizer step after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from skywright import checkpoint
from skywright.engine.files import sweep_temporary, write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.sets import EvaluationSet
from skywright.tokens.loader import Loader
from skywright.tokens.plan import Plan
from skywright.train.config import TrainConfig
from skywright.train.monitor import Journal
from skywright.train.precision import resolve
from skywright.train.resume import Settings, settings_of
from skywright.train.run import Run
from skywright.train.steps import Step, due


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Same weights on every run with as many threads; the process's settings are put back."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def train(
    config: TrainConfig,
    model_config: ModelConfig,
    plan: Plan,
    loader: Loader,
    tokenizer_folder: Path,
    sets: Sequence[EvaluationSet],
    out: Path,
    progress: Progress = silent,
    initial: Path | None = None,
) -> dict[str, Any]:
    """Train through the whole plan in the folder `out`, going on from its newest checkpoint.

    Writes `metrics.jsonl`, `validation.jsonl`, `checkpoints/step-*/`, `hf/step-*/` and, last,
    `summary.json`, which is also returned. Stopped at any moment and called again it ends with
    the same weights, to the bit, and the same journals but for the clock's `tokens_per_s`.
    `initial` is a checkpoint or a Hugging Face folder that gives the weights of a new run; its
    optimizer starts fresh. `sets` of purpose "domain" are scored, others passed over.

    Raises UserError if the folder holds a run with other settings, if samples do not fit the
    model, and if loss or gradient is not finite.
    """
    out, tokenizer_folder = Path(out), Path(tokenizer_folder)
    if config.longest_sequence > model_config.context_tokens:
        raise UserError(
            f"sequence_tokens {config.longest_sequence} is more than the model's context_tokens "
            f"{model_config.context_tokens}; raise the one or lower the other"
        )
    if loader.plan is not plan:
        raise ValueError("the loader reads another plan than the one given")
    stored = _stored_settings(out)
    precision, threads = _execution(config, stored)
    settings = settings_of(
        config, model_config, loader, tokenizer_folder, precision, threads, initial
    )
    run = Run(config, model_config, loader, tokenizer_folder, sets, out, settings)
    out.mkdir(parents=True, exist_ok=True)
    for folder in (out, out / "hf"):
        sweep_temporary(folder)
    with _deterministic(threads):
        run.start(initial)
        with (
            Journal(out / "metrics.jsonl", run.done) as metrics,
            Journal(out / "validation.jsonl", run.done) as validation,
        ):
            ahead = [run.steps[number] for number in range(run.done + 1, len(run.steps) + 1)]
            batches = loader.batches(step.sample_numbers for step in ahead)
            for step, batch in zip(ahead, batches, strict=True):
                line = run.step(step, batch)
                metrics.write(line)
                progress(step.number, len(run.steps), f"loss {line['loss_nats']:.3f}")
                _periodic(run, step, metrics, validation)
    summary = run.summary()
    write_json(out / "summary.json", summary)
    return summary


def _periodic(run: Run, step: Step, metrics: Journal, validation: Journal) -> None:
    """What falls due after a step. The checkpoint comes last: it vouches for all the rest."""
    config, end = run.config, step.ends_segment
    if run.sets and (end or due(step, config.validate_every)):
        validation.write(run.validate(step))
    if (end and config.export_at_segment_ends) or due(step, config.export_every):
        run.export(step)
    if end or due(step, config.checkpoint_every):
        metrics.sync()
        validation.sync()
        run.save(step)


def _stored_settings(out: Path) -> Settings | None:
    newest = checkpoint.latest(out / "checkpoints")
    return None if newest is None else checkpoint.read_state(newest)["settings"]


def _execution(config: TrainConfig, stored: Settings | None) -> tuple[str, int]:
    """Precision and threads: as asked for, else as the run began, else what suits the machine."""
    precision: str = resolve(config.precision)
    threads = config.threads or psutil.cpu_count(logical=False) or 1
    if stored is not None:
        precision = stored["precision"] if config.precision == "auto" else precision
        threads = config.threads or stored["threads"]
    return precision, threads
