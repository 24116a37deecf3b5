"""The published script of the Skywork report (arXiv 2310.19341, table 6), as far as it is sound.

Facts: SkyworkAI/Skywork, eval/eval_loss.py at 9c0d593. Its earlier versions (such as 19abe84) mask
the losses by one place too far left, so a padded document also pays for the first padding token;
and a tokenizer that pads on the left is scored wrongly in all versions. Neither is emulated.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from skywright.config import Config
from skywright.errors import UserError
from skywright.evaluate.protocols.shape import ModelTerms, Ratio, Window


class Skywork2023(Config):
    """The first max_tokens // 3 characters (1,365), no start token, the first token not scored.

    The cut may split a character as a reader sees it. The loss is a mean over all tokens of a
    domain, turned into reference tokens: loss_a * token_a / token_s, where both counts leave out
    the first token of every document.
    """

    name: Literal["skywork2023"] = "skywork2023"
    max_tokens: int = Field(default=4096, ge=6, description="the script's --max-tokens")

    unit: ClassVar[str] = "nats per reference token"
    follows_frame: ClassVar[bool] = False
    joins_documents: ClassVar[bool] = False

    def cut(self, text: str) -> str:
        """The first max_tokens // 3 code points."""
        return text[: self.max_tokens // 3]

    def windows(self, ids: np.ndarray, terms: ModelTerms) -> list[Window]:
        """One window: all tokens, scored from the second on."""
        ids = ids[: self.max_tokens]
        if len(ids) > terms.context_tokens:
            raise UserError(
                f"protocol skywork2023: a document has {len(ids)} tokens in one piece, the model"
                f" reads {terms.context_tokens}; set its window (window_tokens, --window-tokens) to"
                f" {terms.context_tokens} or less"
            )
        return [Window(ids, 1, 1)] if len(ids) > 1 else []

    def ratio(self, table: pa.Table) -> Ratio:
        """Sum of losses / (sum of reference tokens - documents)."""
        nats, tokens = (
            table[name].to_numpy().astype(np.float64) for name in ("nll_nats", "reference_tokens")
        )
        return Ratio(nats, tokens - 1)
