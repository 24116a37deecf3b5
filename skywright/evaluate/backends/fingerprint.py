"""The identity of a model: the bytes of its weights, its shape and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from skywright.engine.files import sha256_file, stable_hash
from skywright.errors import UserError

_TOKENIZER = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip


def _hash_files(folder: Path, names: Iterable[str]) -> str:
    return stable_hash(
        {name: sha256_file(folder / name) for name in names if (folder / name).is_file()}
    )


def tokenizer_fingerprint(folder: Path) -> str:
    """Hex SHA-256 over the tokenizer files of a folder, whatever else lies there."""
    return _hash_files(folder, _TOKENIZER)


def folder_fingerprint(folder: Path, code: bool = False) -> str:
    """Hex SHA-256 over the Hugging Face folder's weights, configuration and tokenizer files.

    code: Python files count too, because they are run. Model cards and other files do not count.
    Raises `UserError` if the folder has no safetensors weights (other formats can run code when
    they are loaded).
    """
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        raise UserError(
            f"{folder}: no *.safetensors weights here; save the model with safetensors first"
        )
    python = sorted(path.name for path in folder.glob("*.py")) if code else []
    return _hash_files(folder, [*weights, "config.json", *_TOKENIZER, *python])
