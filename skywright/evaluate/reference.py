"""A reference tokenizer from any folder that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skywright.engine.files import sha256_file
from skywright.errors import UserError
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.tokenizer import Tokenizer


class ForeignTokenizer:
    """Another model's tokenizer, loaded as transformers loads it, without any code of its own."""

    def __init__(self, folder: Path) -> None:
        import transformers

        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder}: no tokenizer that transformers can read ({error}); name a folder with"
                " tokenizer files"
            ) from None
        files = [folder / name for name in ("tokenizer.json", "tokenizer.model")]
        found = [path for path in files if path.is_file()]
        if not found:
            raise UserError(f"{folder}: has neither tokenizer.json nor tokenizer.model; save one")
        self.fingerprint: str = sha256_file(found[0])
        """Hex SHA-256 of the tokenizer's file."""

    def encode(self, text: str) -> np.ndarray:
        """The text's ids, int32; nothing is put before or behind."""
        ids = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return np.asarray(ids, dtype=np.int32)


def open_reference(folder: Path) -> ReferenceTokenizer:
    """The tokenizer in a folder: ours if its special tokens are ours, else as transformers has it.

    Raises `UserError` if there is none.
    """
    try:
        return Tokenizer.load(folder)
    except UserError:
        return ForeignTokenizer(folder)
