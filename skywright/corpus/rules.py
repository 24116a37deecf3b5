"""Rules: a signal, a comparison, a threshold. Deciding costs seconds and can be asked again.

The presets hold only thresholds that a published corpus used, with its source beside each. They are
for web pages; a curated source (poems, statutes, manuals) is better served by a short list of its
own, which a recipe can give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from skywright.config import Config
from skywright.corpus.signals import SIGNALS
from skywright.errors import UserError


class Rule(Config):
    """Drop a document whose `signal` is `op` `threshold`. `name` is what the ledger says."""

    signal: str
    op: Literal["<", ">"]
    threshold: float
    name: str

    @field_validator("signal")
    @classmethod
    def _known(cls, signal: str) -> str:
        if signal not in SIGNALS:
            raise ValueError(f"no signal {signal!r}; known signals: {', '.join(SIGNALS)}")
        return signal


def _rules(*rows: tuple[str, str, Literal["<", ">"], float]) -> tuple[Rule, ...]:
    return tuple(Rule(name=n, signal=s, op=op, threshold=t) for n, s, op, t in rows)


_EN = _rules(
    # Gopher quality: Rae et al. 2021, arXiv 2112.11446, A1.1. Words there are mixed tokens here.
    ("gopher_tokens_min", "tokens", "<", 50),
    ("gopher_tokens_max", "tokens", ">", 100_000),
    ("gopher_mean_token_min", "mean_token_chars", "<", 3),
    ("gopher_mean_token_max", "mean_token_chars", ">", 10),
    ("gopher_hash_symbols", "hash_token_ratio", ">", 0.1),
    ("gopher_ellipses", "ellipsis_token_ratio", ">", 0.1),
    ("gopher_bullet_lines", "bullet_line_share", ">", 0.9),
    ("gopher_ellipsis_lines", "ellipsis_line_share", ">", 0.3),
    ("gopher_letter_tokens", "letter_token_share", "<", 0.8),
    ("gopher_stop_words", "en_stop_words", "<", 2),
    # Gopher repetition: the same, table A1. Paragraph rules are left out (pages lose blank lines).
    ("gopher_dup_lines", "dup_line_share", ">", 0.30),
    ("gopher_dup_line_chars", "dup_line_char_share", ">", 0.20),
    ("gopher_top_2gram", "top_2gram_char_share", ">", 0.20),
    ("gopher_top_3gram", "top_3gram_char_share", ">", 0.18),
    ("gopher_top_4gram", "top_4gram_char_share", ">", 0.16),
    ("gopher_dup_5gram", "dup_5gram_char_share", ">", 0.15),
    ("gopher_dup_6gram", "dup_6gram_char_share", ">", 0.14),
    ("gopher_dup_7gram", "dup_7gram_char_share", ">", 0.13),
    ("gopher_dup_8gram", "dup_8gram_char_share", ">", 0.12),
    ("gopher_dup_9gram", "dup_9gram_char_share", ">", 0.11),
    ("gopher_dup_10gram", "dup_10gram_char_share", ">", 0.10),
    # FineWeb (datatrove examples/fineweb.py; Penedo et al. 2024). Duplicate-line characters: the
    # paper's 0.1, which FineWeb-2 kept for Chinese too, not the 0.01 of the example file.
    ("fineweb_terminal_lines", "terminal_line_share", "<", 0.12),
    ("fineweb_short_lines", "short_line_share", ">", 0.67),
    ("fineweb_dup_line_chars", "dup_line_char_share", ">", 0.1),
    ("fineweb_newlines", "newline_token_ratio", ">", 0.3),
)

_ZH = _rules(
    # ChineseWebText preprocess.py: length, Chinese share, characters a line.
    ("chineseweb_chars_min", "chars", "<", 200),
    ("chineseweb_han_share", "han_share", "<", 0.30),
    ("chineseweb_line_chars", "mean_line_chars", "<", 10),
    # FineWeb-2 configs/cmn_Hani.yml: thresholds fitted for Chinese.
    ("fineweb2_letter_tokens", "letter_token_share", "<", 0.735),
    ("fineweb2_stop_chars", "zh_stop_chars", "<", 2),
    ("fineweb2_dup_lines", "dup_line_share", ">", 0.287),
    # Its n-gram rules count segmented words, three to about five characters; a token here is one
    # character. So its top 2- and 3-gram rules are applied to 3- and 4-grams (2 and 2.4 words), and
    # its dup 5- and 6-gram rules to 8- and 10-grams (5 and 6 words). Measured: untranslated, the
    # dup 5-gram rule drops 1.9 % of 848 encyclopaedia paragraphs, 6.6 % of 592 abstracts and 94 %
    # of 420 statutes; translated, no more than 0.1 %, 1.7 % and 63 %.
    ("fineweb2_top_3gram", "top_3gram_char_share", ">", 0.256),
    ("fineweb2_top_4gram", "top_4gram_char_share", ">", 0.201),
    ("fineweb2_dup_8gram", "dup_8gram_char_share", ">", 0.198),
    ("fineweb2_dup_10gram", "dup_10gram_char_share", ">", 0.182),
    ("fineweb2_terminal_lines", "terminal_line_share", "<", 0.106),
    ("fineweb2_dup_line_chars", "dup_line_char_share", ">", 0.1),
    ("fineweb2_newlines", "newline_token_ratio", ">", 0.178),
    # MAP-NEO filter.py.
    ("mapneo_entropy", "char_entropy_nats", "<", 3),
    ("mapneo_digits", "digit_share", ">", 0.3),
    ("mapneo_brackets", "bracket_char_share", ">", 0.10),
)

_CODE = _rules(
    # RedPajama v1 data_prep/github, after Chen et al. 2021 (Codex). Lines here are trimmed and not
    # blank. Its letters-per-token rule needs one certain tokenizer and is left out.
    ("redpajama_max_line", "max_line_chars", ">", 1000),
    ("redpajama_mean_line", "mean_line_chars", ">", 100),
    ("redpajama_word_chars", "word_char_share", "<", 0.25),
)

DEFAULT_RULES: dict[str, tuple[Rule, ...]] = {"en": _EN, "zh": _ZH, "code": _CODE}
"""Preset rules by language; zh serves zh-Hans and zh-Hant. Order matters: the first failing rule is
the one that the ledger names."""

DECISIONS = pa.schema(
    [
        pa.field("kept", pa.bool_(), False),
        pa.field("rule", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
    ]
)
"""Rows of `decide`; rule, value and threshold are null where kept."""


def rules_for(lang: str, rules: Mapping[str, Sequence[Rule]]) -> Sequence[Rule]:
    """Rules of `lang`: its own entry, or that of the tag before its first hyphen (zh for zh-Hans).

    Raises `UserError` if there is neither; an empty list says that the language has no rules.
    """
    for tag in (lang, lang.partition("-")[0]):
        if tag in rules:
            return rules[tag]
    raise UserError(
        f"rules: no entry for language {lang!r} (there are: {', '.join(sorted(rules)) or 'none'}); "
        "add one, which may be empty"
    )


def decide(
    signals: pa.Table, lang: pa.Array | pa.ChunkedArray, rules: Mapping[str, Sequence[Rule]]
) -> pa.Table:
    """Keep or drop each row of `signals` by the first failing rule of its language.

    `lang` has a tag a row. Returns a table of `DECISIONS`, one row a row. Raises `UserError` for a
    language without entry, a missing signal column, or a length that differs.
    """
    n = signals.num_rows
    tags = lang.to_pylist()
    if len(tags) != n:
        raise UserError(f"rules: {n} rows of signals but {len(tags)} languages; give one a row")
    names = np.full(n, None, dtype=object)
    values = np.full(n, np.nan)
    thresholds = np.full(n, np.nan)
    kept = np.ones(n, dtype=bool)
    languages = np.array(tags, dtype=object)
    for tag in sorted(set(tags), key=str):
        if tag is None:
            raise UserError(f"rules: row {tags.index(None)} has no language; label it first")
        of_language = languages == tag
        for rule in rules_for(tag, rules):
            if rule.signal not in signals.column_names:
                raise UserError(
                    f"rules: rule {rule.name!r} needs the signal {rule.signal!r}, which the table "
                    "does not have; measure it again"
                )
            value = signals[rule.signal].to_numpy().astype(np.float64)
            fails = value < rule.threshold if rule.op == "<" else value > rule.threshold
            drop = of_language & kept & fails
            kept[drop] = False
            names[drop] = rule.name
            values[drop] = value[drop]
            thresholds[drop] = rule.threshold
    columns = [
        pa.array(kept),
        pa.array(names, pa.string(), from_pandas=True),
        pa.array(values, pa.float64(), mask=kept),
        pa.array(thresholds, pa.float64(), mask=kept),
    ]
    return pa.Table.from_arrays(columns, schema=DECISIONS)
