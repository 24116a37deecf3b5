"""The decoder: token ids in, hidden states out; it knows nothing of parallelism or training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from skywright.engine.files import stable_hash
from skywright.model.attention import Kernel
from skywright.model.cache import KeyValueCache
from skywright.model.config import ModelConfig
from skywright.model.head import Head
from skywright.model.parts import Embedding, Layer, Places, make_norm
from skywright.model.rotary import rotary_tables


def initial_weight(config: ModelConfig, name: str, shape: torch.Size, seed: int) -> Tensor:
    """The fp32 tensor that a parameter starts as; drawn from `seed` and its name alone.

    So it does not matter which process draws it, after what, or whether others are drawn at all.
    Normal with standard deviation sqrt(2 / (5 hidden)) (Nguyen and Salazar 2019, section 2.2,
    as in GPT-NeoX-20B), divided by sqrt(2 layers) for the two projections that write to the
    residual stream (GPT-2, Radford et al. 2019, section 2.3); norms start at 1, biases at 0.
    Measured at hidden 192 (where the rule gives 0.046), LLaMA, tied, after 600k tokens, held
    out: 6.61 nats a token with the usual 0.02, 6.41 with 0.04, 6.40 with 0.07.
    """
    if len(shape) == 1:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0)
    std = (2 / (5 * config.hidden)) ** 0.5
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        std /= (2 * config.layers) ** 0.5
    generator = torch.Generator().manual_seed(int(stable_hash(["initial", seed, name])[:16], 16))
    return torch.empty(shape).normal_(std=std, generator=generator)


class Decoder(nn.Module):
    """The whole model. `model(ids)` gives hidden states; `model.head` turns them into losses."""

    def __init__(self, config: ModelConfig, kernel: Kernel = "auto") -> None:
        """`kernel` says how attention is computed; it changes nothing but speed and rounding."""
        super().__init__()
        self.config = config
        self.recompute = False  # keep each layer's input only, and compute the rest again
        self.embed_tokens = Embedding(config.vocab_size, config.hidden)
        self.embed_positions = None
        if config.architecture == "gpt":
            self.embed_positions = Embedding(config.context_tokens, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config, kernel) for _ in range(config.layers))
        self.norm = make_norm(config)
        self.head = Head(config.hidden, config.vocab_size, config.z_loss)
        if config.tie_embeddings:
            self.head.weight = self.embed_tokens.weight

    def initialise(self, seed: int) -> None:
        """Draw all weights from `seed`, as `initial_weight` does."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(initial_weight(self.config, name, parameter.shape, seed))

    def compile_layers(self) -> None:
        """Compile the layers one by one, at their first use.

        The head stays as it is: it is matrix products for four fifths, and its passes over the
        logits, fused by torch.compile, were measured slower than the single operations.
        """
        for layer in self.layers.children():
            layer.compile(fullgraph=True)

    def forward(
        self, ids: Tensor, positions: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """ids (batch, tokens) int -> hidden states after the last norm (batch, tokens, hidden).

        positions (batch, tokens) int64 starts anew at 0 with each document packed into a row; then
        attention stays within documents. None: each row is one text from position 0, or, with a
        `cache`, goes on where the cache ends. Raises ValueError if the sequence is longer than
        `context_tokens`.
        """
        before = 0 if cache is None else cache.length
        tokens = before + ids.shape[1]
        if tokens > self.config.context_tokens:
            raise ValueError(
                f"{tokens} tokens do not fit a context of {self.config.context_tokens}"
            )
        documents = None
        if positions is None:
            positions = torch.arange(before, tokens, device=ids.device)
        elif cache is not None:
            raise ValueError("a cache holds one text a row; give it no positions")
        else:
            documents = (positions == 0).cumsum(1)
        x = self.embed(ids, positions)
        places = self.places(positions, documents, x.dtype)
        if cache is None:
            return self.norm(self.through_layers(x, places))
        for layer, kept in zip(self.layers, cache.layers, strict=True):
            x = layer(x, places, kept)
        return self.norm(x)

    def through_layers(self, x: Tensor, places: Places) -> Tensor:
        """x (batch, tokens, hidden) after all layers, in order."""
        for layer in self.layers.children():
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, places, use_reentrant=False)
            else:
                x = layer(x, places)
        return x

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """What enters the first layer: (batch, tokens, hidden)."""
        x = self.embed_tokens(ids)
        if self.embed_positions is not None:
            x = x + self.embed_positions(positions)
        return self.dropout(x)

    def places(self, positions: Tensor, documents: Tensor | None, dtype: torch.dtype) -> Places:
        """What every layer is told of where its tokens stand."""
        if self.config.architecture == "gpt":
            return Places(None, documents)
        return Places(rotary_tables(positions, self.config, dtype), documents)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for the length of the block, whatever the mode was before.

        Layers that are compiled run as they are written: texts have every length, and each would be
        compiled anew; and a loss is the same as that of a model that was read from its folder.
        """
        training = self.training
        self.eval()
        try:
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self.train(training)

    def logits(self, ids: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """ids (batch, tokens) -> logits (batch, tokens, vocab_size); for checks and generation."""
        return self.head.logits(self(ids, cache=cache))
