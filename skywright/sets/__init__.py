"""Evaluation sets: frozen, named collections of documents that a corpus holds out and a model is
measured on. `schema` says what they are, `folder` writes and reads them."""

from skywright.sets.folder import freeze, load
from skywright.sets.schema import PURPOSES, EvaluationDocument, EvaluationSet, document_id

__all__ = ["PURPOSES", "EvaluationDocument", "EvaluationSet", "document_id", "freeze", "load"]
