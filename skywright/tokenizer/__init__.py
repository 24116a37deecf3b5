"""The vocabulary: SentencePiece BPE trained on a balanced sample, written for Hugging Face too.

`sample` chooses the text, `train` makes the folder, `huggingface` writes `tokenizer.json` from the
SentencePiece model, `tokenizer` encodes and decodes, `fertility` measures the compression."""

from skywright.tokenizer.tokenizer import Tokenizer
from skywright.tokenizer.train import TokenizerConfig, train

__all__ = ["Tokenizer", "TokenizerConfig", "train"]
