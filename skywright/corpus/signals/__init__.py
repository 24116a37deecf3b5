"""Signals: the numbers measured on every document, once, before any rule decides.

All are measured on the measure view (`fold.py`) and its mixed tokens (`kernels.py`). Definitions
carry a version: the same name elsewhere often means another formula.
"""

from skywright.corpus.signals.counts import LINE_FLAGS
from skywright.corpus.signals.registry import EN_STOP_WORDS, SIGNALS, Signal, View
from skywright.corpus.signals.table import (
    LINES_SCHEMA,
    SCHEMA,
    VERSION,
    Measured,
    measure,
    measure_with_lines,
)

__all__ = [
    "EN_STOP_WORDS", "LINES_SCHEMA", "LINE_FLAGS", "SCHEMA", "SIGNALS", "VERSION", "Measured",
    "Signal", "View", "measure", "measure_with_lines",
]  # fmt: skip
