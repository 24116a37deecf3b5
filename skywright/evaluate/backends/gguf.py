"""GGUF files, unpacked once into a Hugging Face folder and scored from there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers

from skywright.engine.files import atomic_folder, sha256_file, stable_hash, write_json
from skywright.errors import UserError
from skywright.evaluate.backends.fingerprint import tokenizer_fingerprint
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.backends.options import BackendOptions

_MAGIC = b"GGUF"  # the first four bytes of every such file (ggml's docs/gguf.md)


def is_gguf(path: Path) -> bool:
    """Whether this names a GGUF file, by its name or by its first bytes."""
    if path.suffix.lower() == ".gguf":
        return True
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(4) == _MAGIC


class GGUFBackend(HFBackend):
    """A GGUF file in a dtype of your choice: its blocks are unpacked, its values are kept.

    The tokenizer is the file's own, rebuilt by transformers, unless another folder is named. The
    unpacked weights (four bytes a parameter) stay in the cache folder, under a name made of the
    file's hash and the versions that unpacked it. Raises `UserError` if the file is damaged or of
    an architecture that transformers cannot unpack, or the extra `gguf` is not installed.
    """

    name = "gguf"

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        dtype: str = "float32",
        options: BackendOptions | None = None,
    ) -> None:
        options = options or BackendOptions()
        self.file = Path(path)
        self._file_hash = check_file(self.file)
        super().__init__(
            unpacked(self.file, self._file_hash, options),
            device,
            dtype,
            tokenizer=options.tokenizer,
            context_tokens=options.context_tokens,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the file, and of the tokenizer's files where that is another."""
        if self._tokenizer_path == self.path:
            return self._file_hash
        return stable_hash([self._file_hash, tokenizer_fingerprint(self._tokenizer_path)])


def check_file(path: Path) -> str:
    """Hex SHA-256 of the file, once it looks like one that can be read."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a GGUF file")
    with open(path, "rb") as stream:
        magic = stream.read(4)
    if magic != _MAGIC:
        raise UserError(f"{path}: is no GGUF file (it begins with {magic!r}); copy it again")
    if "-of-" in path.stem and path.stem.rpartition("-of-")[2].isdigit():
        raise UserError(
            f"{path}: one part of a split file; join the parts first (llama-gguf-split --merge)"
        )
    return sha256_file(path)


def unpacked(path: Path, file_hash: str, options: BackendOptions) -> Path:
    """The cache's folder for this file: fp32 safetensors, configuration and tokenizer.

    With a tokenizer of another folder the file's own is not rebuilt: it may be one that
    transformers cannot read.
    """
    made_by = {
        "file": file_hash,
        "transformers": transformers.__version__,
        "own_tokenizer": options.tokenizer is None,
    }
    folder = options.cache.expanduser() / stable_hash(made_by)[:32]
    if folder.is_dir():
        return folder
    absent = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(
            f"{path}: GGUF files need the packages gguf and accelerate, and {absent[0]} is not"
            " installed; pip install 'skywright[gguf]'"
        )
    with atomic_folder(folder) as temporary:
        _unpack(path, temporary, options.tokenizer is None)
        write_json(temporary / "unpacked.json", made_by | {"name": path.name})
    return folder


def _unpack(path: Path, out: Path, with_tokenizer: bool) -> None:
    # Bars of transformers, and of its reader, which listens to no switch.
    transformers.utils.logging.disable_progress_bar()
    source: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                **source,
                local_files_only=True,
                dtype=torch.float32,
                quantization_config=transformers.GgufConfig(dequantize=True),
            )
            model.save_pretrained(out)
            if with_tokenizer:
                transformers.AutoTokenizer.from_pretrained(
                    **source, local_files_only=True
                ).save_pretrained(out)
    # A cut or unknown file ends in whatever the reader trips over: struct, index, key, value.
    except Exception as error:
        raise UserError(
            f"{path}: transformers cannot unpack this file ({type(error).__name__}: {error}); copy"
            " it again, or serve it (docs/backends.md)"
        ) from None
