"""Names that the compiled scan and its users share: counts of a document, flags of a line."""

from __future__ import annotations

# Flags of a line, in the order of their columns among the counts.
LINE_FLAGS = (
    "ui", "javascript", "policy", "few_words", "long_word", "no_end", "upper", "numeric",
    "counter", "one_token", "furniture",
)  # fmt: skip

COUNTS = (
    *(f"{name}_lines" for name in LINE_FLAGS),
    "view_chars", "solid_chars", "newlines", "lines", "line_chars", "max_line_chars",
    "raw_lines", "max_raw_line_chars", "bullet_lines", "ellipsis_lines", "terminal_lines",
    "short_lines", "short_han_lines", "comment_lines", "dup_lines", "dup_line_chars",
    "paragraphs", "dup_paragraphs", "dup_paragraph_chars", "refinedweb_tokens",
    "hashes", "ellipses", "bracket_chars", "title_chars", "markup_chars", "curly", "listed_chars",
    "han", "kana", "hangul", "latin", "letters", "word_chars", "digits", "upper", "traditional",
    "en_stop", "zh_stop", "common", "token_chars", "letter_tokens", "contacts",
    "sentences", "questionable", "odd_case", "odd_length", "technical", "cursed",
    "lorem", "xml", "generated", "porn", "gambling",
)  # fmt: skip
"""Columns of the integer results of `scan.scan_chunk`."""

ENTROPY_CHARS = 10_000  # data: entropy on the first 10,000 characters
SHORT_LINE_CHARS = 30  # FineWeb: a short line has at most 30 characters
BRIEF_LINE_CHARS = 8  # 加载更多, 收起/展开; measured: docs/rules.md
SHORT_HAN_CHARS = 10  # data 5.8, z6
ITEM_CHARS = 10  # of a list's item (data 5.8, z13 says "short"; our own bound)
MIN_LINE_WORDS = 3  # C4 as datatrove and FineWeb read it: lines of fewer words go (c4_utils: 5)
MAX_WORD_CHARS = 1000  # c4_utils: lines with a longer word go
FURNITURE_TOKENS = 10  # RefinedWeb (arXiv 2306.01116, G.2): such lines have at most 10 words
CASE_TOKENS = 12  # MADLAD-400, rule 2: at least so many words in the sentence
SENTENCE_CHARS = (20, 500)  # MADLAD-400, rule 3: shorter or longer is abnormal
COUNTER_WORDS = (
    "likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes",
    "downvotes", "downloads", "views", "followers",
)  # fmt: skip
"""RefinedWeb's counters, as DCLM spells them out."""
CUE_CHARS = 8  # between the word that announces an address and the address; our own bound
