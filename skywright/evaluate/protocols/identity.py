"""A protocol by name, and the record of all that decides a document's numbers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import skywright
from skywright.engine.files import stable_hash
from skywright.errors import UserError
from skywright.evaluate.backends import Backend
from skywright.evaluate.protocols.llm_compression import LLMCompression
from skywright.evaluate.protocols.lm_eval import LMEval
from skywright.evaluate.protocols.own import Protocol
from skywright.evaluate.protocols.shape import ModelTerms, ScoringProtocol
from skywright.evaluate.protocols.skywork2023 import Skywork2023
from skywright.evaluate.protocols.uncheatable import Uncheatable

SCORING_VERSION = 5
"""Raised when the same protocol would give other numbers; it is part of the protocol's hash."""

PROTOCOLS = ("skywright", "skywork2023", "lm-eval", "uncheatable", "llm-compression")
"""Names that `named` knows."""

_LIBRARIES = ("torch", "transformers", "tokenizers")


def named(
    name: str, max_chars: int | None = None, window_tokens: int | None = None
) -> ScoringProtocol:
    """The protocol called so.

    max_chars: the cut of a document, of our own protocol alone. window_tokens: the longest
    window instead of the protocol's own, for models that read less; llm-compression's step
    shrinks with it. Raises `UserError` for a name that is none, or a window that is too short.
    """
    if name not in PROTOCOLS:
        raise UserError(f"protocol {name!r}: choose one of {', '.join(PROTOCOLS)}")
    if window_tokens is not None and window_tokens < 6:
        raise UserError(f"window of {window_tokens} tokens: too short; 6 is the least")
    window = window_tokens
    if name == "skywork2023":
        return Skywork2023() if window is None else Skywork2023(max_tokens=window)
    if name == "lm-eval":
        return LMEval(max_length=window)
    if name == "uncheatable":
        return Uncheatable() if window is None else Uncheatable(chunk_tokens=window)
    if name == "llm-compression":
        if window is None:
            return LLMCompression()
        return LLMCompression(block_tokens=window, stride_tokens=max(1, window * 512 // 1900))
    if window is None:
        return Protocol(max_chars=max_chars)
    return Protocol(max_chars=max_chars, max_context_tokens=window)


def protocol_record(
    protocol: ScoringProtocol, backend: Backend, reference_fingerprint: str
) -> dict[str, Any]:
    """All that decides a document's numbers besides the model and the text."""
    terms = ModelTerms.of(backend)
    return {
        **protocol.model_dump(),
        "scoring_version": SCORING_VERSION,
        "skywright": skywright.__version__,
        "backend": backend.name,
        "device_kind": backend.device_kind,
        "dtype": backend.dtype,
        "context_tokens": terms.context_tokens,
        "start_token_id": terms.start_token_id,
        "frame": [list(ids) for ids in terms.frame],
        "reference_tokenizer": reference_fingerprint,
        **{library: version(library) for library in _LIBRARIES},
        **getattr(backend, "libraries", {}),  # its own, by name: where it computes with others
    }


def protocol_hash(protocol: ScoringProtocol, backend: Backend, reference_fingerprint: str) -> str:
    """Hex SHA-256 of the protocol as it applies to this back-end."""
    return stable_hash(protocol_record(protocol, backend, reference_fingerprint))
