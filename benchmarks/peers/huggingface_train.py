"""Hugging Face's Trainer on its LLaMA, run by the Python of the environment `huggingface`.

    python huggingface_train.py TRIAL

TRIAL is a `benchmarks.trial.Trial`; its form is fp32, bf16 (autocast) or compiled (that too).
Prints one line of JSON.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.trial import BETAS, CLIP, LR, WEIGHT_DECAY, Stopwatch, Trial

FORMS: dict[str, dict[str, bool]] = {
    "fp32": {},
    "bf16": {"bf16": True},
    "compiled": {"bf16": True, "torch_compile": True},
}


class Samples(Dataset):
    """The trial's samples one by one. The labels are given as they are to be met, not shifted."""

    def __init__(self, trial: Trial) -> None:
        rows = trial.rows()
        self.at_once = rows.shape[1]
        self._rows = torch.from_numpy(rows).flatten(0, 1)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        row = self._rows[number]
        return {"input_ids": row[:-1], "labels": row[1:], "shift_labels": row[1:]}


class Watching(TrainerCallback):
    """Tells the stopwatch of each step."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._watch.step()


def main() -> None:
    """Train on the trial's batches."""
    trial = Trial.given()
    watch = Stopwatch(trial)
    samples = Samples(trial)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            per_device_train_batch_size=samples.at_once,
            max_steps=len(samples) // samples.at_once,
            train_sampling_strategy="sequential",
            learning_rate=LR,
            lr_scheduler_type="constant",
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIP,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            **FORMS[trial.form],
        )
        model = LlamaForCausalLM.from_pretrained(trial.initial, dtype=torch.float32)
        trainer = Trainer(model, arguments, train_dataset=samples, callbacks=[Watching(watch)])
        trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    watch.tell(losses=losses)


if __name__ == "__main__":
    main()
