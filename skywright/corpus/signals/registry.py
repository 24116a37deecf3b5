"""Every signal: its name, the version and words of its formula, and the text it is measured on.

Words of the formulas: *solid* characters are those of the measure view that are no white space;
*word* characters are letters and numbers; a *line* ends at a newline (\\n, U+2028, U+2029), is
trimmed, has its runs of space collapsed, and is not blank; a *paragraph* is a run of lines without
a blank line between; *token characters* are those inside mixed tokens; a *word* stands between
blanks. A *sentence* ends at a line's end, at `! ? 。 …`, and at a `.` that a blank follows; one
without tokens does not count. A share with an empty denominator is 0.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from skywright.corpus import fold
from skywright.corpus.signals import counts as c
from skywright.corpus.signals import ngrams
from skywright.corpus.signals.phrases import GAMBLING, GROUPS, PORN

# Gopher (Rae et al. 2021, arXiv 2112.11446, A1.1): at least two of these.
EN_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

View = Literal["extracted", "final"]


class Signal(NamedTuple):
    """`formula` says in words what `name` is; `version` changes whenever the formula does.

    `view` is the text that rules look at: `extracted`, as it came from the page, or `final`, after
    the edits. `whole` signals are int64, the others float64.
    """

    name: str
    version: str
    formula: str
    whole: bool = False
    view: View = "final"


_QUALITY, _REPETITION, _FINEWEB = "gopher_quality/v1", "gopher_rep/v2", "fineweb/v1"
_C4, _REFINEDWEB, _MADLAD, _ZH, _CODE = "c4/v1", "refinedweb/v1", "madlad/v1", "zh/v2", "code/v2"
_OF_LINES = "of the text as it came from the page / lines"


def _before(version: str, name: str, formula: str) -> Signal:
    return Signal(name, version, formula, view="extracted")


_ALL = (
    Signal("chars", "size/v1", "code points of the text as it is", True),
    Signal("bytes", "size/v1", "UTF-8 bytes of the text as it is", True),
    Signal("tokens", "size/v1", "mixed tokens", True),
    Signal("lines", "size/v1", "lines that are not blank", True),
    Signal("sentences", "size/v1", "sentences", True),
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
    Signal("dup_paragraph_share", _REPETITION, "paragraphs equal to an earlier one / paragraphs"),
    Signal(
        "dup_paragraph_char_share",
        _REPETITION,
        "characters of paragraphs equal to an earlier one / characters of all lines",
    ),
    *(
        Signal(
            f"top_{n}gram_char_share",
            _REPETITION,
            f"count x characters of the most frequent {n}-gram of tokens (the first of equally "
            "frequent ones; 0 if none comes twice) / token characters, at most 1",
        )
        for n in ngrams.TOP
    ),
    *(
        Signal(
            f"dup_{n}gram_char_share",
            _REPETITION,
            f"greedy scan from the left: a {n}-gram of tokens seen before adds its characters and "
            "is jumped over; sum / token characters",
        )
        for n in ngrams.DUP
    ),
    Signal(
        "terminal_line_share", _FINEWEB, f"lines that end in one of {fold.TERMINAL_CHARS} / lines"
    ),
    Signal(
        "short_line_share", _FINEWEB, f"lines of at most {c.SHORT_LINE_CHARS} characters / lines"
    ),
    Signal("newline_token_ratio", _FINEWEB, "newlines (blank lines too) / tokens"),
    _before(_C4, "javascript_line_share", f"lines with `javascript` {_OF_LINES}"),
    _before(_C4, "policy_line_share", f"lines that speak of cookies or terms of use {_OF_LINES}"),
    _before(_C4, "few_word_line_share", f"lines of under {c.MIN_LINE_WORDS} words {_OF_LINES}"),
    _before(
        _C4,
        "long_word_line_share",
        f"lines with a word of over {c.MAX_WORD_CHARS} characters {_OF_LINES}",
    ),
    _before(
        _C4,
        "open_line_share",
        f"lines without terminal punctuation, or that end in an ellipsis {_OF_LINES}",
    ),
    Signal("lorem_ipsum", _C4, "how often `lorem ipsum` occurs", True),
    Signal("curly_brackets", _C4, "number of {", True),
    _before(
        _REFINEDWEB,
        "upper_line_share",
        f"lines more than half of whose characters are upper case {_OF_LINES}",
    ),
    _before(_REFINEDWEB, "numeric_line_share", f"lines of digits alone {_OF_LINES}"),
    _before(
        _REFINEDWEB,
        "counter_line_share",
        f"lines of numbers and one of {' '.join(c.COUNTER_WORDS)} {_OF_LINES}",
    ),
    _before(_REFINEDWEB, "one_token_line_share", f"lines of one token {_OF_LINES}"),
    _before(
        _REFINEDWEB,
        "furniture_line_share",
        f"lines of at most {c.FURNITURE_TOKENS} tokens that begin with `sign-in`, hold `items in "
        f"cart` or end in `read more...` {_OF_LINES}",
    ),
    _before(
        _REFINEDWEB,
        "refinedweb_token_share",
        "tokens in lines of the five kinds above / tokens of the text as it came from the page",
    ),
    *(
        Signal(f"{name}_sentence_share", _MADLAD, f"sentences {formula} / sentences")
        for name, formula in (
            ("odd_case", f"of {c.CASE_TOKENS} or more tokens, over half of them capitalised"),
            ("odd_length", "of under {} or over {} characters".format(*c.SENTENCE_CHARS)),
            ("technical", f"over a fifth of whose characters are in {fold.TECHNICAL_CHARS}"),
            ("cursed", "with a string of MADLAD-400's rule 5 (phrases.py; Latin and Chinese ones)"),
            ("questionable", "of at least one of the four kinds above"),
        )
    ),
    Signal("han_share", _ZH, "Han characters / solid characters"),
    Signal("traditional_share", _ZH, "characters that only traditional text writes / Han"),
    Signal("mean_line_chars", _ZH, "characters of all lines / lines"),
    Signal("short_han_line_share", _ZH, f"lines of at most {c.SHORT_HAN_CHARS} Han / lines"),
    Signal("zh_stop_chars", _ZH, f"how many of {fold.ZH_STOP_CHARS} occur", True),
    Signal("common_chars", _ZH, f"how many of {fold.COMMON_CHARS} occur", True),
    Signal("repeated_13gram_share", _ZH, "13-grams of tokens that come more than once / 13-grams"),
    _before(
        _ZH,
        "ui_line_share",
        f"lines of at most {c.SHORT_LINE_CHARS} characters with a phrase of Chinese page furniture "
        f"(phrases.py; 更多, 展开 and 扫码: at most {c.BRIEF_LINE_CHARS}) {_OF_LINES}",
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
        f"entropy of the first {c.ENTROPY_CHARS} solid characters, in nats",
    ),
    Signal("digit_share", _ZH, "digits (Nd) / word characters"),
    Signal(
        "bracket_char_share",
        _ZH,
        "solid characters from 【 to the next 】 of the same line, both counted / solid characters",
    ),
    Signal("title_char_share", _ZH, "the same for 《 and 》"),
    Signal(
        "contacts_per_200_chars",
        _ZH,
        "200 x (Chinese mobile numbers, and tokens of five or more characters with a digit that "
        f"begin at most {c.CUE_CHARS} characters after `qq`, `微信`, `电话` and the like) / solid",
    ),
    Signal(
        "listed_char_share",
        _ZH,
        f"word characters of stretches of at most {c.ITEM_CHARS} beside one of "
        f"{fold.SEPARATOR_CHARS} / word characters",
    ),
    Signal("top_pairs_share", _ZH, "the five most frequent 2-grams of tokens / 2-grams"),
    *(
        Signal(
            f"{name}_phrases_per_1000_chars",
            _ZH,
            f"1000 x how many of {len(GROUPS[group])} phrases of {name} (phrases.py) occur / solid",
        )
        for name, group in (("porn", PORN), ("gambling", GAMBLING))
    ),
    Signal("han_chars", "script/v1", "Han characters (々 and 〇 too)", True),
    Signal("kana_chars", "script/v1", "Hiragana and Katakana letters", True),
    Signal("hangul_chars", "script/v1", "Hangul letters", True),
    Signal("latin_chars", "script/v1", "Latin letters", True),
    Signal("max_line_chars", "code/v1", "characters of the longest line", True),
    Signal("raw_max_line_chars", _CODE, "the same with the line's blanks", True),
    Signal("raw_mean_line_chars", _CODE, "characters but newlines / lines, blank ones too"),
    Signal("word_char_share", "code/v1", "word characters / code points of the text as it is"),
    Signal("letter_char_share", _CODE, "letters / code points of the text as it is"),
    Signal("letters_per_token", _CODE, "letters / mixed tokens"),
    Signal("comment_line_share", _CODE, "lines that begin with # * // /* or -- / lines"),
    Signal("markup_char_share", _CODE, "solid characters from < to the next > of a line / solid"),
    Signal("xml_head", _CODE, "1 if `<?xml version=` begins in the first 100 characters", True),
    Signal(
        "generated_marker",
        _CODE,
        "1 if one of the first five lines says that the file is generated",
        True,
    ),
)

SIGNALS: dict[str, Signal] = {signal.name: signal for signal in _ALL}
"""Every signal by name, in the order of the columns that `measure` returns."""
