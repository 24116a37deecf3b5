"""A small run folder as the steps leave it, with made-up but plausible numbers.

`hostile=True` puts text in it that would run, or call home, if the page did not escape it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from skywright.engine.files import write_json

from .sample_data import ATTACK, SEGMENTS, plan, waterfall

DOMAINS = {
    "en_wiki": ("en", 0.00),
    "en_tech": ("en", 0.12),
    "en_peps": ("en", -0.10),
    "en_literature": ("en", 0.45),
    "en_manual": ("en", -0.05),
    "code": ("code", -0.60),
    "zh_wiki": ("zh-Hans", 0.70),
    "zh_law": ("zh-Hans", -0.75),
    "zh_tech": ("zh-Hans", 0.40),
    "zh_poetry": ("zh-Hant", 1.10),
    "zh_manual": ("zh-Hans", 0.30),
}
TOTAL_TOKENS = 1_228_800
BATCH_TOKENS = 4_096
CHECKPOINTS = tuple(
    (f"step-{tokens // BATCH_TOKENS:08d}", tokens, segment)
    for tokens, segment in (
        (245_760, "session-1"),
        (491_520, "session-1"),
        (737_280, "session-1"),
        (1_064_960, "session-2"),
        (1_228_800, "stem"),
    )
)


def estimate(value: float, half: float, n: int) -> dict[str, Any]:
    """An interval of `half` to each side."""
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def _loss(tokens: float) -> float:
    return 3.45 + 5.6 * (1 + tokens / 14_000) ** -0.62


def _segment_at(tokens: int) -> str:
    bound = 0
    for name, length in SEGMENTS:
        bound += length
        if tokens <= bound:
            return name
    return SEGMENTS[-1][0]


def _metrics() -> list[dict[str, Any]]:
    noise = np.random.default_rng(3).normal(0, 0.11, TOTAL_TOKENS // BATCH_TOKENS)
    rows = []
    for step, jitter in enumerate(noise, 1):
        tokens = step * BATCH_TOKENS
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, tokens / SEGMENTS[0][1])))
        rows.append(
            {
                "step": step,
                "tokens": tokens,
                "segment": _segment_at(tokens),
                "loss_nats": _loss(tokens) + float(jitter),
                "lr": (1e-4 + 9e-4 * decay) * min(1.0, step / 15),
                "grad_norm": 1.1,
                "tokens_per_s": 4_380.0,
            }
        )
    return rows


def _validation(hostile: bool) -> list[dict[str, Any]]:
    rows = []
    names = {(ATTACK if hostile and n == "en_wiki" else n): v for n, v in DOMAINS.items()}
    for step in range(0, 301, 20):
        tokens = step * BATCH_TOKENS
        domains = {}
        for name, (lang, offset) in names.items():
            nats = (_loss(tokens) if step else 9.02) + offset * min(1, step / 40)
            bpb = nats / (math.log(2) * (2.6 if lang.startswith("zh") else 3.3))
            domains[name] = {"nats_per_token": nats, "bpb": bpb, "documents": 32}
        rows.append(
            {"step": step, "tokens": tokens, "segment": _segment_at(tokens), "domains": domains}
        )
    return rows


def _evaluation(hostile: bool) -> dict[str, Any]:
    rows = []
    names = {(ATTACK if hostile and n == "en_wiki" else n): v for n, v in DOMAINS.items()}
    for model, tokens, segment in CHECKPOINTS:
        losses = {name: _loss(tokens) + offset for name, (_, offset) in names.items()}
        for name, nats in [*losses.items(), ("macro", sum(losses.values()) / len(losses))]:
            half = 0.022 if name == "macro" else 0.07
            n = 11 if name == "macro" else 32
            lang = "all" if name == "macro" else names[name][0]
            ppl = {
                "value": math.exp(nats),
                "low": math.exp(nats - half),
                "high": math.exp(nats + half),
                "n": n,
            }
            rows.append(
                {
                    "model": model,
                    "tokens": tokens,
                    "segment": segment,
                    "domain": name,
                    "lang": lang,
                    "documents": 32 if name != "macro" else 352,
                    "nats_per_reference_token": estimate(nats, half, n),
                    "perplexity": ppl,
                    "bpb": estimate(nats / 2.1, half / 2.1, n),
                }
            )
    unigram = {name: 6.55 + 0.5 * offset for name, (_, offset) in names.items()}
    unigram["macro"] = sum(unigram.values()) / len(unigram)
    return {
        "protocol": {"name": "skywright/v1", "max_chars": 4096, "overlap": 0.5, "dtype": "float32"},
        "reference_tokenizer": "9f2c" * 16,
        "interval": "95 %, t over documents within domains",
        "rows": rows,
        "unigram": unigram,
    }


def _leak(hostile: bool) -> dict[str, Any]:
    models = []
    for (name, tokens, segment), seen, verdict, reason in zip(
        CHECKPOINTS[2:],
        (-0.004, -0.019, -0.142),
        ("no evidence", "cannot tell", "trained on train split"),
        (
            "the interval of seen − unseen lies inside the null band of ±0.05",
            "the interval of seen − unseen reaches out of the null band but holds zero",
            "seen minus unseen −0.142 [−0.176, −0.108] nats, all below 0, where a random split "
            "must lie without training on it",
        ),
        strict=True,
    ):
        test = _loss(tokens) - 0.9
        models.append(
            {
                "model": name,
                "tokens": tokens,
                "segment": segment,
                "test": estimate(test, 0.03, 1_319),
                "train_seen": estimate(test - 0.05 + seen, 0.04, 512),
                "train_unseen": estimate(test - 0.05, 0.04, 512),
                "reference": estimate(test + 0.011, 0.03, 804),
                "delta1": estimate(-0.011, 0.012, 804),
                "delta2": estimate(0.05 - seen / 2, 0.05, 1_319),
                "seen_minus_unseen": estimate(seen, 0.034, 512),
                "verdict": verdict,
                "reason": ATTACK if hostile else reason,
            }
        )
    return {
        "models": models,
        "sets": {"gsm8k_test": 1_319, "gsm8k_seen": 512, "gsm8k_unseen": 512, "look-alikes": 804},
        "note": "Clean models too differ by 0.06 to 0.08 nats between train and test.",
    }


def _study() -> dict[str, Any]:
    return {
        "from_checkpoint": CHECKPOINTS[0][0],
        "from_tokens": CHECKPOINTS[0][1],
        "branch_tokens": 122_880,
        "source": "gsm8k",
        "benchmark": {
            "name": "arithmetic",
            "items": 400,
            "chance": 0.25,
            "before": {"value": 0.2575, "low": 0.217, "high": 0.3025, "n": 400},
            "after": {"value": 0.38, "low": 0.3337, "high": 0.4285, "n": 400},
            "difference": estimate(0.1225, 0.058, 400),
        },
        "domains": [
            {
                "domain": name,
                "lang": lang,
                "before": estimate(_loss(245_760) + offset, 0.08, 32),
                "after": estimate(_loss(245_760) + offset + 0.35 + offset / 9, 0.08, 32),
                "difference": estimate(0.35 + offset / 9, 0.025, 32),
            }
            for name, (lang, offset) in [*DOMAINS.items(), ("macro", ("all", 0.13))]
        ],
    }


def _recipe(hostile: bool) -> str:
    comment = f"# {ATTACK}\n" if hostile else ""
    return (
        f"{comment}name: {'laptop <b>' if hostile else 'laptop'}\nseed: 7\nworkdir: runs/laptop\n"
        "model:\n  vocab_size: 8192\n  hidden: 192\n  layers: 8\n  heads: 6\n  kv_heads: 6\n"
        "  ffn_hidden: 512\n  context_tokens: 256\n  tie_embeddings: true\n"
        "train:\n  seed: 7\n  sequence_tokens: 256\n  global_batch_tokens: 4096\n"
    )


def write_run(folder: Path, hostile: bool = False, without: Collection[str] = ()) -> Path:
    """Write the run folder; `without` names steps that have not run."""

    def place(step: str) -> Path:
        made = folder / step / "0123456789abcdef"
        made.mkdir(parents=True, exist_ok=True)
        link = folder / step / "current"
        if not link.is_symlink():
            link.symlink_to(made.name)
        return made

    def lines(path: Path, rows: list[dict[str, Any]]) -> None:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    folder.mkdir(parents=True, exist_ok=True)
    made = [
        step
        for step in ("corpus", "tokenizer", "tokens", "train", "evaluate", "leak", "study")
        if step not in without
    ]
    seconds = (48.2, 21.9, 3.4, 281.0, 74.4, 31.5, 40.1)
    if "corpus" in made:
        write_json(place("corpus") / "waterfall.json", waterfall(hostile))
        size = {"documents": 321, "chars": 654_000, "bytes": 987_000}
        licence = ATTACK if hostile else "CC BY-SA 4.0"
        write_json(
            place("corpus") / "card.json",
            {"total": size, "by_quality_bin": {"en 9": size}, "by_licence": {licence: size}},
        )
    if "tokenizer" in made:
        rows = [
            ("en", 3_390, 3.412, 3.431, 0.0004),
            ("zh-Hans", 3_211, 1.318, 3.742, 0.0061),
            ("zh-Hant", 420, 1.004, 2.951, 0.0382),
            ("code", 210, 2.911, 2.912, 0.0001),
        ]
        keys = ("lang", "documents", "chars_per_token", "bytes_per_token", "byte_fallback_share")
        summary = {"vocab_size": 8192, "fingerprint": "9f2c" * 16}
        write_json(
            place("tokenizer") / "summary.json",
            summary | {"rows": [dict(zip(keys, row, strict=True)) for row in rows]},
        )
    if "train" in made:
        train = place("train")
        write_json(train / "plan.json", plan(hostile))
        lines(train / "metrics.jsonl", _metrics())
        lines(train / "validation.jsonl", _validation(hostile))
        write_json(
            train / "summary.json",
            {
                "steps": 300,
                "tokens": TOTAL_TOKENS,
                "parameters": 5_112_000,
                "seconds": 280.6,
                "precision": "bf16",
                "dtype": "bfloat16",
                "weights_sha256": "ab12" * 16,
                "checkpoints": [
                    {"name": name, "path": f"hf/{name}", "tokens": tokens, "segment": segment}
                    for name, tokens, segment in CHECKPOINTS
                ],
            },
        )
    if "evaluate" in made:
        write_json(place("evaluate") / "summary.json", _evaluation(hostile))
    if "leak" in made:
        write_json(place("leak") / "summary.json", _leak(hostile))
    if "study" in made:
        write_json(place("study") / "summary.json", _study())
    if made:
        (folder / "recipe.resolved.yaml").write_text(_recipe(hostile), encoding="utf-8")
        write_json(
            folder / "environment.json",
            {
                "skywright": "0.1.0",
                "python": "3.11.7",
                "platform": "Linux-6.1-x86_64",
                "cpu": ATTACK if hostile else "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
                "cores": 2,
                "memory_gb": 15.6,
                "packages": {"torch": "2.13.0", "transformers": "5.23.0", "tokenizers": "0.23.1"},
            },
        )
        with (folder / "steps.json").open("w", encoding="utf-8") as stream:
            json.dump(
                {
                    step: {
                        "key": "0123456789abcdef",
                        "folder": f"{step}/0123456789abcdef",
                        "seconds": spent,
                    }
                    for step, spent in zip(made, seconds, strict=False)
                },
                stream,
            )
    return folder
