"""datatrove's four quality filters on texts: run in the environment of datatrove_filters.txt.

    python benchmarks/peers/datatrove_filters.py speed|rules TEXTS LANGUAGE

TEXTS is a JSON file with a list of strings, LANGUAGE datatrove's name of it (eng, zho). `speed`
prints seconds for all four filters, one after another, on documents already in memory, after one
document has loaded the word tokenizer. `rules` prints for each rule whether each text fails it;
there words are split once a text.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)

NONE_QUALITY: dict[str, Any] = {
    "min_doc_words": None, "max_doc_words": None, "min_avg_word_length": None,
    "max_avg_word_length": None, "max_symbol_word_ratio": None, "max_bullet_lines_ratio": None,
    "max_ellipsis_lines_ratio": None, "max_non_alpha_words_ratio": None, "min_stop_words": None,
}  # fmt: skip
NONE_REPETITION: dict[str, Any] = {
    "dup_line_frac": None, "dup_para_frac": None, "dup_line_char_frac": None,
    "dup_para_char_frac": None, "top_n_grams": (), "dup_n_grams": (),
}  # fmt: skip
NONE_FINEWEB: dict[str, Any] = {
    "line_punct_thr": 0.0, "short_line_thr": 1.0, "char_duplicates_ratio": 1.0,
    "new_line_ratio": float("inf"),
}  # fmt: skip


def pipeline(language: str) -> list[Any]:
    """The filters of examples/fineweb.py, in its order."""
    return [
        GopherRepetitionFilter(language=language),
        GopherQualityFilter(language=language),
        C4QualityFilter(filter_no_terminal_punct=False, language=language),
        FineWebQualityFilter(language=language),
    ]


def single_rules(language: str) -> dict[str, Any]:
    """A filter for each rule that we have too, all its other rules switched off."""
    quality = {
        "gopher_tokens_min": {"min_doc_words": 50},
        "gopher_mean_token_min": {"min_avg_word_length": 3},
        "gopher_mean_token_max": {"max_avg_word_length": 10},
        "gopher_bullet_lines": {"max_bullet_lines_ratio": 0.9},
        "gopher_ellipsis_lines": {"max_ellipsis_lines_ratio": 0.3},
        "gopher_letter_tokens": {"max_non_alpha_words_ratio": 0.8},
        "gopher_stop_words": {"min_stop_words": 2},
    }
    repetition: dict[str, dict[str, Any]] = {
        "gopher_dup_lines": {"dup_line_frac": 0.3},
        "gopher_dup_paragraphs": {"dup_para_frac": 0.3},
        "gopher_dup_line_chars": {"dup_line_char_frac": 0.2},
        "gopher_dup_paragraph_chars": {"dup_para_char_frac": 0.2},
    }
    for n, share in ((2, 0.2), (3, 0.18), (4, 0.16)):
        repetition[f"gopher_top_{n}gram"] = {"top_n_grams": ((n, share),)}
    for n, share in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)):
        repetition[f"gopher_dup_{n}gram"] = {"dup_n_grams": ((n, share),)}
    fineweb = {
        "fineweb_terminal_lines": {"line_punct_thr": 0.12},
        "fineweb_short_lines": {"short_line_thr": 0.67},
        "fineweb_dup_line_chars": {"char_duplicates_ratio": 0.1},
        "fineweb_newlines": {"new_line_ratio": 0.3},
    }
    return {
        **{k: GopherQualityFilter(language=language, **(NONE_QUALITY | v))
           for k, v in quality.items()},
        **{k: GopherRepetitionFilter(language=language, **(NONE_REPETITION | v))
           for k, v in repetition.items()},
        **{k: FineWebQualityFilter(language=language, **(NONE_FINEWEB | v))
           for k, v in fineweb.items()},
    }  # fmt: skip


def kept(item: Any, text: str) -> bool:
    """Whether a filter keeps a text; one at which it fails counts as dropped."""
    try:
        answer = item.filter(Document(text=text, id=""))
    except ZeroDivisionError:
        return False
    return answer is True


def speed(texts: list[str], language: str) -> float:
    """Seconds; a document that a filter drops meets no later one, as in a datatrove pipeline."""
    filters = pipeline(language)
    for item in filters:
        kept(item, texts[0])
    started = time.perf_counter()
    for text in texts:
        document = Document(text=text, id="")
        for item in filters:
            if item.filter(document) is not True:
                break
    return time.perf_counter() - started


def rules(texts: list[str], language: str) -> dict[str, list[bool]]:
    """Whether each text fails each rule."""
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = functools.lru_cache(maxsize=4)(module.split_into_words)
    return {
        name: [not kept(item, text) for text in texts]
        for name, item in single_rules(language).items()
    }


if __name__ == "__main__":
    part, path, name = sys.argv[1:]
    with open(path, encoding="utf-8") as stream:
        given = json.load(stream)
    print(json.dumps((speed if part == "speed" else rules)(given, name)))
