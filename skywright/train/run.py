"""One training run: its state, and what is done with it at each step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skywright import checkpoint
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.flops import flops_per_token, parameters
from skywright.model.hf import TOKENIZER_FILES, TORCH_DTYPES
from skywright.sets import EvaluationSet
from skywright.tokens.loader import IGNORED, Batch, Loader
from skywright.train.config import TrainConfig
from skywright.train.export import export_verified
from skywright.train.optimizer import MasterAdamW
from skywright.train.resume import Settings, check_same
from skywright.train.schedule import learning_rate
from skywright.train.steps import Step, Steps
from skywright.train.validation import validate

_NOT_FINITE = (
    "the weights were left as they were. Look at these samples, or lower peak_lr or lengthen "
    "warmup_tokens; the last checkpoint is intact"
)


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
    ) -> None:
        self.config, self.model_config = config, model_config
        self.loader, self.tokenizer_folder = loader, tokenizer_folder
        self.sets = [s for s in sets if s.purpose == "domain"]
        self.out, self.settings = out, settings
        self.steps = Steps(
            [layout.samples for layout in loader.plan.layouts],
            [layout.sequence_tokens for layout in loader.plan.layouts],
            config.global_batch_tokens,
        )
        self.done = 0
        self.seconds = 0.0
        self.domains: dict[str, dict[str, Any]] = {}
        self.exports: list[dict[str, Any]] = []
        self.segment_ends: list[str] = []

    def start(self, initial: Path | None) -> None:
        """Fresh weights, those of `initial`, or the newest checkpoint's with all of its state."""
        model = Decoder(self.model_config)
        resumed = checkpoint.latest(self.out / "checkpoints")
        if resumed is None:
            model.initialise(self.config.seed)
            if initial is not None:
                _take_weights(model, initial)
        # The optimizer's fp32 masters are made of the weights before they are rounded.
        self.optimizer = MasterAdamW(model, self.config.optimizer)
        self.model = model.to(TORCH_DTYPES[self.settings["precision"]])
        if resumed is not None:
            state = checkpoint.read_state(resumed)
            check_same(state["settings"], self.settings, state["begun_segments"], resumed)
            checkpoint.load(resumed, self.optimizer.tensors())
            self.done, self.seconds = state["step"], state["seconds"]
            self.domains, self.exports = state["domains"], state["exports"]
            self.segment_ends = state["segment_ends"]
        self.optimizer.publish()

    def step(self, step: Step, batch: Batch) -> dict[str, Any]:
        """One optimizer step on its samples; returns its line of metrics.jsonl.

        Raises UserError if the loss or the gradient is not finite; weights are then untouched.
        """
        began = time.perf_counter()
        tokens = step.step_tokens
        where = (
            f"step {step.number}, samples {step.first_sample} to "
            f"{step.first_sample + step.samples - 1}"
        )
        highest = int(max(batch.inputs.max(), batch.labels.max()))
        if highest >= self.model_config.vocab_size:
            raise UserError(
                f"{where}: token id {highest}, but the model has "
                f"{self.model_config.vocab_size} rows; set its vocab_size to the tokenizer's"
            )
        loss_sum, counted = 0.0, int((batch.labels != IGNORED).sum())
        inputs, labels = torch.from_numpy(batch.inputs), torch.from_numpy(batch.labels)
        at_once = (self.config.micro_batch_tokens or tokens) // step.sequence_tokens
        for first in range(0, step.samples, at_once):
            part = slice(first, first + at_once)
            with _dropout_seed(self.config.seed, step.first_sample + first):
                loss = self.model.head(self.model(inputs[part]), labels[part])
                # Normalised by the labels of the whole step: micro-batches change nothing.
                (loss.total / counted).backward()
            self.optimizer.accumulate()
            loss_sum += loss.nats.item()
        segment = self.config.segments[step.segment]
        lr = learning_rate(
            segment.schedule, step.segment_tokens, self.steps.segment_tokens(step.segment)
        )
        if not math.isfinite(loss_sum):
            raise UserError(f"{where}: the loss is {loss_sum}; {_NOT_FINITE}")
        norm = self.optimizer.step(lr)
        if not math.isfinite(norm):
            raise UserError(f"{where}: the gradient's norm is {norm}; {_NOT_FINITE}")
        seconds = time.perf_counter() - began
        self.seconds += seconds
        return {
            "step": step.number,
            "tokens": step.tokens,
            "segment": segment.name,
            "loss_nats": loss_sum / counted,
            "lr": lr,
            "grad_norm": norm,
            "tokens_per_s": round(tokens / seconds, 1),
        }

    def facts(self, step: Step) -> dict[str, Any]:
        """Where the run stands after a step."""
        return {
            "step": step.number,
            "tokens": step.tokens,
            "segment": self.config.segments[step.segment].name,
        }

    def validate(self, step: Step) -> dict[str, Any]:
        """One line of validation.jsonl."""
        began = time.perf_counter()
        self.domains = validate(
            self.model, self.tokenizer_folder, self.sets, self.config.validate_max_chars
        )
        self.seconds += time.perf_counter() - began
        return {**self.facts(step), "domains": self.domains}

    def export(self, step: Step) -> None:
        """A Hugging Face folder of the fp32 masters."""
        name = checkpoint.name_of(step.number)
        model = Decoder(self.model_config)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.copy_(self.optimizer.weights[key])
        export_verified(
            model,
            self.tokenizer_folder,
            self.out / "hf" / name,
            self.config.export_dtype,
            self.facts(step),
            self.domains,
        )
        facts = self.facts(step)
        self.exports.append({"name": name, "path": f"hf/{name}", **facts})

    def save(self, step: Step) -> None:
        """A checkpoint, then the removal of those that need not be kept."""
        name = checkpoint.name_of(step.number)
        folder = self.out / "checkpoints"
        if step.ends_segment:
            self.segment_ends.append(name)
        checkpoint.save(
            folder / name,
            self.optimizer.tensors(),
            {
                **self.facts(step),
                "seconds": self.seconds,
                "model": self.model_config.model_dump(mode="json"),
                "settings": self.settings,
                "domains": self.domains,
                "exports": self.exports,
                "segment_ends": self.segment_ends,
                "begun_segments": step.segment + 1,
            },
            beside=[
                self.tokenizer_folder / file
                for file in TOKENIZER_FILES
                if (self.tokenizer_folder / file).is_file()
            ],
        )
        checkpoint.keep(folder, name, self.config.keep, self.segment_ends)

    def summary(self) -> dict[str, Any]:
        """The run in numbers, for summary.json."""
        tokens = self.steps[len(self.steps)].tokens
        return {
            "steps": len(self.steps),
            "tokens": tokens,
            "parameters": parameters(self.model_config)["total"],
            "seconds": self.seconds,
            "precision": self.settings["precision"],
            "dtype": str(TORCH_DTYPES[self.settings["precision"]]).removeprefix("torch."),
            "threads": self.settings["threads"],
            "flops_per_token": {
                "convention": "body_and_head",
                "value": flops_per_token(self.model_config, self.config.sequence_tokens),
            },
            "checkpoints": self.exports,
            "segment_ends": [f"checkpoints/{name}" for name in self.segment_ends],
            "weights_sha256": self.optimizer.weights_sha256(),
        }


@contextmanager
def _dropout_seed(seed: int, first_sample: int) -> Iterator[None]:
    """Masks that depend on the run's seed and the sample alone, so that a resume repeats them."""
    state = np.random.SeedSequence((seed, first_sample)).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state[0] >> 1))
        yield


def _take_weights(model: Decoder, initial: Path) -> None:
    source = checkpoint.load_model(initial)
    wanted, found = model.config, source.config
    if found.of_the_weights() != wanted.of_the_weights():
        raise UserError(
            f"{initial}: its model is {found!r}, the run's is {wanted!r}; a branch must have the "
            "shape of what it branches from"
        )
    model.load_state_dict(source.state_dict())
