"""The sliding window of "Compression Represents Intelligence Linearly" (arXiv 2404.09937).

Facts: hkust-nlp/llm-compression-intelligence, code/evaluation/main.py at 1cea8c1 and
packed_dataset.py at 06ca826.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from skywright.config import Config
from skywright.errors import UserError
from skywright.evaluate.protocols.shape import ModelTerms, Ratio, Window, bits_over


class LLMCompression(Config):
    """All documents as one text, read in windows of 1,900 tokens that move on by 512.

    The first window's tokens are scored, then the last 512 of each. The tail that does not fill
    a step is not scored, but its characters count; tokens see the end of the document before.
    """

    name: Literal["llm-compression"] = "llm-compression"
    block_tokens: int = Field(default=1900, ge=2, description="the script's --block_size")
    stride_tokens: int = Field(default=512, ge=1, description="the script's --stride")

    unit: ClassVar[str] = "bits per character"
    follows_frame: ClassVar[bool] = True
    joins_documents: ClassVar[bool] = True

    def cut(self, text: str) -> str:
        """All of it."""
        return text

    def windows(self, ids: np.ndarray, terms: ModelTerms) -> list[Window]:
        """Windows of block_tokens + 1 tokens (the last is only predicted), stride_tokens apart."""
        if self.block_tokens > terms.context_tokens or self.stride_tokens > self.block_tokens:
            raise UserError(
                f"protocol llm-compression: windows of {self.block_tokens} tokens that move on by"
                f" {self.stride_tokens}, the model reads {terms.context_tokens}; set its window"
                " (window_tokens, --window-tokens) to that or less"
            )
        if len(ids) <= self.block_tokens:
            raise UserError(
                f"protocol llm-compression: the set has {len(ids)} tokens, a window needs"
                f" {self.block_tokens + 1}; take a larger set"
            )
        made = []
        for begin in range(0, len(ids) - self.block_tokens, self.stride_tokens):
            first = 1 if begin == 0 else self.block_tokens + 1 - self.stride_tokens
            window = ids[begin : begin + self.block_tokens + 1]
            made.append(Window(window, first, begin + first))
        return made

    def ratio(self, table: pa.Table) -> Ratio:
        """Sum of losses in bits / sum of code points."""
        return bits_over(table, "chars")
