"""Texts in, a table of signals out; and on the way the lines that edits may cut."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skywright.corpus import fold, kernels
from skywright.corpus.signals import counts, ngrams, scan
from skywright.corpus.signals.phrases import automaton
from skywright.corpus.signals.registry import EN_STOP_WORDS, SIGNALS

SCHEMA = pa.schema(
    [pa.field(s.name, pa.int64() if s.whole else pa.float64(), False) for s in SIGNALS.values()]
)
"""Schema of `measure`."""

VERSION = f"signals/v2 {kernels.TOKENS_VERSION}"
"""Part of the key of anything made from signals: formulas, tokens, folding, Unicode version."""

LINES_SCHEMA = pa.schema([("lines", pa.list_(pa.int32())), ("flags", pa.list_(pa.int32()))])
"""The lines of a text that have a flag (bits in the order of `counts.LINE_FLAGS`), by number."""


@cache
def _words() -> tuple[np.ndarray, ...]:
    """Stop words, Chinese stop characters, common characters, counter words (see `scan_chunk`)."""
    hashes = [
        np.array([kernels.token_hash(word) for word in words], dtype=np.uint64)
        for words in (EN_STOP_WORDS, counts.COUNTER_WORDS)
    ]
    codes = [
        np.array([ord(char) for char in chars], dtype=np.uint32)
        for chars in (fold.ZH_STOP_CHARS, fold.COMMON_CHARS)
    ]
    return hashes[0], *codes, hashes[1]


class Measured(NamedTuple):
    """Signals and flagged lines of a column of texts, a row a text."""

    signals: pa.Table
    lines: pa.Table


def measure(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """All signals of each text: a table of `SCHEMA`, one row a text, in order.

    `texts` is string or large_string without nulls (`UserError` names the row otherwise). A row
    depends on its text alone. Nothing is ever NaN.
    """
    return measure_with_lines(texts).signals


def measure_with_lines(
    texts: pa.Array | pa.ChunkedArray, read: Callable[[kernels.Views], None] | None = None
) -> Measured:
    """The same, with the flagged lines of each text beside it (`LINES_SCHEMA`).

    `read` is given the views of the texts as they pass, so that nobody need make them again.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in SIGNALS}
    numbers, flags, offsets = [], [], [np.zeros(1, np.int64)]
    machine, words = tuple(automaton()), _words()
    for view in kernels.views(texts):
        if read is not None:
            read(view)
        counted, entropy, hashes, sizes, token_offsets, *lines = scan.scan_chunk(
            view.codes, view.kinds, view.offsets, machine, words
        )
        repeats = ngrams.repeats(hashes, sizes, token_offsets)
        for name, values in _formulas(view, token_offsets, counted, entropy, repeats).items():
            columns[name].append(values)
        numbers.append(lines[0])
        flags.append(lines[1])
        offsets.append(lines[2][1:] + offsets[-1][-1])
    columns["bytes"] = [np.diff(fold.utf8_buffers(texts)[0])]
    arrays = [
        pa.array(np.concatenate(columns[field.name] or [np.zeros(0)]), field.type)
        for field in SCHEMA
    ]
    starts = pa.array(np.concatenate(offsets).astype(np.int32))
    lists = [
        pa.ListArray.from_arrays(starts, pa.array(np.concatenate([np.zeros(0, np.int32), *parts])))
        for parts in (numbers, flags)
    ]
    return Measured(
        pa.Table.from_arrays(arrays, schema=SCHEMA),
        pa.Table.from_arrays(lists, schema=LINES_SCHEMA),
    )


def _share(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)


def _formulas(
    view: kernels.Views,
    token_offsets: np.ndarray,
    counted: np.ndarray,
    entropy: np.ndarray,
    repeats: np.ndarray,
) -> dict[str, np.ndarray]:
    """Signals from the counts of a chunk, all but `bytes`."""
    c = dict(zip(counts.COUNTS, counted.T, strict=True))
    r = dict(zip(ngrams.COLUMNS, repeats.T, strict=True))
    tokens, lines, solid = np.diff(token_offsets), c["lines"], c["solid_chars"]
    of_lines = {
        f"{signal}_line_share": _share(c[f"{name}_lines"], lines)
        for signal, name in (
            ("bullet", "bullet"), ("ellipsis", "ellipsis"), ("terminal", "terminal"),
            ("short", "short"), ("javascript", "javascript"), ("policy", "policy"),
            ("few_word", "few_words"), ("long_word", "long_word"), ("open", "no_end"),
            ("upper", "upper"), ("numeric", "numeric"), ("counter", "counter"),
            ("one_token", "one_token"), ("furniture", "furniture"), ("short_han", "short_han"),
            ("ui", "ui"), ("comment", "comment"),
        )
    }  # fmt: skip
    of_sentences = {
        f"{name}_sentence_share": _share(c[name], c["sentences"])
        for name in ("odd_case", "odd_length", "technical", "cursed", "questionable")
    }
    tops = {
        f"top_{n}gram_char_share": np.minimum(
            _share(r[f"top_{n}_count"] * r[f"top_{n}_chars"], c["token_chars"]), 1.0
        )
        for n in ngrams.TOP
    }
    dups = {f"dup_{n}gram_char_share": _share(r[f"dup_{n}"], c["token_chars"]) for n in ngrams.DUP}
    return of_lines | of_sentences | tops | dups | {
        "chars": view.chars,
        "tokens": tokens,
        "lines": lines,
        "sentences": c["sentences"],
        "mean_token_chars": _share(c["token_chars"], tokens),
        "hash_token_ratio": _share(c["hashes"], tokens),
        "ellipsis_token_ratio": _share(c["ellipses"], tokens),
        "letter_token_share": _share(c["letter_tokens"], tokens),
        "en_stop_words": c["en_stop"],
        "dup_line_share": _share(c["dup_lines"], lines),
        "dup_line_char_share": _share(c["dup_line_chars"], c["line_chars"]),
        "dup_paragraph_share": _share(c["dup_paragraphs"], c["paragraphs"]),
        "dup_paragraph_char_share": _share(c["dup_paragraph_chars"], c["line_chars"]),
        "newline_token_ratio": _share(c["newlines"], tokens),
        "lorem_ipsum": c["lorem"],
        "curly_brackets": c["curly"],
        "refinedweb_token_share": _share(c["refinedweb_tokens"], tokens),
        "han_share": _share(c["han"], solid),
        "traditional_share": _share(c["traditional"], c["han"]),
        "mean_line_chars": _share(c["line_chars"], lines),
        "zh_stop_chars": c["zh_stop"],
        "common_chars": c["common"],
        "repeated_13gram_share": _share(r["repeated_13"], tokens - 12),
        "mojibake_share": _share(view.mojibake_chars, view.chars),
        "char_entropy_nats": entropy,
        "digit_share": _share(c["digits"], c["word_chars"]),
        "bracket_char_share": _share(c["bracket_chars"], solid),
        "title_char_share": _share(c["title_chars"], solid),
        "contacts_per_200_chars": 200 * _share(c["contacts"], solid),
        "listed_char_share": _share(c["listed_chars"], c["word_chars"]),
        "top_pairs_share": _share(r["best_pairs"], tokens - 1),
        "porn_phrases_per_1000_chars": 1000 * _share(c["porn"], solid),
        "gambling_phrases_per_1000_chars": 1000 * _share(c["gambling"], solid),
        "han_chars": c["han"],
        "kana_chars": c["kana"],
        "hangul_chars": c["hangul"],
        "latin_chars": c["latin"],
        "max_line_chars": c["max_line_chars"],
        "raw_max_line_chars": c["max_raw_line_chars"],
        "raw_mean_line_chars": _share(c["view_chars"] - c["newlines"], c["raw_lines"]),
        "word_char_share": _share(c["word_chars"], view.chars),
        "letter_char_share": _share(c["letters"], view.chars),
        "letters_per_token": _share(c["letters"], tokens),
        "comment_line_share": _share(c["comment_lines"], lines),
        "markup_char_share": _share(c["markup_chars"], solid),
        "xml_head": c["xml"],
        "generated_marker": c["generated"],
    }  # fmt: skip
