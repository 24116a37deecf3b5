"""What `skywright eval compare`, `stability` and `protocols` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skywright.cli.console import show_table

if TYPE_CHECKING:
    from skywright.evaluate.compare import EarlyComparison, ModelComparison, PeriodComparison


def show_comparison(found: ModelComparison) -> None:
    """The leaderboard, and every pair."""
    from skywright.evaluate.compare.numbers import decimal, interval, ranks, value

    show_table(
        [
            {
                "ranks": ranks(row.macro.best_rank, row.macro.worst_rank),
                "model": row.model,
                "perplexity": value(row.macro.perplexity),
                "95 %": interval(row.macro.perplexity),
                "all models": interval(row.macro.simultaneous),
                "bits/byte": value(row.macro.bpb),
                "bits/char": value(row.macro.bits_per_char),
                **{domain: value(cell.perplexity) for domain, cell in row.domains.items()},
            }
            for row in found.rows
        ]
    )
    show_table(
        [
            {
                "a": pair.a,
                "b": pair.b,
                "a - b, nats": value(pair.joint.difference),
                "95 %, all pairs": interval(pair.joint.difference),
                "verdict": pair.verdict,
                "detectable": decimal(pair.joint.detectable),
                "domains": "; ".join(f"{w} in {n}" for w, n in pair.domains_won.items()),
            }
            for pair in found.pairs
        ]
    )


def show_early(found: EarlyComparison) -> None:
    """Every pair with its last look, and what was saved."""
    from skywright.evaluate.compare.numbers import interval, value

    show_table(
        [
            {
                "a": pair.a,
                "b": pair.b,
                "verdict": pair.verdict,
                "a - b, nats": value(pair.difference),
                "95 %, at any time": interval(pair.difference),
                "after documents": pair.difference.n,
            }
            for pair in found.pairs
        ]
    )
    read = ", ".join(f"{model} {count}" for model, count in found.scored_documents.items())
    print(
        f"of {found.documents} documents were scored: {read};"
        f" {100 * found.saved:.0f} % of the text was not needed"
    )


def show_stability(found: PeriodComparison) -> None:
    """Ranks in both periods, what changed of every pair, and how far the rankings agree."""
    from skywright.evaluate.compare.numbers import decimal, interval, p_value, ranks, value
    from skywright.statistics import perplexity

    first, second = ({s.model: s for s in board.standings} for board in found.boards)
    show_table(
        [
            {
                "model": model,
                "ranks, first": ranks(one.best_rank, one.worst_rank),
                "perplexity": value(perplexity(one.loss)),
                "95 %": interval(perplexity(one.loss)),
                "ranks, second": ranks(second[model].best_rank, second[model].worst_rank),
                "perplexity ": value(perplexity(second[model].loss)),
                "95 % ": interval(perplexity(second[model].loss)),
            }
            for model, one in first.items()
        ]
    )
    show_table(
        [
            {
                "a": pair.a,
                "b": pair.b,
                "a - b, first": value(pair.before),
                "second": value(pair.after),
                "change, nats": value(pair.change),
                "95 %": interval(pair.change),
                "p, Holm": p_value(pair.p_adjusted),
                "detectable": decimal(pair.detectable),
                "verdict": pair.verdict,
            }
            for pair in found.stability.interactions
        ]
    )
    tau = found.stability.kendall
    low, high = found.stability.kendall_sure
    print(
        f"Kendall's tau of the two rankings: {decimal(tau.value, 2)} (bootstrap"
        f" {decimal(tau.low, 2)} to {decimal(tau.high, 2)}); the pairs told apart in both periods"
        f" leave {decimal(low, 2)} to {decimal(high, 2)}"
    )


def show_differences(rows: Sequence[Mapping[str, Any]]) -> None:
    """Each protocol's numbers with their intervals and ranks, and how the ranks moved."""
    from skywright.evaluate.compare.numbers import interval, value

    show_table(
        [
            {
                "protocol": row["protocol"],
                **{
                    model: f"{value(found)} ({interval(found)}), rank {row['ranks'][model]}"
                    for model, found in row["values"].items()
                },
                "ranks moved": row["moved"],
                "Kendall tau": row["kendall_tau"],
                "last / first - 1": row["spread"],
            }
            for row in rows
        ]
    )
