"""A run's Hugging Face folders: exported, verified through transformers, with a card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skywright.engine.files import atomic_folder, write_json
from skywright.model.decoder import Decoder
from skywright.model.flops import parameters
from skywright.model.hf import MAX_LOGIT_DIFFERENCE, Dtype, export, verify

RECORD = "export.json"


def export_verified(
    model: Decoder,
    tokenizer_folder: Path,
    out: Path,
    dtype: Dtype,
    facts: Mapping[str, Any],
    domains: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write `model` (fp32) at `out` with export.json and a model card; nothing if it stands there.

    `facts` holds step, tokens and segment; `domains` the last validation, as `validate` gives it.
    Raises RuntimeError if transformers' logits differ by more than `MAX_LOGIT_DIFFERENCE`; then
    nothing is left at `out`.
    """
    if (out / RECORD).is_file():
        return
    with atomic_folder(out) as temporary:
        export(model, tokenizer_folder, temporary, dtype)
        difference = verify(temporary, model)
        if not difference <= MAX_LOGIT_DIFFERENCE or math.isnan(difference):
            raise RuntimeError(
                f"{out}: the exported model's logits differ by {difference:.3g} from the trained "
                f"one's, more than {MAX_LOGIT_DIFFERENCE:g}; the export was not kept"
            )
        write_json(temporary / RECORD, {"max_logit_difference": difference, **facts})
        (temporary / "README.md").write_text(
            _card(model, dtype, facts, domains, difference), encoding="utf-8"
        )


def _card(
    model: Decoder,
    dtype: Dtype,
    facts: Mapping[str, Any],
    domains: Mapping[str, Mapping[str, Any]],
    difference: float,
) -> str:
    config = model.config
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "language: [zh, en]",
        "---",
        f"# Base model after {facts['tokens']:,} tokens",
        "",
        f"A {'GPT' if config.architecture == 'gpt' else 'LLaMA'} decoder trained by skywright; a "
        "base model, not tuned to follow instructions.",
        "",
        "| | |",
        "|---|---|",
        f"| tokens seen | {facts['tokens']:,} |",
        f"| segment | {facts['segment']} |",
        f"| step | {facts['step']:,} |",
        f"| parameters | {parameters(config)['total']:,} |",
        f"| layers, hidden, heads | {config.layers}, {config.hidden}, {config.heads} |",
        f"| vocabulary, context | {config.vocab_size:,}, {config.context_tokens:,} tokens |",
        f"| stored as | {dtype}, safetensors |",
        f"| largest logit difference, transformers against the trainer (fp32) | {difference:.2e} |",
    ]
    if domains:
        lines += [
            "",
            "Held-out losses at this point, measured with the weights as trained:",
            "",
            "| domain | nats per token | bits per byte | documents |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {row['nats_per_token']:.4f} | {row['bpb']:.4f} | {row['documents']} |"
            for name, row in domains.items()
        ]
    return "\n".join(lines) + "\n"
