"""Small random models with a real tokenizer, as Hugging Face folders, and small sets."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
import transformers

from skywright.evaluate.backends.packed import can_pack
from skywright.sets import EvaluationDocument, EvaluationSet, document_id
from skywright.sets.schema import make_set

TEXTS = (
    "The quick brown fox jumps over the lazy dog, and then the dog sleeps.",
    "语言模型按顺序预测每一个词元，因此可以计算整段文字的概率。",
    "Tom has 5 + 3 = <<5+3=8>>8 apples.\n#### 8",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "short",
    "A literal <s> in a text is text. 👩‍🔬 " + "Words and more words follow one another. " * 12,
)


SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip
"""Of a configuration of the LLaMA family, for models without a tokenizer."""

PACKABLE = [d for d in (torch.float32, torch.bfloat16) if can_pack(torch.zeros(1, dtype=d))]
"""Dtypes whose layers can be packed on this machine."""


def write_tokenizer(
    folder: Path, bos: bool = True, adds_bos: bool = False, vocab_size: int = 400
) -> None:
    """A byte-level BPE with </s>, and <s> if `bos`, which it puts before a text if `adds_bos`."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if adds_bos:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    special = {"eos_token": "</s>"} | ({"bos_token": "<s>"} if bos else {})
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(
        folder
    )


def write_llama(
    folder: Path,
    seed: int = 0,
    context: int = 64,
    bos: bool = True,
    adds_bos: bool = False,
    vocab_size: int = 400,
) -> Path:
    """A random two-layer LLaMA with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, bos, adds_bos, vocab_size)
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            initializer_range=0.2,
        )
    )
    model.save_pretrained(folder)
    return folder


def make(texts: tuple[str, ...], name: str = "mixed", purpose: str = "domain") -> EvaluationSet:
    """An evaluation set of these texts."""
    documents = [
        EvaluationDocument(document_id(t), t, name, "en", None, None, "CC0-1.0") for t in texts
    ]
    return make_set(name, name, "en", documents, purpose, "test")
