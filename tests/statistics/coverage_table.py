"""The tables of measured coverage in docs/statistics.md.

    python -m tests.statistics.coverage_table [--simulations 2000]

Documents drawn with replacement from real losses, or from generated ones with log-normal lengths;
the standard error of a share of 95 % in 2,000 simulations is 0.5 points.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np

from skywright.evaluate.compare.early import FIRST_LOOK, PLANNED_DOCUMENTS, ROUND_DOCUMENTS
from skywright.statistics import (
    interval_coverage,
    mean_of,
    random_order,
    ratio_bootstrap,
    ratio_interval,
    sequence_coverage,
)
from skywright.statistics.sequential import ratio_bounds
from tests.statistics.samples import Sample, as_one, real, simulated

DRAWS = 300
COLUMNS = (
    "micro, t", "micro, studentised", "domain-macro, t", "domain-macro, studentised",
    "difference, t", "difference, studentised", "levels, simultaneous", "pairs, simultaneous",
    "ranks, simultaneous",
)  # fmt: skip
FOUR = ("code", "en_wiki", "zh_poetry", "zh_wiki")


def cases() -> list[tuple[str, Sample, int]]:
    """Name, population, and units drawn in each of its domains."""
    generated = {s: simulated(documents=20_000, domains=1, sigma=s) for s in (0.5, 0.8, 1.0)}
    return [
        ("real 4 domains, bytes", real().of(*FOUR), 25),
        ("real 4 domains, reference tokens", real("reference_tokens").of(*FOUR), 25),
        ("real 4 domains, bytes", real().of(*FOUR), 100),
        ("real 11 domains", real(), 10),
        ("real, all domains as one", as_one(real()), 30),
        ("real, all domains as one", as_one(real()), 100),
        ("real, code alone", real().of("code"), 30),
        ("real, code alone", real().of("code"), 100),
        ("log-normal lengths, sigma 0.5", generated[0.5], 100),
        ("log-normal lengths, sigma 0.8", generated[0.8], 100),
        ("log-normal lengths, sigma 1.0", generated[1.0], 30),
        ("log-normal lengths, sigma 1.0", generated[1.0], 100),
    ]


def intervals(simulations: int) -> None:
    """Percent of the simulations whose interval, or all of the family, hold the truth."""
    print("| losses | units |", " | ".join(COLUMNS), "|")
    for name, sample, units in cases():
        found = interval_coverage(
            sample.models, sample.sizes, sample.domains, units=units, simulations=simulations,
            draws=DRAWS,
        )  # fmt: skip
        share = {c.name: 100 * c.share.value for c in found}
        each = f"{units} each" if len(np.unique(sample.domains)) > 1 else f"{units}"
        print(f"| {name} | {each} |", " | ".join(f"{share[c]:.1f}" for c in COLUMNS), "|",
              flush=True)  # fmt: skip


def score_rows(simulations: int) -> None:
    """The intervals of `eval score`: the percentile bootstrap of each domain, and their mean's."""
    print("| losses | units | domain, percentile | domain, t | domain-macro |")
    for name, sample, units in cases():
        (losses, *_), rng = sample.models.values(), np.random.default_rng(0)
        inside = [sample.domains == domain for domain in np.unique(sample.domains)]
        parts = [(losses[rows], sample.sizes[rows]) for rows in inside]
        truths = [tops.sum() / sizes.sum() for tops, sizes in parts]
        held = np.zeros(3)
        for seed in range(simulations):
            percentile = []
            for (tops, sizes), truth in zip(parts, truths, strict=True):
                drawn = rng.integers(0, len(tops), units)
                percentile.append(ratio_bootstrap(tops[drawn], sizes[drawn], 1000, seed))
                closed = ratio_interval(tops[drawn], sizes[drawn])
                held[0] += (percentile[-1].low <= truth <= percentile[-1].high) / len(parts)
                held[1] += (closed.low <= truth <= closed.high) / len(parts)
            macro = mean_of(percentile) if len(parts) > 1 else percentile[0]
            held[2] += macro.low <= np.mean(truths) <= macro.high
        each = f"{units} each" if len(parts) > 1 else f"{units}"
        shares = " | ".join(f"{100 * share:.1f}" for share in held / simulations)
        print(f"| {name} | {each} | {shares} |", flush=True)


def stopping(simulations: int) -> None:
    """Early stopping over domains: how often a watched interval fails, and what it takes."""
    sample = real("reference_tokens")
    names, domain_of = np.unique(sample.domains, return_inverse=True)
    weights = 1 / np.bincount(domain_of, sample.sizes, len(names))[domain_of]
    sizes = sample.sizes * weights
    size = len(sizes)
    looks = np.arange(0, size, ROUND_DOCUMENTS) + ROUND_DOCUMENTS
    looks = np.minimum(looks[looks >= FIRST_LOOK], size) - 1
    orders = np.array([random_order(size, seed) for seed in range(simulations)])
    print("| pair | difference | holds, with replacement | holds, without | decided | "
          "documents, median | wrong |")  # fmt: skip
    for a, b in combinations(sample.models, 2):
        tops = (sample.models[a] - sample.models[b]) * weights
        truth = tops.sum() / sizes.sum()
        again = sequence_coverage(
            sample.models[a] * weights, sample.models[b] * weights, sizes, units=1000,
            planned_units=PLANNED_DOCUMENTS, first_look=FIRST_LOOK, simulations=simulations,
        )  # fmt: skip
        _, lows, highs = ratio_bounds(tops[orders], sizes[orders], PLANNED_DOCUMENTS, 0.05)
        lows, highs = lows[:, looks], highs[:, looks]
        held = ((lows <= truth) & (truth <= highs)).all(axis=1).mean()
        outside = (lows > 0) | (highs < 0)
        sure = outside.any(axis=1)
        first = np.argmax(outside, axis=1)
        wrong = sure & (np.sign(lows[np.arange(simulations), first]) != np.sign(truth))
        took = np.where(sure, looks[first] + 1, size)
        print(f"| {a} - {b} | {truth:+.4f} | {100 * again.share.value:.1f} | {100 * held:.1f} |"
              f" {100 * sure.mean():.1f} | {np.median(took):.0f} of {size} |"
              f" {100 * wrong.mean():.1f} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=2000)
    tables = {"intervals": intervals, "score-rows": score_rows, "stopping": stopping}
    parser.add_argument("--only", choices=tables)
    options = parser.parse_args()
    for name, table in tables.items():
        if options.only in (None, name):
            table(options.simulations)


if __name__ == "__main__":
    main()
