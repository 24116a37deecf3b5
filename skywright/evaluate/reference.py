"""A reference tokenizer from any folder that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skywright.engine.files import sha256_file
from skywright.errors import UserError
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.tokenizer import Tokenizer


class ForeignTokenizer:
    """Another model's tokenizer, as transformers loads it; its own code runs only if trusted."""

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        from skywright.evaluate.backends.loading import read_tokenizer

        files = [folder / name for name in ("tokenizer.json", "tokenizer.model")]
        found = [path for path in files if path.is_file()]
        if not found:
            raise UserError(
                f"{folder}: has neither tokenizer.json nor tokenizer.model; name a folder that has"
                " one with --reference"
            )
        self._tokenizer = read_tokenizer(folder, trust_remote_code)
        self.fingerprint: str = sha256_file(found[0])
        """Hex SHA-256 of the tokenizer's file."""

    def encode(self, text: str) -> np.ndarray:
        """The text's ids, int32; nothing is put before or behind."""
        ids = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return np.asarray(ids, dtype=np.int32)


def open_reference(folder: Path, trust_remote_code: bool = False) -> ReferenceTokenizer:
    """The tokenizer in a folder: ours if its special tokens are ours, else as transformers has it.

    trust_remote_code: run the folder's Python files. Raises `UserError` if there is none.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no folder here to take a reference tokenizer from; check the path, or name"
            " one with --reference (a server's with --tokenizer)"
        )
    try:
        return Tokenizer.load(folder)
    except UserError:
        return ForeignTokenizer(folder, trust_remote_code)
