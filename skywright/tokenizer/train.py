"""Train a SentencePiece BPE vocabulary and write it for SentencePiece and for Hugging Face."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from skywright.engine.files import atomic_folder, read_json, write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.tokenizer.config import TokenizerConfig
from skywright.tokenizer.fertility import fertility
from skywright.tokenizer.huggingface import reserved_pieces, tokenizer_config, tokenizer_json
from skywright.tokenizer.model_file import add_pieces, read_model
from skywright.tokenizer.sample import Document, by_lang, lines, sample
from skywright.tokenizer.tokenizer import Tokenizer


def train_model(config: TokenizerConfig, text_lines: Iterator[str], threads: int = 1) -> bytes:
    """Train on lines and return SentencePiece's `.model`; the same lines give the same bytes.

    LLaMA's settings (arXiv:2302.13971, section 2.1: BPE, digits split, bytes for unknown
    characters; the ids of <unk>, <s>, </s> and bytes as in its released model) with two changes.
    No space is put before a text, so that decoding gives back what was there and a Chinese text
    does not begin with a space; and pieces of spaces alone are learned, for indented code. Reserved
    symbols are put behind the pieces.
    """
    output = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=text_lines,
            model_writer=output,
            model_type="bpe",
            vocab_size=config.vocab_size - config.reserved,
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
    model = output.getvalue()
    return add_pieces(model, reserved_pieces(read_model(model), config.reserved))


def train(
    config: TokenizerConfig,
    documents: Iterable[Document],
    out: Path,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train on documents (language, source, text) and write the folder `out`; return its summary.

    Files: `tokenizer.json` and `tokenizer_config.json` (Hugging Face), `tokenizer.model`
    (SentencePiece), `summary.json`. The order of the documents does not matter. A folder that is
    there already is left as it is. Raises `UserError` if no document has a weight.
    """
    out = Path(out)
    if (out / "summary.json").is_file():
        return read_json(out / "summary.json")
    progress(0, 3, "choosing the sample")
    chosen = choose_sample(config, documents)
    progress(1, 3, "training the vocabulary")
    texts = (text for group in sorted(chosen) for _, _, text in chosen[group])
    model_bytes = train_model(config, lines(texts))
    definition = tokenizer_json(read_model(model_bytes)).encode()
    progress(2, 3, "measuring the vocabulary")
    summary = _summary(Tokenizer(definition, str(out)), chosen, config.reserved)
    write_folder(out, model_bytes, definition, summary)
    progress(3, 3, "vocabulary written")
    return summary


def choose_sample(
    config: TokenizerConfig, documents: Iterable[Document]
) -> dict[str, list[Document]]:
    """The sample that the settings ask for. Raises `UserError` if no document has a weight."""
    chosen = sample(documents, config.weights, config.sample_bytes, config.seed, config.by)
    if not any(chosen.values()):
        of = {"lang": "in", "source": "of source"}[config.by]
        what = {"lang": "languages", "source": "sources"}[config.by]
        raise UserError(
            f"tokenizer, weights: no document is {of} {', '.join(sorted(config.weights))};"
            f" name the {what} of your corpus"
        )
    return chosen


def write_folder(out: Path, model: bytes, definition: bytes, summary: Mapping[str, Any]) -> None:
    """Write a tokenizer's folder, whole or not at all."""
    with atomic_folder(out) as temporary:
        (temporary / "tokenizer.model").write_bytes(model)
        (temporary / "tokenizer.json").write_bytes(definition)
        write_json(temporary / "tokenizer_config.json", tokenizer_config())
        write_json(temporary / "summary.json", summary)


def _summary(
    tokenizer: Tokenizer, chosen: Mapping[str, Sequence[Document]], reserved: int
) -> dict[str, Any]:
    summary = {
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint,
        "measured_on": "the documents it was trained on",
        "rows": [fertility(tokenizer, lang, texts) for lang, texts in by_lang(chosen).items()],
    }
    # Only where it is asked for, so that the bytes of other summaries stay as they were.
    return summary | ({"reserved_ids": list(tokenizer.reserved_ids)} if reserved else {})
