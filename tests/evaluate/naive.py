"""What the scorer is held against: transformers alone, one document at a time, nothing shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers


class NaiveLoss(NamedTuple):
    """Of one document: its loss, that of its first token (both nats), and its tokens."""

    nats: float
    first: float
    tokens: int


class NaiveLoop:
    """A Hugging Face folder, or a GGUF file that transformers unpacks, in float32."""

    def __init__(self, model: Path) -> None:
        source: dict[str, Any] = {"pretrained_model_name_or_path": model}
        unpacked: dict[str, Any] = {}
        if model.suffix == ".gguf":
            source = {"pretrained_model_name_or_path": model.parent, "gguf_file": model.name}
            unpacked["quantization_config"] = transformers.GgufConfig(dequantize=True)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            **source, **unpacked, dtype=torch.float32
        )
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        self._start = eos if bos is None else bos

    @torch.no_grad()
    def loss(self, text: str) -> NaiveLoss:
        """The start token and all tokens in one window; every token scored, sums in float64."""
        ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        window = torch.tensor([[self._start, *ids]])
        logits = self._model(input_ids=window).logits[0, :-1].double()
        losses = -logits.log_softmax(-1).gather(-1, window[0, 1:, None])[:, 0]
        return NaiveLoss(float(losses.sum()), float(losses[0]), len(ids))
