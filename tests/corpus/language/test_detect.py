"""Language and script: both Chinese scripts, and languages that write with Han."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.hanzi import is_traditional, simplified_only, traditional_only
from skywright.corpus.language import MODEL, MODEL_SHA256, SAMPLE_CHARS, detect, sample
from tests.corpus.pages import DATA, EN, ZH, ZH_HANT, needs_data


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_model_is_the_published_one_and_names_its_licence() -> None:
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == MODEL_SHA256
    licence = Path(MODEL).with_name("LID176_LICENCE.txt").read_text()
    assert "Creative Commons Attribution-Share-Alike 3.0" in licence
    assert MODEL_SHA256 in licence


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        (EN, "en"),
        (ZH, "zh-Hans"),
        (ZH_HANT, "zh-Hant"),
        ("この川は古い町を流れており、創建以来四度橋が架けられました。", "ja"),
        ("이 강은 오래된 도시를 가로질러 흐르며 지금까지 네 번 다리가 놓였다.", "ko"),
        ("Der Fluss, der durch die alte Stadt fließt, ist viermal überbrückt worden.", "de"),
        ("床前明月光，疑是地上霜。举头望明月，低头思故乡。", "zh-Hans"),
        (
            "《超时空要塞》（超時空要塞マクロス）是1982年的日本动画作品，由美树本晴彦设计人物。",
            "zh-Hans",
        ),
    ],
)
def test_texts_are_told_apart(text: str, lang: str) -> None:
    assert detect(text).lang == lang


@pytest.mark.parametrize("text", ["", "   \n", "12 / 34 — 56", "…！？"])
def test_a_text_without_letters_has_no_language(text: str) -> None:
    assert detect(text) == ("und", 0.0)


@given(st.text())
def test_any_text_gets_an_answer(text: str) -> None:
    assert 0.0 <= detect(text).score <= 1.0


def test_long_texts_are_sampled_from_three_places() -> None:
    text = "a" * 5000 + "b" * 5000 + "c" * 5000
    assert set(sample(text)) == set("abc ")
    assert len(sample(text)) <= SAMPLE_CHARS + 2
    assert "\n" not in sample("one\ntwo\r\nthree")


def test_the_table_of_scripts_is_two_sided_and_leaves_common_characters_out() -> None:
    simplified, traditional = set(simplified_only()), set(traditional_only())
    assert (len(simplified), len(traditional)) == (1204, 2073)
    assert not simplified & traditional
    assert set("国这们说时对会学动过头发东车长门问间马鸟鱼语话请谢见观") - simplified == set()
    assert set("國這們說時對會學動過頭發東車長門問間馬鳥魚語話請謝見觀") - traditional == set()
    assert not set("的一是不人我有在中大上山水後里干面") & (simplified | traditional)
    assert not is_traditional("")


@needs_data
def test_paragraphs_of_nineteen_languages_are_told_apart() -> None:
    right: Counter[str] = Counter()
    paragraphs = rows("langid/debian_installation_guide_paragraphs.jsonl.gz")
    for row in paragraphs:
        found = detect(row["text"]).lang
        right[row["lang"]] += found == {"zh-CN": "zh-Hans"}.get(row["lang"], row["lang"])
    assert (right["en"], right["zh-CN"], right["ja"], right["ko"]) == (40, 40, 40, 40)
    assert sum(right.values()) / len(paragraphs) > 0.99


@needs_data
@pytest.mark.parametrize(
    ("name", "lang", "share"),
    [
        ("zh_wiki", "zh-Hans", 0.999),
        ("zh_poetry_traditional", "zh-Hant", 0.999),
        ("en_news_2024_06", "en", 0.999),
        ("zh_law", "zh-Hans", 0.999),
    ],
)
def test_real_documents_are_told_apart(name: str, lang: str, share: float) -> None:
    found = [detect(row["text"]).lang == lang for row in rows(f"corpus/{name}.jsonl.gz")]
    assert sum(found) / len(found) >= share
