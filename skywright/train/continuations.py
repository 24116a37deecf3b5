"""What a model in training goes on with from a few fixed prompts: text for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from skywright.errors import UserError
from skywright.model.decoder import Decoder
from skywright.model.generate import SamplingConfig, Vocabulary, continuation

Continuation = dict[str, str]
"""`prompt`, and `text` or, where none could be made, `problem`."""


def continuations(
    model: Decoder, tokenizer_folder: Path, prompts: Sequence[str], sampling: SamplingConfig
) -> list[Continuation]:
    """Each prompt with the model's text after it, from the weights as they are.

    The model is left as it was and no random state but `sampling`'s own is used, so training goes
    on as if nothing had been asked. A prompt that does not fit the model, or logits that cannot
    be drawn from, become a `problem`: whoever watches a run must not end it.
    """
    if not prompts:
        return []
    try:
        vocabulary = Vocabulary(tokenizer_folder)
    except UserError as error:
        return [{"prompt": prompt, "problem": str(error)} for prompt in prompts]
    # Every token is a text of another length, and a compiled layer would be compiled for each.
    with torch.compiler.set_stance("force_eager"):
        return [_continued(model, vocabulary, prompt, sampling) for prompt in prompts]


def _continued(
    model: Decoder, vocabulary: Vocabulary, prompt: str, sampling: SamplingConfig
) -> Continuation:
    try:
        text = "".join(continuation(model, vocabulary, prompt, sampling))
    except (UserError, RuntimeError) as error:  # torch's, of NaN in what is drawn from
        return {"prompt": prompt, "problem": str(error).partition("\n")[0]}
    return {"prompt": prompt, "text": text}


def text_of(found: Continuation) -> str:
    """The text, or the problem in brackets."""
    return found["text"] if "text" in found else f"({found['problem']})"


def in_one_line(text: str) -> str:
    """`text` with nothing in it that breaks a line or moves a terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
