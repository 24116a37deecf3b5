"""litgpt's GPT in a LLaMA's shape, run by the Python of the environment `litgpt`.

    python litgpt_train.py TRIAL

The steps are those of its own `litgpt.pretrain.fit`: Fabric, the whole model compiled, its chunked
loss, its clipping; AdamW is given as fused, which it does itself on GPUs only. TRIAL is a
`benchmarks.trial.Trial`; its form is Fabric's precision, bf16-mixed or bf16-true (which keeps
nothing in fp32). Prints one line of JSON.
"""

from __future__ import annotations

import lightning as L
import torch
from litgpt import GPT, Config
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from litgpt.utils import chunked_cross_entropy

from benchmarks.trial import CLIP, Stopwatch, Trial, adamw


def config_of(trial: Trial) -> Config:
    """litgpt's words for the shape."""
    shape = trial.shape
    return Config(
        block_size=shape["max_position_embeddings"],
        vocab_size=shape["vocab_size"],
        padded_vocab_size=shape["vocab_size"],
        n_layer=shape["num_hidden_layers"],
        n_head=shape["num_attention_heads"],
        n_embd=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        norm_eps=shape["rms_norm_eps"],
        rope_base=int(shape["rope_theta"]),
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )


def main() -> None:
    """Train on the trial's batches."""
    trial = Trial.given()
    watch = Stopwatch(trial)
    fabric = L.Fabric(accelerator="cpu", devices=1, precision=trial.form)
    config = config_of(trial)
    with fabric.init_module():
        model = GPT(config)
    weights: dict[str, torch.Tensor] = {}
    copy_weights_hf_llama(config, {}, weights, trial.weights())
    model.load_state_dict(weights)
    model = fabric.setup(torch.compile(model))
    optimizer = fabric.setup_optimizers(adamw(model))
    for inputs, labels in trial.batches():
        loss = chunked_cross_entropy(model(inputs), labels)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=CLIP)
        optimizer.step()
        optimizer.zero_grad()
        watch.step(loss.item())
    watch.tell()


if __name__ == "__main__":
    main()
