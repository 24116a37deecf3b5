"""The report's pictures, drawn from what the steps measured; nothing is measured here."""

from skywright.report.figures.curves import training, validation
from skywright.report.figures.data import (
    corpus_funnel,
    mixture_area,
    mixture_pie,
    sources_by_tokens,
)
from skywright.report.figures.measures import branch, final_domains, leak_deltas

__all__ = [
    "branch",
    "corpus_funnel",
    "final_domains",
    "leak_deltas",
    "mixture_area",
    "mixture_pie",
    "sources_by_tokens",
    "training",
    "validation",
]
