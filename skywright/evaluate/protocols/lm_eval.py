"""lm-evaluation-harness's `loglikelihood_rolling` and its bits per byte.

Facts: EleutherAI/lm-evaluation-harness 0.4.13, lm_eval/utils.py and lm_eval/models/huggingface.py.
Special tokens written in a text are text here; there they become the special tokens.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from skywright.config import Config
from skywright.errors import UserError
from skywright.evaluate.protocols.shape import ModelTerms, Ratio, Window, bits_over


class LMEval(Config):
    """Windows that share one token; the last is filled up with context to the left.

    The prefix token (BOS, or EOS if there is none) stands before the document. A tokenizer that
    puts BOS before a text by itself does so here too: the model then reads it twice and pays for
    the second.
    """

    name: Literal["lm-eval"] = "lm-eval"
    max_length: int | None = Field(default=None, ge=2, description="None: the model's context")

    unit: ClassVar[str] = "bits per byte"
    follows_frame: ClassVar[bool] = True
    joins_documents: ClassVar[bool] = False

    def cut(self, text: str) -> str:
        """All of it."""
        return text

    def windows(self, ids: np.ndarray, terms: ModelTerms) -> list[Window]:
        """Windows of max_length predictions each."""
        length = self.max_length or terms.context_tokens
        if length > terms.context_tokens:
            raise UserError(
                f"protocol lm-eval: windows of {length} tokens, the model reads"
                f" {terms.context_tokens}; set its window (window_tokens, --window-tokens) to that"
                " or less"
            )
        text = np.concatenate([[terms.start_token_id], ids]).astype(np.int32)
        made = []
        for done in range(0, len(ids), length):
            end = min(done + length, len(ids))
            begin = max(0, end - length)  # in `text` the prefix stands one place before
            made.append(Window(text[begin : end + 1], done - begin + 1, done))
        return made

    def ratio(self, table: pa.Table) -> Ratio:
        """Sum of losses in bits / sum of UTF-8 bytes."""
        return bits_over(table, "bytes")
