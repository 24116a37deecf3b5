"""Several models on the same documents: a leaderboard, every pair, and where they differ.

`scores` lays the models' scores side by side; `board`, `pairs`, `places` and `documents` compute
what `result` holds; `cells` and `pages` draw it, and `run` does all of it in one call. `early` is
another way: it scores only as many documents as it takes to tell models apart. `periods` asks
whether the ranking holds on newer documents.
"""

from skywright.evaluate.compare.board import Cell, Row
from skywright.evaluate.compare.documents import DocumentLine, Gaps
from skywright.evaluate.compare.early import EarlyComparison, EarlyPair, compare_early
from skywright.evaluate.compare.pairs import Pair
from skywright.evaluate.compare.periods import PeriodComparison, compare_periods
from skywright.evaluate.compare.places import Flagged, Position
from skywright.evaluate.compare.result import ModelComparison, SetFacts, compare_scores
from skywright.evaluate.compare.run import compare
from skywright.evaluate.compare.scores import Scores, gather

__all__ = [
    "Cell",
    "DocumentLine",
    "EarlyComparison",
    "EarlyPair",
    "Flagged",
    "Gaps",
    "ModelComparison",
    "Pair",
    "PeriodComparison",
    "Position",
    "Row",
    "Scores",
    "SetFacts",
    "compare",
    "compare_early",
    "compare_periods",
    "compare_scores",
    "gather",
]
