"""The identity of a model: the bytes of its weights, its shape and its tokenizer."""

from __future__ import annotations

from pathlib import Path

from skywright.engine.files import sha256_file, stable_hash
from skywright.errors import UserError

_NAMES = (
    "config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip


def folder_fingerprint(folder: Path) -> str:
    """Hex SHA-256 over the Hugging Face folder's weights, configuration and tokenizer files.

    Model cards and other files beside them do not count. Raises `UserError` if the folder has no
    safetensors weights (other formats can run code when they are loaded).
    """
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        raise UserError(
            f"{folder}: no *.safetensors weights here; save the model with safetensors first"
        )
    names = [*weights, *(name for name in _NAMES if (folder / name).is_file())]
    return stable_hash({name: sha256_file(folder / name) for name in names})
