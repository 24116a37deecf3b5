"""Uncheatable Eval's chunks and its compression rate.

Facts: Jellyfish042/uncheatable_eval, legacy/eval_model.py at 6ef95d0 (the code behind the tables of
2024 and early 2025), and the rate's formula in evaluator.py. Later versions search a start token
for each model instead.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from skywright.config import Config
from skywright.errors import UserError
from skywright.evaluate.protocols.shape import ModelTerms, Ratio, Window, bits_over


class Uncheatable(Config):
    """Chunks of 1,024 tokens that see nothing of each other, each without its first token.

    Only what the tokenizer itself puts before a text stands there: a model whose tokenizer adds
    BOS pays for a document's first token, another does not; all are spared one token a chunk.
    """

    name: Literal["uncheatable"] = "uncheatable"
    chunk_tokens: int = Field(default=1024, ge=2, description="the script's --chunk_size")

    unit: ClassVar[str] = "compression rate, %"
    follows_frame: ClassVar[bool] = True
    joins_documents: ClassVar[bool] = False

    def cut(self, text: str) -> str:
        """All of it."""
        return text

    def windows(self, ids: np.ndarray, terms: ModelTerms) -> list[Window]:
        """One window a chunk; a last chunk of one token has nothing to score."""
        if self.chunk_tokens > terms.context_tokens:
            raise UserError(
                f"protocol uncheatable: chunks of {self.chunk_tokens} tokens, the model reads"
                f" {terms.context_tokens}; set its window (window_tokens, --window-tokens) to that"
                " or less"
            )
        chunks = [
            (start, ids[start : start + self.chunk_tokens])
            for start in range(0, len(ids), self.chunk_tokens)
        ]
        return [Window(chunk, 1, start + 1) for start, chunk in chunks if len(chunk) > 1]

    def ratio(self, table: pa.Table) -> Ratio:
        """Bits of loss / bits of text, in per cent: 12.5 times the bits per byte."""
        bits, sizes = bits_over(table, "bytes")
        return Ratio(12.5 * bits, sizes)
