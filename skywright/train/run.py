"""One training run: its state, and what is done with it at each step; on every process alike."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skywright import checkpoint
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder, initial_weight
from skywright.model.flops import flops_per_token, parameters
from skywright.model.hf import TOKENIZER_FILES, TORCH_DTYPES
from skywright.parallel.config import ParallelConfig
from skywright.parallel.materialise import Weights
from skywright.parallel.step import StepLoss
from skywright.parallel.world import World
from skywright.sets import EvaluationSet
from skywright.tokenizer import Tokenizer
from skywright.tokens.loader import Batch, Loader
from skywright.tokens.order import key_of
from skywright.train.config import TrainConfig
from skywright.train.continuations import Continuation, continuations
from skywright.train.execution import Execution
from skywright.train.export import export_verified
from skywright.train.guard import Guard, Verdict, finite
from skywright.train.learner import Learner, Spread, Whole
from skywright.train.resume import Settings, check_same
from skywright.train.schedule import learning_rate, rates_before
from skywright.train.steps import Step, Steps, due
from skywright.train.utilisation import measured_peak
from skywright.train.validation import validate
from skywright.train.watch import About


@dataclass
class Standing:
    """Where a run stands after a step, as its checkpoint keeps it."""

    step: int = 0
    seconds: float = 0.0
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    exports: list[dict[str, Any]] = field(default_factory=list)
    segment_ends: list[str] = field(default_factory=list)
    permanent: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, state: dict[str, Any]) -> Standing:
        """The standing in a checkpoint's state."""
        return cls(**{f.name: state[f.name] for f in fields(cls)})


class Run:
    """The state of one run and what is done with it; `skywright.train.train` drives it."""

    def __init__(
        self,
        config: TrainConfig,
        model_config: ModelConfig,
        loader: Loader,
        tokenizer_folder: Path,
        sets: Sequence[EvaluationSet],
        out: Path,
        settings: Settings,
        initial: Path | None,
        world: World,
        layout: ParallelConfig,
        execution: Execution,
    ) -> None:
        self.world, self.layout, self.execution = world, layout, execution
        self.config, self.model_config = config, model_config
        self.loader, self.tokenizer_folder = loader, tokenizer_folder
        self.tokenizer = Tokenizer.load(tokenizer_folder)
        self.sets = [s for s in sets if s.purpose == "domain"]
        self.out, self.settings, self.initial = out, settings, initial
        layouts = loader.plan.layouts
        self.steps = Steps(
            [layout.samples for layout in layouts],
            [layout.sequence_tokens for layout in layouts],
            config.global_batch_tokens,
        )
        self._last_rates = rates_before(
            [segment.schedule for segment in config.segments],
            [self.steps.segment_tokens(index) for index in range(len(config.segments))],
        )
        self.checkpoints = out / "checkpoints"
        self.saver = checkpoint.Saver(self.checkpoints, config.keep, config.checkpoint_async, world)
        self.guard = Guard(config.guard)
        self.standing = Standing()
        self.saved_step = 0

    def start(self, newest: Path | None) -> None:
        """Fresh weights, those of `initial`, or the newest checkpoint's with all of its state.

        `newest` is what `checkpoint.latest` has just found.
        """
        weights: Weights | None = None
        if newest is None:
            weights = self._drawn if self.initial is None else _weights_of(
                self.initial, self.model_config
            )  # fmt: skip
        given = (
            self.model_config, self.config.optimizer, TORCH_DTYPES[self.settings["precision"]],
            self.layout, self.execution.compiled,
        )  # fmt: skip
        self.learner: Learner
        if self.world.size == 1:
            self.learner = Whole(*given, self.world.device, weights)
        else:
            self.learner = Spread(*given, self.world, weights)
        self.optimizer = self.learner.optimizer
        if newest is not None:
            state = checkpoint.read_state(newest, checked=True)
            check_same(state["settings"], self.settings, state["begun_segments"], newest)
            self.guard.restore(state["guard"])
            self._load(newest)

    def _drawn(self, name: str, shape: torch.Size) -> Tensor:
        return initial_weight(self.model_config, name, shape, self.config.seed)

    def _load(self, path: Path) -> dict[str, Any]:
        state = checkpoint.load(path, self.optimizer.tensors(), checked=True, world=self.world)
        self.optimizer.publish()
        self.standing = Standing.of(state)
        self.saved_step = self.standing.step
        return state

    def ahead(self) -> Iterator[tuple[Step, Batch]]:
        """The steps from here to the end with this process's samples, which are read ahead."""
        numbers = range(self.standing.step + 1, len(self.steps) + 1)
        batches = self.loader.batches(
            (self._own_samples(self.steps[number]) for number in numbers),
            self.config.within_documents,
        )
        for number, batch in zip(numbers, batches, strict=True):
            yield self.steps[number], batch

    def _own_samples(self, step: Step) -> range:
        own = self.learner.rows(step.samples)
        return step.sample_numbers[own.start : own.stop : own.step]

    def step(self, step: Step, batch: Batch) -> tuple[Verdict, dict[str, Any]]:
        """Try one optimizer step on its samples; the verdict, and its line of metrics.jsonl.

        Raises UserError if the verdict is to stop. Unless it is to apply, weights and optimizer
        are as they were.
        """
        began = time.perf_counter()
        lr = learning_rate(
            self.config.segments[step.segment].schedule,
            step.segment_tokens,
            self.steps.segment_tokens(step.segment),
            self._last_rates[step.segment],
        )
        loss: float | None = None
        norm: float | None = None
        reason = self.guard.passed_over(step)
        if reason is not None:
            verdict = Verdict("skip", reason)
        else:
            # The same numbers on all processes, and with them all that is decided below.
            loss = self._forward_backward(step, batch).mean_nats
            norm = self.optimizer.gradient_norm()
            verdict = self.guard.judge(step, loss, norm, self.saved_step)
            if verdict.action == "apply":
                self.optimizer.update(lr, norm)
                self.guard.applied(loss, norm)
            else:
                self.optimizer.discard()
        if verdict.action == "stop":
            raise UserError(
                f"{_where(step)}: {verdict.reason}; the weights were left as they were. Look at "
                "these samples, lower peak_lr, lengthen warmup_tokens, or set train.guard to skip; "
                "the last checkpoint is intact"
            )
        if verdict.action == "skip":
            self.guard.skip(step, verdict.reason, loss, norm)
        seconds = time.perf_counter() - began
        self.standing.step = step.number
        self.standing.seconds += seconds
        line = {
            **self._facts(step),
            "loss_nats": finite(loss),
            "lr": lr,
            "grad_norm": finite(norm),
            "tokens_per_s": None if loss is None else round(step.step_tokens / seconds, 1),
        }
        if verdict.action == "skip":
            line |= {"skipped": verdict.reason, "samples": [step.first_sample, step.last_sample]}
        return verdict, line

    def _forward_backward(self, step: Step, batch: Batch) -> StepLoss:
        """Accumulate the step's gradient."""
        highest = int(max(batch.inputs.max(initial=0), batch.labels.max(initial=0)))
        if highest >= self.model_config.vocab_size:
            raise UserError(
                f"{_where(step)}: token id {highest}, but the model has "
                f"{self.model_config.vocab_size} rows; set its vocab_size to the tokenizer's"
            )
        shape = (-1, step.sequence_tokens)  # a process without samples has none of any length
        inputs, labels = (
            torch.from_numpy(table).reshape(shape) for table in (batch.inputs, batch.labels)
        )
        positions = None
        if batch.documents is not None:
            positions = torch.from_numpy(batch.documents.positions).long().reshape(shape)
        at_once = self.config.micro_batch_tokens
        return self.learner.forward_backward(
            inputs,
            labels,
            positions,
            step.samples,
            None if at_once is None else at_once // step.sequence_tokens,
            lambda row: _draws_of(self.config.seed, step.first_sample + row),
        )

    def roll_back(self, bad: Step, reason: str) -> None:
        """Go back to the last checkpoint, or the start; the guard knows what to pass over then."""
        self.saver.wait()
        newest = self.world.on_first(lambda: checkpoint.latest(self.checkpoints))
        if newest is None:
            self.standing, self.saved_step = Standing(), 0
            del self.optimizer, self.learner  # before the new ones need their memory
            self.start(None)
            self.guard.roll_back(bad, reason, None, 0)
            return
        state = self._load(newest)
        self.guard.roll_back(bad, reason, state["guard"], self.saved_step)

    def _facts(self, step: Step) -> dict[str, Any]:
        return {
            "step": step.number,
            "tokens": step.tokens,
            "segment": self.config.segments[step.segment].name,
        }

    def validate(self, step: Step) -> dict[str, Any]:
        """One line of validation.jsonl."""
        began = time.perf_counter()
        self.standing.domains = validate(
            self.learner.backend(self.tokenizer), self.tokenizer, self.sets,
            self.config.validate_max_chars,
        )  # fmt: skip
        self.standing.seconds += time.perf_counter() - began
        return {**self._facts(step), "domains": self.standing.domains}

    def continue_prompts(self, step: Step) -> dict[str, Any] | None:
        """One line of continuations.jsonl, or None: see `_continuations`."""
        began = time.perf_counter()
        found = self.world.on_first(lambda: self._continuations(checkpoint.name_of(step.number)))
        self.standing.seconds += time.perf_counter() - began
        return None if found is None else {**self._facts(step), "continuations": found}

    def _continuations(self, name: str) -> list[Continuation] | None:
        """Of the model that trains; one that is spread over processes is whole only where it has
        just been exported, and elsewhere says nothing."""
        if isinstance(self.learner, Whole):
            model = self.learner.model
        elif any(row["name"] == name for row in self.standing.exports):
            model = checkpoint.load_model(self.out / "hf" / name)
        else:
            return None
        monitor = self.config.monitor
        return continuations(model, self.tokenizer_folder, monitor.prompts, monitor.sampling)

    def export(self, step: Step) -> None:
        """A Hugging Face folder of the fp32 masters."""
        name, facts = checkpoint.name_of(step.number), self._facts(step)
        model = Decoder(self.model_config) if self.world.is_first else None
        checksum = self._collect(model)

        def write() -> None:
            assert model is not None
            export_verified(
                model,
                self.tokenizer_folder,
                self.out / "hf" / name,
                self.config.export_dtype,
                {
                    **facts,
                    "skipped_tokens": sum(row["tokens"] for row in self.guard.skipped),
                    "weights_sha256": checksum,
                },
                self.standing.domains,
                self.settings,
            )

        self.world.on_first(write)
        self.standing.exports.append({"name": name, "path": f"hf/{name}", **facts})

    @torch.no_grad()
    def _collect(self, model: Decoder | None = None) -> str:
        """Hex SHA-256 over names and bytes of the fp32 masters, which are copied into `model`.

        All processes take part; only the first one's answer means anything.
        """
        digest = hashlib.sha256()
        places = dict(model.named_parameters()) if model is not None else {}
        for name, weight in self.learner.whole_weights():
            if weight is None:
                continue
            digest.update(name.encode())
            digest.update(weight.contiguous().numpy().tobytes())
            if name in places:
                places[name].copy_(weight)
        return digest.hexdigest()

    def save(self, step: Step) -> None:
        """A checkpoint, then the removal of those that need not be kept."""
        if step.number == self.saved_step:
            return
        name = checkpoint.name_of(step.number)
        if step.ends_segment:
            self.standing.segment_ends.append(name)
        if due(step, self.config.keep_every):
            self.standing.permanent.append(name)
        self.saver.save(
            name,
            self.optimizer.tensors(),
            {
                **self._facts(step),
                **asdict(self.standing),
                "guard": self.guard.state(),
                "model": self.model_config.model_dump(mode="json"),
                "settings": self.settings,
                "execution": self.execution.model_dump(),
                "begun_segments": step.segment + 1,
            },
            [
                self.tokenizer_folder / file
                for file in TOKENIZER_FILES
                if (self.tokenizer_folder / file).is_file()
            ],
            [*self.standing.segment_ends, *self.standing.permanent],
        )
        self.saved_step = step.number

    def about(self) -> About:
        """What watchers are told. Without a peak in the settings the machine's is measured."""
        dtype = TORCH_DTYPES[self.settings["precision"]]
        given = self.config.monitor.peak_flops
        return About(
            out=self.out,
            steps=len(self.steps),
            tokens=self.steps[len(self.steps)].tokens,
            done_step=self.standing.step,
            parameters=parameters(self.model_config)["total"],
            precision=self.settings["precision"],
            threads=self.execution.threads * self.execution.processes,
            flops_per_token={
                segment.name: flops_per_token(self.model_config, layout.sequence_tokens, "causal")
                for segment, layout in zip(
                    self.config.segments, self.loader.plan.layouts, strict=True
                )
            },
            peak_flops=given or measured_peak(dtype),
            peak_how="given in train.monitor.peak_flops"
            if given
            else f"the best of five {dtype} products of this machine, measured now".replace(
                "torch.", ""
            ),
        )

    def summary(self) -> dict[str, Any]:
        """The run in numbers, for summary.json."""
        tokens = self.steps[len(self.steps)].tokens
        return {
            "steps": len(self.steps),
            "tokens": tokens,
            "parameters": parameters(self.model_config)["total"],
            "seconds": self.standing.seconds,
            "precision": self.settings["precision"],
            "dtype": str(TORCH_DTYPES[self.settings["precision"]]).removeprefix("torch."),
            "execution": self.execution.model_dump(),
            "flops_per_token": {
                "convention": "body_and_head",
                "value": flops_per_token(self.model_config, self.config.sequence_tokens),
            },
            "checkpoints": self.standing.exports,
            "segment_ends": [f"checkpoints/{name}" for name in self.standing.segment_ends],
            "permanent": [f"checkpoints/{name}" for name in self.standing.permanent],
            "skipped": self.guard.skipped,
            "rollbacks": self.guard.rollbacks,
            "weights_sha256": self._collect(),
        }


@contextmanager
def _draws_of(seed: int, first_sample: int) -> Iterator[None]:
    """Whatever is drawn inside depends on the samples alone, not on what was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(key_of("forward", seed, first_sample)))
        yield


def _where(step: Step) -> str:
    return f"step {step.number}, samples {step.first_sample} to {step.last_sample}"


def _weights_of(initial: Path, wanted: ModelConfig) -> Weights:
    """The weights of the model at `initial`, which must have the run's shape."""
    source = checkpoint.load_model(initial)
    found = source.config
    if found.of_the_weights() != wanted.of_the_weights():
        raise UserError(
            f"{initial}: its model is {found!r}, the run's is {wanted!r}; a branch must have the "
            "shape of what it branches from"
        )
    tensors = source.state_dict()
    return lambda name, shape: tensors[name]
