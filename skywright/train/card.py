"""The model card of an exported checkpoint: what it is, what made it, what it measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from skywright import __version__
from skywright.model.config import ModelConfig
from skywright.model.flops import parameters


def card(
    config: ModelConfig,
    dtype: str,
    facts: Mapping[str, Any],
    domains: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    difference: float,
) -> str:
    """README.md of a Hugging Face folder.

    `facts` holds step, tokens, skipped_tokens, segment and weights_sha256; `domains` the last
    validation; `settings` what `resume.settings_of` gives; `difference` the largest of logits.
    """
    seen = facts["tokens"] - facts["skipped_tokens"]
    about = {
        "tokens seen": f"{seen:,}",
        **(
            {"tokens in skipped steps": f"{facts['skipped_tokens']:,}"}
            if facts["skipped_tokens"]
            else {}
        ),
        "segment": facts["segment"],
        "step": f"{facts['step']:,}",
        "parameters": f"{parameters(config)['total']:,}",
        "layers, hidden, heads": f"{config.layers}, {config.hidden}, {config.heads}",
        "vocabulary, context": f"{config.vocab_size:,}, {config.context_tokens:,} tokens",
        "trained in": f"{settings['precision']}, fp32 master weights",
        "stored as": f"{dtype}, safetensors",
        "largest logit difference, transformers against the trainer (fp32)": f"{difference:.2e}",
    }
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "language: [zh, en]",
        "---",
        f"# Base model after {facts['tokens']:,} tokens",
        "",
        "A decoder trained by skywright; a base model, not tuned to follow instructions.",
        "",
        *_table(("", ""), about.items()),
    ]
    if domains:
        lines += [
            "",
            "## Held-out losses",
            "",
            "Measured at this point with the weights as trained.",
            "",
            *_table(
                ("domain", "nats per token", "bits per byte", "documents"),
                (
                    (name, f"{row['nats_per_token']:.4f}", f"{row['bpb']:.4f}", row["documents"])
                    for name, row in domains.items()
                ),
            ),
        ]
    return "\n".join([*lines, "", "## Lineage", "", *_lineage(facts, settings)]) + "\n"


def _lineage(facts: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    names = [row["name"] for row in settings["segments"]]
    begun = settings["segments"][: names.index(facts["segment"]) + 1]
    used = {name for row in begun for name in row["mixture"]}
    initial = settings["initial"]
    start = f"seed {settings['seed']}" if initial is None else f"other weights, `{initial[:16]}`"
    batch = f"{settings['global_batch_tokens']:,} tokens a step"
    made = {
        "weights (SHA-256)": f"`{facts['weights_sha256']}`",
        "started from": start,
        "optimizer": f"{settings['optimizer']['kind']}, {batch}",
        "tokenizer (SHA-256)": f"`{settings['tokenizer']}`",
        "order of the data": f"{settings['plan']['order']}, seed {settings['plan']['seed']}",
        "skywright": __version__,
    }
    return [
        *_table(("", ""), made.items()),
        "",
        *_table(
            ("segment", "tokens", "schedule", "peak rate", "sources"),
            (
                (
                    row["name"],
                    f"{row['tokens']:,}",
                    row["schedule"]["kind"],
                    f"{row['schedule']['peak_lr']:g}",
                    ", ".join(row["mixture"]),
                )
                for row in begun
            ),
        ),
        "",
        *_table(
            ("source", "content"),
            ((name, f"`{settings['data'][name][:16]}`") for name in sorted(used)),
        ),
    ]


def _table(columns: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> list[str]:
    body = [tuple(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(row)} |" for row in (columns, tuple("---" for _ in columns), *body)]
