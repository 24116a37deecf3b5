"""The vocabulary: SentencePiece BPE, trained or grown, written for Hugging Face too.

`sample` chooses the text, `train` makes a vocabulary from it, `extend` grows one that is there by
characters and `words` (`reach` sees to it that none is in vain). `model_file` and `huggingface`
write the two forms of the folder, `tokenizer` encodes and decodes (`encoder`, on its
`bpe_kernels`, does whole columns; `widths` knows how many bytes an id stands for), `fertility`
measures the compression, `report` compares tokenizers (`readers` opens other people's)."""

from skywright.tokenizer.config import ExtendConfig, TokenizerConfig
from skywright.tokenizer.extend import extend
from skywright.tokenizer.tokenizer import Tokenizer
from skywright.tokenizer.train import train

__all__ = ["ExtendConfig", "Tokenizer", "TokenizerConfig", "extend", "train"]
