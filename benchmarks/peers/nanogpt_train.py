"""A training loop in the manner of nanoGPT, with a LLaMA in place of its GPT.

    python nanogpt_train.py TRIAL

The manner (github.com/karpathy/nanoGPT): one short model, queries, keys and values from one
product, torch's attention, fp32 weights under bf16 autocast, fused AdamW, the whole model compiled.
TRIAL is a `benchmarks.trial.Trial`. Prints one line of JSON.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.trial import CLIP, Stopwatch, Trial, adamw


class Block(nn.Module):
    """Attention and SwiGLU, each on a normalised copy."""

    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.RMSNorm(width, eps), nn.RMSNorm(width, eps)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, False)
        self.gate, self.up = nn.Linear(width, inner, False), nn.Linear(width, inner, False)
        self.down = nn.Linear(inner, width, False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same."""
        batch, tokens, width = x.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(width, -1)
        )
        q, k = turn(q, cos, sin), turn(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, tokens, width))
        h = self.norm_2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, the two halves of a head being the pairs."""
    first, second = x.chunk(2, -1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    return turned.to(x.dtype)


class Model(nn.Module):
    """The whole LLaMA; gives the mean loss."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        shape = trial.shape
        width, heads = shape["hidden_size"], shape["num_attention_heads"]
        self.embed = nn.Embedding(shape["vocab_size"], width)
        self.blocks = nn.ModuleList(
            Block(width, heads, shape["intermediate_size"], shape["rms_norm_eps"])
            for _ in range(shape["num_hidden_layers"])
        )
        self.norm = nn.RMSNorm(width, shape["rms_norm_eps"])
        self.head = nn.Linear(width, shape["vocab_size"], bias=False)
        size, theta = width // heads, shape["rope_theta"]
        speeds = theta ** (-torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(shape["max_position_embeddings"]), speeds)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self._take(trial.weights())

    def _take(self, weights: dict[str, Tensor]) -> None:
        """The trial's weights by this model's names."""
        state = {
            "embed.weight": weights["model.embed_tokens.weight"],
            "norm.weight": weights["model.norm.weight"],
            "head.weight": weights["lm_head.weight"],
        }
        names = {
            "norm_1": "input_layernorm", "norm_2": "post_attention_layernorm",
            "out": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
            "down": "mlp.down_proj",
        }  # fmt: skip
        for number in range(len(self.blocks)):
            before = f"model.layers.{number}"
            for ours, theirs in names.items():
                state[f"blocks.{number}.{ours}.weight"] = weights[f"{before}.{theirs}.weight"]
            parts = [weights[f"{before}.self_attn.{part}_proj.weight"] for part in "qkv"]
            state[f"blocks.{number}.qkv.weight"] = torch.cat(parts)
        self.load_state_dict(state)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """inputs, labels (batch, tokens) -> a scalar."""
        x = self.embed(inputs)
        cos, sin = self.cos[: inputs.shape[1]], self.sin[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def main() -> None:
    """Train on the trial's batches."""
    trial = Trial.given()
    watch = Stopwatch(trial)
    model = Model(trial)
    compiled, optimizer = torch.compile(model), adamw(model)
    for inputs, labels in trial.batches():
        with torch.autocast("cpu", torch.bfloat16):
            loss = compiled(inputs, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        watch.step(loss.item())
    watch.tell()


if __name__ == "__main__":
    main()
