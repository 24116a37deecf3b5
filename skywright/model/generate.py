"""Text that a model goes on with: sampling with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
import torch
from pydantic import Field
from torch import Tensor

from skywright.config import Config
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.model.cache import KeyValueCache
from skywright.model.decoder import Decoder


class SamplingConfig(Config):
    """How the next token is drawn. `temperature` 0 takes the likeliest, whatever the rest says."""

    tokens: int = Field(default=128, ge=1, description="at most as many are made")
    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(
        default=0.95, ge=0, le=1, description="mass of the likeliest tokens that are drawn from"
    )
    seed: int = Field(default=0, ge=0)


class Vocabulary:
    """The tokenizer that lies in a model's folder, of whatever kind, with its special ids."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError if the folder has no readable tokenizer.json or names no BOS and EOS."""
        folder = Path(folder)
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise UserError(f"{file}: is missing; copy the model's tokenizer there")
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{file}: is no Hugging Face tokenizer ({error})") from None
        self.tokenizer.encode_special_tokens = True  # "<s>" in a prompt is text
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        starts, self.end_ids = self._special(folder, "bos"), self._special(folder, "eos")
        starts = starts or self.end_ids
        if not starts:
            raise UserError(
                f"{folder}: neither config.json nor tokenizer_config.json names a BOS or EOS; "
                "a text must start with one"
            )
        self.start_id = starts[0]

    def _special(self, folder: Path, kind: str) -> list[int]:
        """Ids that config.json gives, else those of the token that tokenizer_config.json names."""
        ids = _field(folder / "config.json", f"{kind}_token_id")
        if ids is None:
            token = _field(folder / "tokenizer_config.json", f"{kind}_token")
            token = token["content"] if isinstance(token, dict) else token
            ids = None if token is None else self.tokenizer.token_to_id(token)
        if ids is None:
            return []
        return ids if isinstance(ids, list) else [ids]

    def encode(self, text: str) -> list[int]:
        """The text's ids behind the start token (BOS, or EOS if there is no BOS)."""
        try:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeEncodeError):
            raise UserError("the prompt holds half of a surrogate pair; repair it") from None
        return [self.start_id, *ids]

    def decode(self, ids: list[int]) -> str:
        """The text of ids, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def _field(file: Path, key: str) -> Any:
    return read_json(file).get(key) if file.is_file() else None


def sample(
    model: Decoder, ids: list[int], config: SamplingConfig, end_ids: list[int]
) -> Iterator[int]:
    """Up to `config.tokens` ids that go on from `ids`; an id of `end_ids` is the last.

    Stops early where the model's context is full. The same model, ids and seed give the same ids.
    """
    generator = torch.Generator().manual_seed(config.seed)
    room = model.config.context_tokens - len(ids)
    weight = model.head.weight
    cache = KeyValueCache(
        model.config, 1, len(ids) + min(config.tokens, room), weight.dtype, weight.device
    )
    new = ids
    for _ in range(min(config.tokens, room)):
        with torch.no_grad(), model.evaluating():
            states = model(torch.tensor([new], device=weight.device), cache=cache)
            logits = model.head.logits(states[0, -1]).float().cpu()
        new = [_draw(logits, config, generator)]
        yield new[0]
        if new[0] in end_ids:
            return


def _draw(logits: Tensor, config: SamplingConfig, generator: torch.Generator) -> int:
    """One id from logits (vocab_size), by nucleus sampling (Holtzman et al. 2020, section 3.1)."""
    if config.temperature == 0:
        return int(logits.argmax())
    probabilities, ids = (logits / config.temperature).softmax(-1).sort(descending=True)
    # The fewest likeliest tokens that reach top_p, and the likeliest in any case.
    before = probabilities.cumsum(-1) - probabilities
    probabilities[1:][before[1:] >= config.top_p] = 0
    return int(ids[probabilities.multinomial(1, generator=generator)])


def continuation(
    model: Decoder, vocabulary: Vocabulary, prompt: str, config: SamplingConfig
) -> Iterator[str]:
    """The prompt's continuation, piece by piece, each as soon as its characters are whole.

    Raises UserError if the prompt does not fit the model's context or its ids the model.
    """
    ids = vocabulary.encode(prompt)
    context, rows = model.config.context_tokens, model.config.vocab_size
    if len(ids) >= context:
        raise UserError(
            f"the prompt has {len(ids)} tokens with the start token, the model's context is "
            f"{context}; shorten it"
        )
    if max(ids) >= rows:
        raise UserError(f"the prompt has id {max(ids)}, the model {rows} rows; wrong tokenizer")
    return _pieces(vocabulary, ids, sample(model, ids, config, vocabulary.end_ids))


def _pieces(vocabulary: Vocabulary, before: list[int], new: Iterator[int]) -> Iterator[str]:
    # Always decoded with what came before, on which spaces may hang. U+FFFD at the end is a
    # character whose last bytes are still to come. The library's own DecodeStream raises an error
    # where bytes never become a character, as those of a young model often do.
    ids, whole = list(before), vocabulary.decode(before)
    shown = len(whole)
    for token in new:
        ids.append(token)
        whole = vocabulary.decode(ids)
        ready = len(whole.rstrip("\N{REPLACEMENT CHARACTER}"))
        if ready > shown:
            yield whole[shown:ready]
            shown = ready
    if len(whole) > shown:
        yield whole[shown:]
