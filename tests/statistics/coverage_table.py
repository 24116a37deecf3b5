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
    aggregates,
    interval_coverage,
    linear,
    random_order,
    sequence_coverage,
)
from skywright.statistics.sequential import ratio_bounds
from skywright.statistics.units import Stratum
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
    """The intervals of `eval score` and of a leaderboard: of a domain, and of the mean."""
    print("| losses | units | domain | domain-macro |")
    for name, sample, units in cases():
        (losses, *_), rng = sample.models.values(), np.random.default_rng(0)
        inside = {d: np.flatnonzero(sample.domains == d) for d in np.unique(sample.domains)}
        truths = {d: losses[rows].sum() / sample.sizes[rows].sum() for d, rows in inside.items()}
        held = np.zeros(2)
        for _ in range(simulations):
            drawn = np.concatenate([rng.choice(rows, units) for rows in inside.values()])
            found = aggregates(
                losses[drawn], sample.sizes[drawn], sample.domains[drawn], interval="t"
            )
            held[0] += np.mean([e.low <= truths[d] <= e.high for d, e in found.domains.items()])
            macro = found.domain_macro
            held[1] += macro.low <= np.mean(list(truths.values())) <= macro.high
        each = f"{units} each" if len(inside) > 1 else f"{units}"
        shares = " | ".join(f"{100 * share:.1f}" for share in held / simulations)
        print(f"| {name} | {each} | {shares} |", flush=True)


def small_domains(simulations: int) -> None:
    """t with a few units beside a domain of 40, normal losses; the mean's bound left in place."""
    print("| units | domain-macro | micro | micro, its documents 20 times as long | alone |")
    rng = np.random.default_rng(1)
    many, linear.FEWEST_UNITS = 40, 0
    for few in (2, 3, 4, 5, 8):
        held = np.zeros(4)
        for _ in range(simulations):
            one, other = rng.normal(3, 1, (few, 1)), rng.normal(2, 1, (many, 1))
            parts = [Stratum("few", one, np.ones(few)), Stratum("many", other, np.ones(many))]
            long = [Stratum("few", 20 * one, np.full(few, 20.0)), parts[1]]
            for column, (strata, aggregate, truth) in enumerate([
                (parts, "domain-macro", 2.5),
                (parts, "micro", (3 * few + 2 * many) / (few + many)),
                (long, "micro", (60 * few + 2 * many) / (20 * few + many)),
                (parts[:1], "micro", 3.0),
            ]):  # fmt: skip
                found = linear.linearise(strata, aggregate).estimate()
                held[column] += found.low <= truth <= found.high
        print(f"| {few} |", " | ".join(f"{100 * s:.1f}" for s in held / simulations), "|",
              flush=True)  # fmt: skip


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
    tables = {
        "intervals": intervals, "score-rows": score_rows, "small-domains": small_domains,
        "stopping": stopping,
    }  # fmt: skip
    parser.add_argument("--only", choices=tables)
    options = parser.parse_args()
    for name, table in tables.items():
        if options.only in (None, name):
            table(options.simulations)


if __name__ == "__main__":
    main()
