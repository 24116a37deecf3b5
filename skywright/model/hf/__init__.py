"""Hugging Face folders: written, read, and checked; one file for each layout."""

from skywright.model.hf.folder import (
    MAX_LOGIT_DIFFERENCE,
    TOKENIZER_FILES,
    TORCH_DTYPES,
    Dtype,
    export,
    load_hf,
    verify,
)

__all__ = [
    "MAX_LOGIT_DIFFERENCE",
    "TOKENIZER_FILES",
    "TORCH_DTYPES",
    "Dtype",
    "export",
    "load_hf",
    "verify",
]
