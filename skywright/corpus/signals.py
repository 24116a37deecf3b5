"""Signals: the numbers measured on every document, once, before any rule decides.

All are measured on the measure view (`fold.py`) and its mixed tokens (`kernels.py`); every share
with an empty denominator is 0. Definitions carry a version: the same name elsewhere often means
another formula.

Words of the formulas: *solid* characters are those of the view that are no white space; *word*
characters are letters and numbers; a *line* ends at a newline (\\n, U+2028, U+2029), is trimmed,
has its runs of space collapsed, and is not blank; *token characters* are those inside tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skywright.corpus import fold, kernels, signal_kernels

# Gopher (Rae et al. 2021, arXiv 2112.11446, A1.1): at least two of these.
EN_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


class Signal(NamedTuple):
    """`formula` says in words what `name` is; `version` changes whenever the formula does."""

    name: str
    version: str
    formula: str
    whole: bool = False  # int64 rather than float64


def _registry(*signals: Signal) -> dict[str, Signal]:
    return {signal.name: signal for signal in signals}


_QUALITY, _REPETITION, _FINEWEB, _ZH = "gopher_quality/v1", "gopher_rep/v1", "fineweb/v1", "zh/v1"

SIGNALS: dict[str, Signal] = _registry(
    Signal("chars", "size/v1", "code points of the text as it is", True),
    Signal("bytes", "size/v1", "UTF-8 bytes of the text as it is", True),
    Signal("tokens", "size/v1", "mixed tokens", True),
    Signal("lines", "size/v1", "lines that are not blank", True),
    Signal("mean_token_chars", _QUALITY, "token characters / tokens"),
    Signal("hash_token_ratio", _QUALITY, "number of # / tokens"),
    Signal(
        "ellipsis_token_ratio",
        _QUALITY,
        "ellipses / tokens; an ellipsis is an unbroken run of `…`, of three or more `.`, or of "
        "three or more `。`",
    ),
    Signal(
        "bullet_line_share", _QUALITY, f"lines that begin with one of {fold.BULLET_CHARS} / lines"
    ),
    Signal("ellipsis_line_share", _QUALITY, "lines that end in `…`, `...` or `。。。` / lines"),
    Signal("letter_token_share", _QUALITY, "tokens with at least one letter (Han counts) / tokens"),
    Signal("en_stop_words", _QUALITY, f"how many of {' '.join(EN_STOP_WORDS)} occur", True),
    Signal("dup_line_share", _REPETITION, "lines equal to an earlier line / lines"),
    Signal(
        "dup_line_char_share",
        _REPETITION,
        "characters of lines equal to an earlier line / characters of all lines",
    ),
    *(
        Signal(
            f"top_{n}gram_char_share",
            _REPETITION,
            f"count x characters of the most frequent {n}-gram of tokens (the longest of equally "
            "frequent ones; 0 if none comes twice) / token characters, at most 1",
        )
        for n in range(2, 5)
    ),
    *(
        Signal(
            f"dup_{n}gram_char_share",
            _REPETITION,
            f"greedy scan from the left: a {n}-gram of tokens seen before adds its characters and "
            "is jumped over; sum / token characters",
        )
        for n in range(5, 11)
    ),
    Signal(
        "terminal_line_share", _FINEWEB, f"lines that end in one of {fold.TERMINAL_CHARS} / lines"
    ),
    Signal(
        "short_line_share",
        _FINEWEB,
        f"lines of at most {signal_kernels.SHORT_LINE_CHARS} characters / lines",
    ),
    Signal("newline_token_ratio", _FINEWEB, "newlines (blank lines too) / tokens"),
    Signal("han_share", _ZH, "Han characters / solid characters"),
    Signal("mean_line_chars", _ZH, "characters of all lines / lines"),
    Signal("zh_stop_chars", _ZH, f"how many of {fold.ZH_STOP_CHARS} occur", True),
    Signal(
        "ui_line_share",
        _ZH,
        f"lines of at most {signal_kernels.SHORT_LINE_CHARS} characters with a phrase of page "
        "furniture (fold.UI_PHRASES) / lines",
    ),
    Signal(
        "mojibake_share",
        _ZH,
        "code points of U+FFFD, 锟斤拷, three or more 烫 or 屯, and UTF-8 misread as Latin-1 or "
        "cp1252 / code points of the text as it is",
    ),
    Signal(
        "char_entropy_nats",
        _ZH,
        f"entropy of the first {signal_kernels.ENTROPY_CHARS} solid characters, in nats",
    ),
    Signal("digit_share", _ZH, "digits (Nd) / word characters"),
    Signal(
        "bracket_char_share",
        _ZH,
        "solid characters from 【 to the next 】 of the same line, both counted / solid characters",
    ),
    Signal("han_chars", "script/v1", "Han characters (々 and 〇 too)", True),
    Signal("kana_chars", "script/v1", "Hiragana and Katakana letters", True),
    Signal("hangul_chars", "script/v1", "Hangul letters", True),
    Signal("latin_chars", "script/v1", "Latin letters", True),
    Signal("max_line_chars", "code/v1", "characters of the longest line", True),
    Signal("word_char_share", "code/v1", "word characters / code points of the text as it is"),
)
"""Every signal by name, in the order of the columns that `measure` returns."""

SCHEMA = pa.schema(
    [pa.field(s.name, pa.int64() if s.whole else pa.float64(), False) for s in SIGNALS.values()]
)
"""Schema of `measure`."""

VERSION = f"signals/v1 {kernels.TOKENS_VERSION}"
"""Part of the key of anything made from signals: formulas, tokens, folding, Unicode version."""


def _stop_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    en_stop = np.array([kernels.token_hash(word) for word in EN_STOP_WORDS], dtype=np.uint64)
    zh_stop = np.array([ord(char) for char in fold.ZH_STOP_CHARS], dtype=np.uint32)
    phrase_chars = np.array([len(phrase) for phrase in fold.UI_PHRASES], dtype=np.int64)
    phrases = np.zeros((len(phrase_chars), phrase_chars.max()), dtype=np.uint32)
    for row, phrase in enumerate(fold.UI_PHRASES):
        phrases[row, : len(phrase)] = [ord(char) for char in phrase]
    return en_stop, zh_stop, phrases, phrase_chars


def _share(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)


def measure(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """All signals of each text: a table of `SCHEMA`, one row a text, in order.

    `texts` is string or large_string without nulls (`UserError` names the row otherwise). A row
    depends on its text alone. Nothing is ever NaN.
    """
    stop_tables = _stop_tables()
    columns: dict[str, list[np.ndarray]] = {name: [] for name in SIGNALS}
    for view in kernels.views(texts):
        tokens = kernels.tokens(view)
        counts, entropy = signal_kernels.measure_chunk(
            view.codes, view.kinds, view.offsets,
            tokens.hashes, tokens.chars, tokens.offsets, *stop_tables,
        )  # fmt: skip
        for name, values in _formulas(view, tokens, counts, entropy).items():
            columns[name].append(values)
    columns["bytes"] = [np.diff(fold.utf8_buffers(texts)[0])]
    arrays = [
        pa.array(np.concatenate(columns[field.name] or [np.zeros(0)]), field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _formulas(
    view: kernels.Views, tokens: kernels.Tokens, counts: np.ndarray, entropy: np.ndarray
) -> dict[str, np.ndarray]:
    """Signals from the counts of a chunk, all but `bytes`."""
    c = dict(zip(signal_kernels.COUNTS, counts.T, strict=True))
    n_tokens = np.diff(tokens.offsets)
    lines, solid = c["lines"], c["solid_chars"]
    repetition = {
        f"top_{n}gram_char_share": np.minimum(_share(c[f"top_{n}"], c["token_chars"]), 1.0)
        for n in range(2, 5)
    } | {f"dup_{n}gram_char_share": _share(c[f"dup_{n}"], c["token_chars"]) for n in range(5, 11)}
    return repetition | {
        "chars": view.chars,
        "tokens": n_tokens,
        "lines": lines,
        "mean_token_chars": _share(c["token_chars"], n_tokens),
        "hash_token_ratio": _share(c["hashes"], n_tokens),
        "ellipsis_token_ratio": _share(c["ellipses"], n_tokens),
        "bullet_line_share": _share(c["bullet_lines"], lines),
        "ellipsis_line_share": _share(c["ellipsis_lines"], lines),
        "letter_token_share": _share(tokens.with_letter, n_tokens),
        "en_stop_words": c["en_stop"],
        "dup_line_share": _share(c["dup_lines"], lines),
        "dup_line_char_share": _share(c["dup_line_chars"], c["line_chars"]),
        "terminal_line_share": _share(c["terminal_lines"], lines),
        "short_line_share": _share(c["short_lines"], lines),
        "newline_token_ratio": _share(c["newlines"], n_tokens),
        "han_share": _share(c["han"], solid),
        "mean_line_chars": _share(c["line_chars"], lines),
        "zh_stop_chars": c["zh_stop"],
        "ui_line_share": _share(c["ui_lines"], lines),
        "mojibake_share": _share(view.mojibake_chars, view.chars),
        "char_entropy_nats": entropy,
        "digit_share": _share(c["digits"], c["word_chars"]),
        "bracket_char_share": _share(c["bracket_chars"], solid),
        "han_chars": c["han"],
        "kana_chars": c["kana"],
        "hangul_chars": c["hangul"],
        "latin_chars": c["latin"],
        "max_line_chars": c["max_line_chars"],
        "word_char_share": _share(c["word_chars"], view.chars),
    }
