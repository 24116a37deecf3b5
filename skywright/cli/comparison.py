"""What `skywright eval compare` takes and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skywright.cli.console import show_table

if TYPE_CHECKING:
    from skywright.evaluate.compare import EarlyComparison, ModelComparison
    from skywright.evaluate.models import EvaluatedModel


def named_model(text: str) -> EvaluatedModel:
    """FOLDER, named after itself, or NAME=FOLDER."""
    name, given, path = text.partition("=")
    if not given or "/" in name:  # an equals sign within a path
        name, path = Path(text).name, text
    return {"name": name, "path": path, "tokens": 0, "segment": ""}


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
