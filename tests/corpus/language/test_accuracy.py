"""Language accuracy, language by language, against floors; short texts; pages in two languages."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable

import pytest

from skywright.corpus.language import detect
from tests.corpus.pages import DATA, needs_data

FLOORS = {
    # of 40 paragraphs each: the first 20, 50 and 100 characters, and the whole paragraph
    "ca": (21, 37, 38, 40), "cs": (29, 37, 39, 40), "da": (31, 36, 36, 39), "de": (37, 40, 40, 40),
    "el": (40, 40, 40, 40), "en": (33, 40, 40, 40), "es": (34, 39, 40, 40), "fr": (34, 38, 38, 39),
    "id": (23, 37, 39, 40), "it": (33, 40, 40, 40), "ja": (40, 40, 40, 40), "ko": (40, 40, 40, 40),
    "nl": (31, 38, 40, 40), "pt": (33, 35, 37, 38), "ro": (28, 38, 40, 40), "ru": (37, 40, 40, 40),
    "sv": (32, 38, 40, 40), "vi": (38, 40, 40, 40), "zh-CN": (40, 40, 40, 40),
}  # fmt: skip
LENGTHS = (20, 50, 100, None)


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@needs_data
@pytest.mark.parametrize(("place", "length"), list(enumerate(LENGTHS)))
def test_every_language_is_told_at_every_length(place: int, length: int | None) -> None:
    right: Counter[str] = Counter()
    for row in rows("langid/debian_installation_guide_paragraphs.jsonl.gz"):
        wanted = {"zh-CN": "zh-Hans"}.get(row["lang"], row["lang"])
        right[row["lang"]] += detect(row["text"][:length]).lang == wanted
    assert set(right) == set(FLOORS)
    below = {lang: n for lang, n in right.items() if n < FLOORS[lang][place]}
    assert below == {}


def mixed(zh_bytes: int, en_bytes: int) -> Iterable[str]:
    """Pages of one Chinese and one English article, in turn by short lines."""
    chinese = rows("corpus/zh_wiki.jsonl.gz")[:60]
    english = rows("corpus/en_wiki_2024_06.jsonl.gz")[:60]
    for zh, en in zip(chinese, english, strict=True):
        zh_text, en_text = zh["text"][: zh_bytes // 3], en["text"][:en_bytes]
        lines = [zh_text[i : i + 40] for i in range(0, len(zh_text), 40)]
        for place in range(0, len(en_text), 120):
            lines.insert(2 * place // 120, en_text[place : place + 120])
        yield "\n".join(lines)


@needs_data
@pytest.mark.parametrize("zh_share", [0.3, 0.5, 0.7])
def test_a_page_in_both_languages_is_not_lost(zh_share: float) -> None:
    found = [detect(page) for page in mixed(int(900 * zh_share), int(900 * (1 - zh_share)))]
    kept = [f for f in found if f.lang in ("en", "zh-Hans") and f.score >= 0.65]
    assert len(kept) >= 58
    if zh_share < 0.5:
        assert {f.lang for f in kept} == {"en"}


@needs_data
def test_traditional_text_is_never_uncertain() -> None:
    found = [detect(row["text"]) for row in rows("corpus/zh_poetry_traditional.jsonl.gz")]
    assert {f.lang for f in found} == {"zh-Hant"}
    assert min(f.score for f in found) >= 0.65
