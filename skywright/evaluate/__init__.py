"""Losses of documents: back-ends, protocols, the score store, domain summaries, multiple choice."""

from skywright.evaluate.config import EvaluateConfig
from skywright.evaluate.step import EvaluatedModel, run

__all__ = ["EvaluateConfig", "EvaluatedModel", "run"]
