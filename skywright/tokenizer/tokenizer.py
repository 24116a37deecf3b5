"""Text to ids and back, from a folder with a `tokenizer.json`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import tokenizers

from skywright.errors import UserError
from skywright.tokenizer.encoder import FastEncoder, Unsupported
from skywright.tokenizer.huggingface import BOS, EOS
from skywright.tokenizer.widths import id_bytes


class Tokenizer:
    """A vocabulary with its merges.

    `decode(encode(text)) == text` for every Unicode text; where a space is put before a text
    (vocabularies grown from LLaMA's), U+2581 comes back as a space.
    """

    def __init__(self, definition: bytes, where: str) -> None:
        """`definition` is the content of a `tokenizer.json`; `where` is named in errors."""
        try:
            self._model = tokenizers.Tokenizer.from_buffer(definition)
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{where}: is no Hugging Face tokenizer ({error})") from None
        # "<s>" inside a text is three characters, never the start token.
        self._model.encode_special_tokens = True
        self._model.no_padding()
        self._model.no_truncation()
        self._definition, self._where = definition, where
        self._fast: FastEncoder | Literal[False] | None = None  # False: not for this form
        self._widths: tuple[np.ndarray, int] | None = None
        self.fingerprint: str = hashlib.sha256(definition).hexdigest()
        """Hex SHA-256 of `tokenizer.json`."""
        self.vocab_size: int = self._model.get_vocab_size(with_added_tokens=True)
        self.bos_id: int = self._special(BOS)
        self.eos_id: int = self._special(EOS)
        added = self._model.get_added_tokens_decoder().items()
        self.reserved_ids: tuple[int, ...] = tuple(
            sorted(i for i, token in added if re.fullmatch(r"<\|reserved_\d+\|>", token.content))
        )
        """Ids of the symbols that no text makes, for markers of one's own."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read `folder/tokenizer.json`. Raises `UserError` if it is missing or not readable."""
        path = Path(folder) / "tokenizer.json"
        try:
            definition = path.read_bytes()
        except OSError:
            raise UserError(
                f"{path}: is missing; name a folder that holds a tokenizer.json"
            ) from None
        return cls(definition, str(path))

    def _special(self, token: str) -> int:
        found = self._model.token_to_id(token)
        if found is None:
            raise UserError(f"{self._where}: has no token {token!r}; train or choose another one")
        return found

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[bytes, str]]:
        return Tokenizer, (self._definition, self._where)

    def encode(self, text: str) -> np.ndarray:
        """The text's ids, int32, shape (tokens,); nothing is put before or behind."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` for each text, on several threads where the library finds them.

        Raises `UserError` for a text that holds half of a surrogate pair: it is no Unicode text.
        """
        try:
            found = self._model.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            for number, text in enumerate(texts):
                if any("\ud800" <= char <= "\udfff" for char in text):
                    raise UserError(
                        f"text {number}: holds half of a surrogate pair, which no encoding can"
                        " carry; repair or drop the document"
                    ) from None
            raise
        return [np.array(encoding.ids, dtype=np.int32) for encoding in found]

    def encode_column(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """`encode` for a column of texts: ids int32 of all, one after another, and where each
        text's begin, int64 (texts + 1,).

        On one thread; about ten times as fast as `encode_batch` for vocabularies that
        `FastEncoder` reads, which give the same ids.
        """
        if self._fast is None:
            try:
                self._fast = FastEncoder(self._definition, self._where)
            except Unsupported:
                self._fast = False
        if self._fast:
            return self._fast.encode(texts)
        found = self.encode_batch(texts.to_pylist())
        starts = np.cumsum([0, *(len(ids) for ids in found)], dtype=np.int64)
        return np.concatenate([np.zeros(0, np.int32), *found]), starts

    def text_bytes(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """UTF-8 bytes of the text of documents whose ids stand one after another.

        `lengths` (documents,) int64 sum to the ids; BOS and EOS stand for no text.
        """
        if self._widths is None:
            self._widths = id_bytes(self._definition, self._where)
        widths, stripped = self._widths
        ends = np.cumsum(lengths)
        upto = np.concatenate([[0], np.cumsum(widths[tokens], dtype=np.int64)])
        found = upto[ends] - upto[ends - lengths]
        return found - np.minimum(found, stripped)

    @cached_property
    def pieces(self) -> list[str]:
        """Every id's piece as `tokenizer.json` writes it."""
        return [self._model.id_to_token(i) or "" for i in range(self.vocab_size)]

    def encode_piece(self, piece: str) -> list[int]:
        """The ids that the merges make of a piece, without anything put before it."""
        return [token.id for token in self._model.model.tokenize(piece)]

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of ids, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        return self._model.decode([int(i) for i in ids], skip_special_tokens=True)
