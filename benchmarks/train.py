"""Training one model, side by side: tokens a second of our trainer and of others.

    python -m benchmarks.train [--rounds 5] [--steps 6] [--threads 2] [--out FILE]
                               [--peers hf,plain,nanogpt,litgpt] [--loss-steps N] [--quick]

A LLaMA of 10M parameters, 4,096 tokens a step: the same weights to begin from, the same samples of
the example crawl, the same AdamW, clipping and threads for all. Each round starts each contender
once, in a fresh process; of its steps the first two are not counted, of the others the median is
taken. The first round has every form of a contender (precision, compiled or not), the later ones
only those within 5 % of its best. Figures are medians of the rounds, ratios of ours over the best
of the others in the same round.

    ours     the trainer, whole: loader, guard, journal; bf16 with fp32 masters
    hf       Hugging Face's Trainer: fp32, bf16 autocast, compiled
    plain    its model cast whole to bf16, compiled, in a bare loop: keeps no masters
    nanogpt  a lean loop: bf16 autocast, compiled
    litgpt   litgpt's model and loss under Fabric, compiled: bf16-mixed, bf16-true (no masters)

`--loss-steps` also trains each contender's best form once for so many steps and tells the losses.
`--quick` does everything once at a toy size: its figures mean nothing. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers import Unavailable
from benchmarks.tokenize import OthersShare
from benchmarks.train_case import Case, make_shards
from benchmarks.train_rounds import PEERS, UNCOUNTED, Rounds, say, start
from skywright.model.config import ModelConfig
from skywright.model.flops import flops_per_token, parameters
from skywright.run.runner import environment

CASE = Case(
    ModelConfig(vocab_size=8192, hidden=256, layers=8, heads=4, ffn_hidden=688, context_tokens=512),
    step_tokens=4096,
    steps=0,
)
LARGE = Case(  # more than 1 GB of weights, masters and moments
    ModelConfig(
        vocab_size=8192, hidden=768, layers=9, heads=12, ffn_hidden=2048, context_tokens=512
    ),
    step_tokens=4096,
    steps=2,
)
RATIOS = {"hf_ratio": ["hf"], "plain_ratio": ["plain"], "litgpt_ratio": ["nanogpt", "litgpt"]}
TOY = ModelConfig(vocab_size=1024, hidden=64, layers=2, heads=2, ffn_hidden=128, context_tokens=64)


def utilisation(rounds: Rounds) -> dict[str, Any]:
    """Speed of our best form against the best product of all our runs, by convention."""
    ours, model = rounds.best("ours"), rounds.case.model
    peak = max(
        told["peak_flops"]
        for contender, runs in rounds.runs.items()
        if contender.name == "ours"
        for told in runs.values()
    )
    speed = rounds.median(ours)
    return {
        "gemm_peak_gflops": round(peak / 1e9, 1),
        "mfu_by_convention": {
            convention: round(
                speed * flops_per_token(model, model.context_tokens, convention) / peak, 3
            )
            for convention in ("causal", "body_and_head", "all_parameters")
        },
        "mfu_range": [
            round(value * flops_per_token(model, model.context_tokens, "causal") / peak, 3)
            for value in rounds.row(ours)["tokens_s_range"]
        ],
    }


def host_share(rounds: Rounds) -> float:
    """Share of a step of our best form outside model and optimizer: median of all steps."""
    runs = rounds.runs[rounds.best("ours")].values()
    return round(
        statistics.median(s for told in runs for s in told["host_share"][UNCOUNTED - 1 :]), 4
    )


def losses_after(rounds: Rounds, folder: Path) -> dict[str, float]:
    """Mean loss of the last tenth of the steps of the case in `folder`, each best form once."""
    found = {}
    for name in ("ours", *PEERS):
        try:
            contender = rounds.best(name)
            losses = rounds.start(contender, folder)["losses"]
        except Unavailable as error:
            say(f"{name}: {error}")
            continue
        found[str(contender)] = round(statistics.fmean(losses[-max(1, len(losses) // 10) :]), 4)
    return found


def ours_alone(rounds: Rounds, folder: Path) -> dict[str, Any]:
    """What is measured of ours beside the rounds: attention's share, memory against the plan."""
    cache = rounds.folder / "compiled" / "alone"
    command = [sys.executable, "-m", "benchmarks.train_ours"]
    form = rounds.best("ours").form
    say("attention alone, memory of a larger model")
    share = start([*command, "attention"], folder / "case", form, rounds.threads, cache)
    memory = start([*command, "memory"], folder / "large", "eager", rounds.threads, cache)
    measured, planned = memory["measured_bytes"], memory["planned_bytes"]
    return {
        **share,
        "memory": {
            "state_mb": round(memory["state_bytes"] / 1e6),
            "planned_mb": round(planned / 1e6),
            "planned_fullest": memory["fullest"],
            "measured_mb": measured and round(measured / 1e6),
            "measured_by_planned": measured and round(measured / planned, 3),
        },
    }


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything; the keys are those of the result's file."""
    others = OthersShare()
    began = time.monotonic()
    case, large = CASE, LARGE
    if given.quick:
        case = Case(TOY, step_tokens=256, steps=0)
        large = replace(case, steps=2)
    case = replace(case, steps=UNCOUNTED + given.steps)
    make_shards(folder, case.model.vocab_size, most=20 if given.quick else None)
    write = {"case": case, "large": large}
    if given.loss_steps:
        write["losses"] = replace(case, steps=given.loss_steps)
    for name, written in write.items():
        written.write(folder / "shards", folder / "tokenizer", folder / name)
    rounds = Rounds(case, folder, given.threads, given.peers)
    for number in range(given.rounds):
        rounds.run(number)
    alone = ours_alone(rounds, folder)
    losses = losses_after(rounds, folder / "losses") if given.loss_steps else {}
    ratios = {name: rounds.ratio(of) for name, of in RATIOS.items()}
    used = utilisation(rounds)
    machine = environment()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {key: machine[key] for key in ("cpu", "cores", "memory_gb", "platform")},
        "packages": {
            name: machine["packages"].get(name) for name in ("torch", "transformers", "numpy")
        },
        "model": case.model.model_dump(exclude_defaults=True),
        "parameters": parameters(case.model)["total"],
        "step_tokens": case.step_tokens,
        "steps": given.steps,
        "rounds": given.rounds,
        "threads": given.threads,
        "contenders": {str(contender): rounds.row(contender) for contender in rounds.runs},
        "unavailable": rounds.unavailable,
        **{
            name: round(statistics.median(found), 2) if found else None
            for name, found in ratios.items()
        },
        "ratio_ranges": {
            name: [round(min(found), 2), round(max(found), 2)] if found else None
            for name, found in ratios.items()
        },
        "ours": str(rounds.best("ours")),
        "tokens_s": rounds.row(rounds.best("ours"))["tokens_s"],
        "mfu": used["mfu_by_convention"]["causal"],
        **used,
        "attention_share": round(alone["attention_share"], 3),
        "host_share": host_share(rounds),
        "memory": alone["memory"],
        "losses_after": {"steps": given.loss_steps, **losses} if losses else None,
        "cpu_share_of_others": others.share(),
        "seconds": round(time.monotonic() - began),
    }


def table(result: dict[str, Any]) -> str:
    """The result for reading."""
    last = f"loss {UNCOUNTED + result['steps']}"
    lines = [
        f"{'':18}{'tokens/s':>9}{'range':>15}{last:>9}{'first step s':>14}{'cached':>8}{'MB':>7}",
    ]
    for name, row in result["contenders"].items():
        low, high = row["tokens_s_range"]
        lines.append(
            f"{name:18}{row['tokens_s']:9.0f}{f'{low:.0f} to {high:.0f}':>15}"
            f"{row['last_loss']:9.3f}{row['first_step_s']:14.1f}"
            f"{row['first_step_cached_s'] or '-':>8}{row['peak_mb'] or '-':>7}"
        )
    lines += [f"{name}: unavailable: {reason}" for name, reason in result["unavailable"].items()]
    memory, used = result["memory"], result["mfu_by_convention"]
    lines += [
        f"{result['ours']}: "
        + ", ".join(f"{name} {result[name]} {result['ratio_ranges'][name]}" for name in RATIOS),
        f"mfu {', '.join(f'{name} {value:.1%}' for name, value in used.items())} of"
        f" {result['gemm_peak_gflops']} GFLOP/s",
        f"attention {result['attention_share']:.1%} of forward and backward, host work outside"
        f" model and optimizer {result['host_share']:.2%} of a step",
        f"memory of {memory['state_mb']} MB of state: {memory['measured_mb']} MB, planned"
        f" {memory['planned_mb']} MB (times {memory['measured_by_planned']})",
        *([f"losses after {json.dumps(result['losses_after'])}"] if result["losses_after"] else []),
        f"{result['seconds']} s; others took {result['cpu_share_of_others']:.0%} of the processor",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write the result if asked, end with one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="counted steps of each process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--peers", type=lambda text: [name for name in text.split(",") if name], default=[*PEERS]
    )
    parser.add_argument("--loss-steps", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if unknown := set(given.peers) - PEERS.keys():
        parser.error(f"--peers: no {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if given.quick:
        given.rounds, given.steps = 1, 1
    with tempfile.TemporaryDirectory() as folder:
        result = measure(given, Path(folder))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    keys = (*RATIOS, "tokens_s", "mfu", "gemm_peak_gflops", "attention_share")
    print(json.dumps({key: result[key] for key in keys}))


if __name__ == "__main__":
    main()
