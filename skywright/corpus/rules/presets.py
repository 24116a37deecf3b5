"""Rules that published corpora used, by name. Each threshold has its source beside it.

They are for web pages; a curated source (poems, statutes, manuals) is better served by a short list
of its own, which a recipe can give.
"""

from __future__ import annotations

from typing import Literal

from skywright.corpus.rules.decide import Rule


def _rules(
    *rows: tuple[str, str, Literal["<", ">"], float], action: Literal["drop", "tag"] = "drop"
) -> tuple[Rule, ...]:
    return tuple(Rule(name=n, signal=s, op=op, threshold=t, action=action) for n, s, op, t in rows)


_GOPHER = _rules(
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
    # Gopher repetition: the same, table A1.
    ("gopher_dup_lines", "dup_line_share", ">", 0.30),
    ("gopher_dup_paragraphs", "dup_paragraph_share", ">", 0.30),
    ("gopher_dup_line_chars", "dup_line_char_share", ">", 0.20),
    ("gopher_dup_paragraph_chars", "dup_paragraph_char_share", ">", 0.20),
    ("gopher_top_2gram", "top_2gram_char_share", ">", 0.20),
    ("gopher_top_3gram", "top_3gram_char_share", ">", 0.18),
    ("gopher_top_4gram", "top_4gram_char_share", ">", 0.16),
    ("gopher_dup_5gram", "dup_5gram_char_share", ">", 0.15),
    ("gopher_dup_6gram", "dup_6gram_char_share", ">", 0.14),
    ("gopher_dup_7gram", "dup_7gram_char_share", ">", 0.13),
    ("gopher_dup_8gram", "dup_8gram_char_share", ">", 0.12),
    ("gopher_dup_9gram", "dup_9gram_char_share", ">", 0.11),
    ("gopher_dup_10gram", "dup_10gram_char_share", ">", 0.10),
)

_FINEWEB = _rules(
    # FineWeb (datatrove examples/fineweb.py; Penedo et al. 2024). Duplicate-line characters: the
    # paper's 0.1, which FineWeb-2 kept for Chinese too, not the 0.01 of the example file.
    ("fineweb_terminal_lines", "terminal_line_share", "<", 0.12),
    ("fineweb_short_lines", "short_line_share", ">", 0.67),
    ("fineweb_dup_line_chars", "dup_line_char_share", ">", 0.1),
    ("fineweb_newlines", "newline_token_ratio", ">", 0.3),
)

_C4 = _rules(
    # Raffel et al. 2020, arXiv 1910.10683, 2.2, as datatrove and FineWeb read it: five sentences,
    # lines of three words. (c4_utils of tensorflow_datasets has them the other way round: three
    # sentences, lines of five words.) What C4 cuts line by line is in corpus.edits.
    ("c4_lorem_ipsum", "lorem_ipsum", ">", 0),
    ("c4_sentences_min", "sentences", "<", 5),
    ("c4_curly_brackets", "curly_brackets", ">", 0),
)

_REFINEDWEB = _rules(
    # Penedo et al. 2023, arXiv 2306.01116, G.2: a page of which the line-wise rules would take more
    # than 5 % of the words goes as a whole.
    ("refinedweb_lines", "refinedweb_token_share", ">", 0.05),
)

_MADLAD = _rules(
    # Kudugunta et al. 2023, arXiv 2309.04662, 2.2: pages of under 5 sentences go, and those of
    # whose sentences at least 20 % are questionable. OLMo 3 uses the rules of case and of strings.
    ("madlad_sentences_min", "sentences", "<", 5),
    ("madlad_odd_case", "odd_case_sentence_share", ">", 0.2),
    ("madlad_cursed", "cursed_sentence_share", ">", 0.2),
)

_ZH_PUBLISHED = _rules(
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
    # ChineseWebText again: pages most of which is said twice.
    ("chineseweb_13grams", "repeated_13gram_share", ">", 0.5),
    # MAP-NEO filter.py.
    ("mapneo_entropy", "char_entropy_nats", "<", 3),
    ("mapneo_digits", "digit_share", ">", 0.3),
    ("mapneo_brackets", "bracket_char_share", ">", 0.10),
)

# Our own proposals. Whether one drops or only tags was settled by a blind audit: docs/rules.md.
_ZH_PROPOSED = _rules(
    ("zh_short_lines", "short_han_line_share", ">", 0.67),
    ("zh_ui_lines", "ui_line_share", ">", 0.3),
    ("zh_contacts", "contacts_per_200_chars", ">", 1),
    ("zh_listed", "listed_char_share", ">", 0.5),
    ("zh_porn", "porn_phrases_per_1000_chars", ">", 2),
    ("zh_gambling", "gambling_phrases_per_1000_chars", ">", 2),
    ("zh_mojibake", "mojibake_share", ">", 0.005),
    ("zh_common_chars", "common_chars", "<", 2),
    action="tag",
)

_CODE = _rules(
    # RedPajama v1 data_prep/github, after Chen et al. 2021 (Codex).
    ("redpajama_max_line", "raw_max_line_chars", ">", 1000),
    ("redpajama_mean_line", "raw_mean_line_chars", ">", 100),
    ("redpajama_word_chars", "word_char_share", "<", 0.25),
    # StarCoder (Li et al. 2023, arXiv 2305.06161, 3.2).
    ("starcoder_letters", "letter_char_share", "<", 0.25),
    ("starcoder_xml", "xml_head", ">", 0),
    ("starcoder_generated", "generated_marker", ">", 0),
)

PRESETS: dict[str, tuple[Rule, ...]] = {
    "gopher": _GOPHER,
    "fineweb": _FINEWEB,
    "c4": _C4,
    "refinedweb": _REFINEDWEB,
    "madlad": _MADLAD,
    "zh": _ZH_PUBLISHED + _ZH_PROPOSED,
    "code": _CODE,
}
"""Rules by preset. Order matters: the first failing rule is the one that the ledger names."""

DEFAULT_PRESETS: dict[str, tuple[str, ...]] = {
    "en": ("gopher", "fineweb"),
    "zh": ("zh",),
    "code": ("code",),
}
"""Presets by language; zh serves zh-Hans and zh-Hant."""

DEFAULT_RULES: dict[str, tuple[Rule, ...]] = {
    lang: tuple(rule for name in names for rule in PRESETS[name])
    for lang, names in DEFAULT_PRESETS.items()
}
"""The rules of DEFAULT_PRESETS."""
