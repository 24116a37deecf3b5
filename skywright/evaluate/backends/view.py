"""What a tokenizer would do by itself, for those who have to check it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from skywright.tokenizer import Tokenizer


class TokenizerView(Protocol):
    """A tokenizer as its other users meet it; scoring needs none of this.

    size: ids that it knows, added ones included; bos_id, eos_id, unk_id: None where it has none;
    padding_side: "left" or "right", where its own batches are padded.
    """

    @property
    def size(self) -> int: ...
    @property
    def bos_id(self) -> int | None: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def unk_id(self) -> int | None: ...
    @property
    def padding_side(self) -> str: ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids; nothing is left out and nothing tidied up."""
        ...

    def encode_by_default(self, text: str) -> list[int]:
        """Ids as the tokenizer gives them unasked, with the special tokens that it adds."""
        ...


class TransformersView:
    """The view of a tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.size: int = len(tokenizer)
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        self.unk_id: int | None = tokenizer.unk_token_id
        self.padding_side: str = tokenizer.padding_side

    def decode(self, ids: Sequence[int]) -> str:
        """See `TokenizerView.decode`."""
        text: str = self._tokenizer.decode(
            [int(i) for i in ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def encode_by_default(self, text: str) -> list[int]:
        """See `TokenizerView.encode_by_default`."""
        return list(self._tokenizer(text, verbose=False)["input_ids"])


class SkywrightView:
    """The view of our own tokenizer, which adds nothing unasked and has no unknown token."""

    unk_id = None
    padding_side = "right"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.size: int = tokenizer.vocab_size
        self.bos_id: int | None = tokenizer.bos_id
        self.eos_id: int | None = tokenizer.eos_id

    def decode(self, ids: Sequence[int]) -> str:
        """See `TokenizerView.decode`."""
        return self._tokenizer.decode(ids)

    def encode_by_default(self, text: str) -> list[int]:
        """See `TokenizerView.encode_by_default`."""
        return [int(i) for i in self._tokenizer.encode(text)]
