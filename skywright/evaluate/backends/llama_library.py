"""llama.cpp's C functions, as llama-cpp-python carries them, and what it says of a failure."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

from skywright.errors import UserError

PACKAGE = "llama-cpp-python"
_ERROR = 4  # ggml.h: GGML_LOG_LEVEL_ERROR
_ERRORS_KEPT = 8  # one failure is told by every function that it passes


class Library:
    """The functions of llama.h by their names there, and llama.cpp's last errors.

    version: of the package, which carries llama.cpp's source and so names its arithmetic.
    """

    def __init__(self) -> None:
        self.functions: Any = importlib.import_module("llama_cpp.llama_cpp")
        self.version: str = importlib.metadata.version(PACKAGE)
        self._errors: list[str] = []
        # llama.cpp keeps a bare pointer to it. Importing the package has set one that prints all.
        self._listener = self.functions.llama_log_callback(self._listen)
        self.functions.llama_log_set(self._listener, ctypes.c_void_p(0))
        self.functions.llama_backend_init()

    def _listen(self, level: int, text: bytes | None, _: object) -> None:
        if level == _ERROR and text and len(self._errors) < _ERRORS_KEPT:
            self._errors.append(text.decode(errors="replace").strip())

    def told(self) -> str:
        """The first error since the last call, without the C function's name: the cause."""
        errors, self._errors = self._errors, []
        return errors[0].split(": ", 1)[-1] if errors else "it does not say why"

    def load(self, path: Path, **params: object) -> Any:
        """A pointer to the file's model, on the processor; params: fields of llama_model_params.

        Raises `UserError` with llama.cpp's own words if it cannot read the file.
        """
        asked = self.functions.llama_model_default_params()
        asked.n_gpu_layers = 0
        for name, value in params.items():
            setattr(asked, name, value)
        self.told()
        model = self.functions.llama_model_load_from_file(os.fsencode(path), asked)
        if not model:
            raise UserError(
                f"{path}: llama.cpp ({PACKAGE} {self.version}) cannot read this file"
                f" ({self.told()}); copy it again, or take a newer {PACKAGE}"
            )
        return model


@functools.cache
def library() -> Library:
    """llama.cpp, loaded once a process. Raises `UserError` if it is not installed, or broken."""
    if importlib.util.find_spec("llama_cpp") is None:
        raise UserError(
            f"llama-cpp+: {PACKAGE} is not installed; pip install 'skywright[llama-cpp]', which"
            " compiles it"
        )
    try:
        return Library()
    except (OSError, RuntimeError, ImportError) as error:
        raise UserError(
            f"llama-cpp+: {PACKAGE} cannot be loaded ({error}); install it again"
        ) from None
