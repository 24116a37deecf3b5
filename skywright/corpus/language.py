"""Which language a text is in: fastText's lid.176, corrected by what its script can tell.

The model is the compressed lid.176.ftz (fastText authors, CC BY-SA 3.0, see
assets/LID176_LICENCE.txt), shipped unchanged and checked before it is loaded.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from skywright.corpus.hanzi import is_traditional
from skywright.corpus.sourcecode import MIN_CODE_SHARE, code_share, may_be_code
from skywright.errors import UserError

MODEL = Path(__file__).parent / "assets" / "lid.176.ftz"
MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"

SAMPLE_CHARS = 1_500
"""The model sees at most so many characters, from three places; more changes no answer (measured
on the paragraphs of 19 languages and the articles of both)."""

MIN_KANA_SHARE, SURE_KANA_SHARE = 0.01, 0.2
"""Kana among Han and kana: a text with a smaller share than the first is not Japanese, one with a
greater share than the second is no Chinese; between them (Chinese pages on Japanese subjects) the
model decides. Measured: 1 % alone calls 14 of 848 Chinese Wikipedia paragraphs Japanese; the
40 Japanese paragraphs of the language test have more than 60 %."""

MIXED_SCORE = 0.65
"""A page in both Chinese and English splits the model's score between them, and neither reaches
.65, the least that is believed (RefinedWeb's, arXiv 2306.01116, section 3.1). Then both count
together, for the one that has more."""

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3041-\u309f\u30a0-\u30fa\u30fc-\u30ff\u31f0-\u31ff]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_CHINESE = ("zh", "wuu", "yue")
_NAMES = 5  # labels asked of the model; the rest holds next to nothing


class Detected(NamedTuple):
    """`lang` is "en", "zh-Hans", "zh-Hant" or another code of the model ("und" for no letters);
    from `label` also "code".
    """

    lang: str
    score: float


@lru_cache(maxsize=1)
def _model() -> Any:
    if hashlib.sha256(MODEL.read_bytes()).hexdigest() != MODEL_SHA256:
        raise UserError(f"{MODEL}: not the shipped model (other checksum); install skywright again")
    import fasttext

    # Not fasttext.load_model(), which prints; not Model.predict(), which copies through numpy.
    return fasttext.FastText._FastText(model_path=str(MODEL)).f


def sample(text: str) -> str:
    """At most `SAMPLE_CHARS` characters from the start, the middle and the end, in one line."""
    if len(text) > SAMPLE_CHARS:
        part = SAMPLE_CHARS // 3
        middle = (len(text) - part) // 2
        text = f"{text[:part]} {text[middle : middle + part]} {text[-part:]}"
    return " ".join(text.split())


def detect(text: str) -> Detected:
    """Language of a text and how sure that is (0 to 1).

    Chinese varieties count as Chinese; Japanese without kana and Korean without hangul cannot be,
    and their share goes to Chinese where the text is Han. Of a page in Chinese and English the
    score says how sure it is that it is in one of these.
    """
    line = sample(text)
    if not any(character.isalpha() for character in line):
        return Detected("und", 0.0)
    scores: dict[str, float] = {}
    for score, label in _model().predict(line + "\n", _NAMES, 0.0, "strict"):
        scores[label.removeprefix("__label__")] = min(float(score), 1.0)
    han = kana = hangul = 0
    if not line.isascii():
        han, kana, hangul = (len(p.findall(line)) for p in (_HAN, _KANA, _HANGUL))
    chinese = sum(scores.pop(name, 0.0) for name in _CHINESE)
    kana_share = kana / (han + kana) if han + kana else 0.0
    if han and kana_share < MIN_KANA_SHARE:
        chinese += scores.pop("ja", 0.0)
    if han and not hangul:
        chinese += scores.pop("ko", 0.0)
    if kana_share > SURE_KANA_SHARE:
        scores["ja"] = scores.get("ja", 0.0) + chinese
    elif hangul > han:
        scores["ko"] = scores.get("ko", 0.0) + chinese
    else:
        scores["zh"] = chinese
    lang = max(sorted(scores), key=lambda name: scores[name])
    score = scores[lang]
    if han and score < MIXED_SCORE and lang in ("zh", "en"):
        score = scores.get("zh", 0.0) + scores.get("en", 0.0)
    score = min(score, 1.0)
    if lang != "zh":
        return Detected(lang, score)
    return Detected("zh-Hant" if is_traditional(line) else "zh-Hans", score)


def label(text: str) -> Detected:
    """What a document counts as: "code" where source code prevails (with its share of the text for
    a score), else its language.
    """
    share = code_share(text) if may_be_code(text) else 0.0
    return Detected("code", share) if share >= MIN_CODE_SHARE else detect(text)
