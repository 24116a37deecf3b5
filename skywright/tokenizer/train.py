"""Train a SentencePiece BPE vocabulary and write it for SentencePiece and for Hugging Face."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from pydantic import Field, field_validator

from skywright.config import ByteSize, Config
from skywright.engine.files import atomic_folder, read_json, write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.tokenizer.fertility import fertility
from skywright.tokenizer.huggingface import tokenizer_config, tokenizer_json
from skywright.tokenizer.sample import Document, lines, sample
from skywright.tokenizer.tokenizer import Tokenizer


class TokenizerConfig(Config):
    """What vocabulary to train, on how much of which languages."""

    vocab_size: int = Field(default=8192, ge=300, le=2**20)
    sample_bytes: ByteSize = Field(default=8_000_000, ge=1000)
    weights: dict[str, float] = {"en": 1.0, "zh-Hans": 1.0, "zh-Hant": 0.2, "code": 0.4}
    """Shares of the sample by language; a language that is not named is not read."""
    character_coverage: float = Field(default=0.998, gt=0.9, le=1.0)
    """Share of the sample's characters that get a piece of their own; the rest are spelt in
    bytes. Measured for 8,192 pieces on the example crawl: see docs/tokenizer.md."""
    seed: int = 1

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        if not weights or min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ValueError("weights must not be negative, and one must be above zero")
        return weights


def train_model(config: TokenizerConfig, text_lines: Iterator[str], threads: int = 1) -> bytes:
    """Train on lines and return SentencePiece's `.model`; the same lines give the same bytes.

    LLaMA's settings (arXiv:2302.13971, section 2.1: BPE, digits split, bytes for unknown
    characters; the ids of <unk>, <s>, </s> and bytes as in its released model) with two changes.
    No space is put before a text, so that decoding gives back what was there and a Chinese text
    does not begin with a space; and pieces of spaces alone are learned, for indented code.
    """
    output = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=text_lines,
            model_writer=output,
            model_type="bpe",
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=True,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=threads,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"tokenizer, vocab_size {config.vocab_size}: SentencePiece cannot train it on this"
            f" sample ({str(error).splitlines()[-1].strip()}); give it more text, fewer pieces, or"
            " a lower character_coverage"
        ) from None
    return output.getvalue()


def train(
    config: TokenizerConfig,
    documents: Iterable[Document],
    out: Path,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train on documents (language, source, text) and write the folder `out`; return its summary.

    Files: `tokenizer.json` and `tokenizer_config.json` (Hugging Face), `tokenizer.model`
    (SentencePiece), `summary.json`. The order of the documents does not matter. A folder that is
    there already is left as it is. Raises `UserError` if no document has a weighted language.
    """
    out = Path(out)
    if (out / "summary.json").is_file():
        return read_json(out / "summary.json")
    progress(0, 3, "choosing the sample")
    chosen = sample(documents, config.weights, config.sample_bytes, config.seed)
    if not any(chosen.values()):
        raise UserError(
            f"tokenizer, weights: no document is in {', '.join(sorted(config.weights))};"
            " name the languages of your corpus"
        )
    progress(1, 3, "training the vocabulary")
    everything = (line for lang in sorted(chosen) for line in lines(chosen[lang]))
    model_bytes = train_model(config, everything)
    model = sentencepiece.SentencePieceProcessor(model_proto=model_bytes)
    definition = tokenizer_json(model).encode()
    progress(2, 3, "measuring the vocabulary")
    summary = _summary(Tokenizer(definition, str(out)), chosen)
    with atomic_folder(out) as temporary:
        (temporary / "tokenizer.model").write_bytes(model_bytes)
        (temporary / "tokenizer.json").write_bytes(definition)
        write_json(temporary / "tokenizer_config.json", tokenizer_config())
        write_json(temporary / "summary.json", summary)
    progress(3, 3, "vocabulary written")
    return summary


def _summary(tokenizer: Tokenizer, chosen: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint,
        "measured_on": "the documents it was trained on",
        "rows": [fertility(tokenizer, lang, texts) for lang, texts in chosen.items() if texts],
    }
