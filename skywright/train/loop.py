"""The training loop: a plan's samples in order, one optimizer step after another."""

from __future__ import annotations

import errno
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from skywright import checkpoint
from skywright.engine.files import sweep_temporary, write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.hf import TORCH_DTYPES
from skywright.parallel.config import ParallelConfig, check, check_step
from skywright.parallel.world import ALONE, World
from skywright.sets import EvaluationSet
from skywright.tokens.loader import Loader
from skywright.tokens.plan import Plan
from skywright.train.config import TrainConfig
from skywright.train.execution import execution_of
from skywright.train.journal import Journal
from skywright.train.optimizer import check_layout
from skywright.train.precision import resolve
from skywright.train.resume import settings_of
from skywright.train.run import Run
from skywright.train.signals import Requests, Stopped, listening
from skywright.train.steps import Step, due
from skywright.train.watch import MonitorConfig, Watchers, watchers
from skywright.train.watchdog import Watchdog

_log = logging.getLogger(__name__)


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
    world: World = ALONE,
    layout: ParallelConfig | None = None,
) -> dict[str, Any]:
    """Train through the whole plan in the folder `out`, going on from its newest checkpoint.

    Writes `metrics.jsonl`, `validation.jsonl`, `continuations.jsonl`, `checkpoints/step-*/`,
    `hf/step-*/` and, last, `summary.json`, which is also returned. Stopped at any moment and
    called again it ends with the same weights, to the bit, and the same journals but for the
    clock's `tokens_per_s`. `initial` is a checkpoint or a Hugging Face folder that gives the
    weights of a new run; its optimizer starts fresh. `sets` of purpose "domain" are scored, others
    passed over. If `progress` is a `Watcher` too (`View` is one), it is told everything.

    Of a `world` every process calls it with the same arguments but `progress`; the first one
    writes. `layout` says how the model is spread over them (default: over data ranks). A run may
    go on in another world or layout: the same samples, sums rounded otherwise.

    Raises UserError if the folder holds a run with other settings or cannot be written, if
    samples do not fit the model, and if the guard stops the run; `Stopped` after a signal.
    """
    out, tokenizer_folder = Path(out), Path(tokenizer_folder)
    if config.longest_sequence > model_config.context_tokens:
        raise UserError(
            f"sequence_tokens {config.longest_sequence} is more than the model's context_tokens "
            f"{model_config.context_tokens}; raise the one or lower the other"
        )
    if loader.plan is not plan:
        raise ValueError("the loader reads another plan than the one given")
    layout = layout or ParallelConfig(data=world.size)
    check(layout, model_config, world.size)
    check_layout(config.optimizer, layout.degrees())
    for length in config.sequence_lengths:
        rows = -(-(config.global_batch_tokens // length) // layout.data)
        at_once = rows if config.micro_batch_tokens is None else config.micro_batch_tokens // length
        check_step(layout, rows, length, min(rows, at_once))
    with _disk_errors_named(out):
        newest = world.on_first(lambda: checkpoint.latest(out / "checkpoints"))
        precision: str = resolve(config.precision, world.device.type)
        if newest is not None and config.precision == "auto":
            precision = checkpoint.read_state(newest, checked=True)["settings"]["precision"]
        settings = settings_of(config, model_config, loader, tokenizer_folder, precision, initial)
        world.on_first(lambda: _tidy(out))
        execution = execution_of(config, model_config, layout, world, TORCH_DTYPES[precision], out)
        run = Run(
            config, model_config, loader, tokenizer_folder, sets, out, settings, initial,
            world, layout, execution,
        )  # fmt: skip
        with _deterministic(execution.threads), listening() as requests:
            run.start(newest)
            _to_the_end(run, requests, progress)
        summary = run.summary()
        if world.is_first:
            write_json(out / "summary.json", summary)
    return summary


def _tidy(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for folder in (out, out / "hf"):
        sweep_temporary(folder)


def _to_the_end(run: Run, requests: Requests, progress: Progress) -> None:
    """Every step that is left, and what falls due after each."""
    with ExitStack() as opened:
        done = run.standing.step
        first = run.world.is_first
        metrics = opened.enter_context(Journal(run.out / "metrics.jsonl", done, first))
        validation = opened.enter_context(Journal(run.out / "validation.jsonl", done, first))
        prompted = opened.enter_context(Journal(run.out / "continuations.jsonl", done, first))
        monitor = run.config.monitor if first else MonitorConfig()
        watching = opened.enter_context(watchers(monitor, progress, run.about, run.out))
        saver = opened.enter_context(run.saver)
        stacks = "stacks.txt" if first else f"stacks.{run.world.rank}.txt"
        watchdog = opened.enter_context(Watchdog(run.config.hang_after, run.out / stacks))
        while run.standing.step < len(run.steps):
            for step, batch in run.ahead():
                saver.check()
                verdict, line = run.step(step, batch)
                watchdog.beat()
                if verdict.action == "rollback":
                    _log.warning("step %d: %s; going back", step.number, verdict.reason)
                    run.roll_back(step, verdict.reason)
                    metrics.cut(run.standing.step)
                    validation.cut(run.standing.step)
                    prompted.cut(run.standing.step)
                    break
                if verdict.action == "skip" and first:
                    _log.warning("step %d is skipped: %s", step.number, verdict.reason)
                metrics.write(line)
                watching.step(line)
                loss = line["loss_nats"]
                text = "no loss" if loss is None else f"loss {loss:.3f}"
                progress(step.number, len(run.steps), text)
                _periodic(run, step, requests, metrics, validation, prompted, watching, watchdog)
        saver.wait()


def _periodic(
    run: Run,
    step: Step,
    requests: Requests,
    metrics: Journal,
    validation: Journal,
    prompted: Journal,
    watching: Watchers,
    watchdog: Watchdog,
) -> None:
    """What falls due after a step. The checkpoint comes last: it vouches for all the rest."""
    config, end = run.config, step.ends_segment
    if run.sets and (end or due(step, config.validate_every)):
        line = run.validate(step)
        validation.write(line)
        watching.validation(line)
        watchdog.beat()
    if (end and config.export_at_segment_ends) or due(step, config.export_every):
        run.export(step)
        watchdog.beat()
    saves = due(step, config.checkpoint_every) or due(step, config.keep_every)
    if config.monitor.prompts and (end or saves):
        told = run.continue_prompts(step)
        if told is not None:
            prompted.write(told)
            watching.continuations(told)
        watchdog.beat()
    stop, save = _agreed(run.world, *requests.take())
    asked = save or stop is not None
    if end or asked or saves:
        for journal in (metrics, validation, prompted):
            journal.sync()
        run.save(step)
        watchdog.beat()
    if stop is not None:
        run.saver.wait()
        _log.warning(
            "%s: stopped after step %d of %d, which is saved; run the same command again to go on",
            stop.name, step.number, len(run.steps),
        )  # fmt: skip
        raise Stopped(stop)


def _agreed(
    world: World, stop: signal.Signals | None, save: bool
) -> tuple[signal.Signals | None, bool]:
    """What any process was asked for, the same on all: they leave after the same step."""
    stopping, saving = world.largest(stop or 0, save)
    return signal.Signals(stopping) if stopping else None, bool(saving)


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Same weights on every run with as many threads; the process's settings are put back."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # its settings are not in torch's type hints
    filled = memory.fill_uninitialized_memory
    drawn = torch.get_rng_state()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Every operation here writes all that it allocates; filling it first would only cost time.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        memory.fill_uninitialized_memory = filled
        torch.set_rng_state(drawn)


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def _disk_errors_named(out: Path) -> Iterator[None]:
    """A full disk or a read-only folder becomes one line that says what still stands."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL | _CLOSED:
            raise
        newest = None
        with suppress(OSError):
            newest = checkpoint.latest(out / "checkpoints")
        stands = "nothing is saved yet" if newest is None else f"{newest.name} is intact"
        remedy = "make room" if error.errno in _FULL else "make the folder writable"
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); {remedy} and run the same command "
            f"again; {stands}"
        ) from error
