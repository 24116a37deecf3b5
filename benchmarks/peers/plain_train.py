"""Hugging Face's LLaMA cast whole to bf16 and compiled, in a bare loop: nothing is kept in fp32.

    python plain_train.py TRIAL

TRIAL is a `benchmarks.trial.Trial`. Prints one line of JSON.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from benchmarks.trial import CLIP, Stopwatch, Trial, adamw


def main() -> None:
    """Train on the trial's batches."""
    trial = Trial.given()
    watch = Stopwatch(trial)
    model = LlamaForCausalLM.from_pretrained(trial.initial, dtype=torch.bfloat16)
    model.config.use_cache = False
    compiled, optimizer = torch.compile(model), adamw(model)
    for inputs, labels in trial.batches():
        loss = compiled(input_ids=inputs, labels=labels, shift_labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        watch.step(loss.item())
    watch.tell()


if __name__ == "__main__":
    main()
