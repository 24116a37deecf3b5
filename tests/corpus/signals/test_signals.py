from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus import fold, kernels, signals
from skywright.errors import UserError
from tests.corpus.signals import reference

EN = (
    "The quick brown fox can't jump.\n"
    "- The lazy dog, with 2 bones...\n"
    "\n"
    "  The  quick brown fox CAN'T jump.\n"
    "Read # more"
)
ZH = "【快讯】今天是2024年的第３天。\n她说：“天气很好！”\n阅读全文\n今天是2024年的第3天。…"

# Pieces that make the interesting cases likely: repeats, marks, formats, widths, mojibake.
PIECES = st.sampled_from(
    [
        "the ", "The ", "with", " be ", "我们", "的", "是", "天天", "今天是2024年", "\n",
        "\n\n", "\r\n", "\u2028", "...", "。。。", "…", "……", "# ", "- ", "• ", "【", "】",
        "《", "》", "！", "Ａ", "ｱﾞ", "é", "e\u0301", "\u0301", "\u200b", "\ufeff", "\u00ad",
        "\u3000", "\u00a0", "锟斤拷", "烫烫烫烫", "屯屯", "\ufffd", "Ã¤", "â€™", "Â", "é»",
        "展开", "ICP备", "更多", "カタカナ", "한국어", "𠀀", "ﬁ", "İ", "①", "½", "😀",
        "javascript ", "use cookies", "lorem ipsum", "Read more...", "Sign-in ", "3 likes",
        "items in cart", "ALL CAPS ", "2024", "|", "QQ:12345678", "13812345678", "裸聊", "下注",
        "en, de, fr, it, ", "<b>", "{", "www ", "Vol. ", "# x", "//", "国这們開", "、", "mp3 ",
        "\u2029", "\x0b", "\x85", "a b c d e f g h i j k ", "〇", "々", "\U000e0101",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=40).map("".join)


def row(text: str) -> dict[str, float]:
    return signals.measure(pa.array([text])).to_pylist()[0]


def test_golden_english() -> None:
    # tokens: the quick brown fox can t jump | the lazy dog with 2 bones | (7 again) | read more
    found = row(EN)
    assert found["chars"] == found["bytes"] == len(EN)
    assert found["tokens"] == 7 + 6 + 7 + 2
    assert found["lines"] == 4
    # 3+5+5+3+3+1+4 = 24; 3+4+3+4+1+5 = 20; 4+4 = 8
    assert found["mean_token_chars"] == pytest.approx((24 + 20 + 24 + 8) / 22)
    assert found["hash_token_ratio"] == pytest.approx(1 / 22)
    assert found["ellipsis_token_ratio"] == pytest.approx(1 / 22)
    assert found["bullet_line_share"] == 1 / 4
    assert found["ellipsis_line_share"] == 1 / 4
    assert found["letter_token_share"] == pytest.approx(21 / 22)
    assert found["en_stop_words"] == 2  # the, with
    assert found["dup_line_share"] == 1 / 4
    # lines of 31, 31, 31 and 11 characters; the third equals the first but for case and spaces
    assert found["dup_line_char_share"] == pytest.approx(31 / (31 + 31 + 31 + 11))
    assert found["mean_line_chars"] == pytest.approx(104 / 4)
    assert found["max_line_chars"] == 31
    assert found["short_line_share"] == 1 / 4
    assert found["terminal_line_share"] == 3 / 4
    assert found["newline_token_ratio"] == pytest.approx(4 / 22)
    # six pairs come twice; the first of them, "the quick", has 8 characters
    assert found["top_2gram_char_share"] == pytest.approx(2 * 8 / 76)
    # the greedy scan meets "the quick brown fox can" again (19 characters), nothing later
    assert found["dup_5gram_char_share"] == pytest.approx(19 / 76)
    assert found["dup_7gram_char_share"] == pytest.approx(24 / 76)
    assert found["dup_8gram_char_share"] == 0
    assert found["digit_share"] == pytest.approx(1 / 76)
    assert found["latin_chars"] == 75
    assert found["han_share"] == 0


def test_golden_chinese() -> None:
    found = row(ZH)
    assert found["chars"] == len(ZH)
    # 快讯 今天是 2024 年的第 3 天 | 她说天气很好 | 阅读全文 | 今天是 2024 年的第 3 天
    assert found["tokens"] == (2 + 3 + 1 + 3 + 1 + 1) + 6 + 4 + 9
    assert found["han_chars"] == 9 + 6 + 4 + 7
    assert found["lines"] == 4
    assert found["terminal_line_share"] == 3 / 4  # 。 ” and … end lines, 文 does not
    assert found["ellipsis_line_share"] == 1 / 4
    assert found["ui_line_share"] == 1 / 4
    assert found["zh_stop_chars"] == 3  # 是 年 的
    assert found["digit_share"] == pytest.approx(10 / (26 + 10))
    # characters of the lines: 【快讯】 4 + 13 + 。; 她说：“天气很好！” 11 - 1; 4; 13 + 2
    solid = (4 + 12 + 1) + 10 + 4 + (12 + 2)
    assert found["han_share"] == pytest.approx(26 / solid)
    assert found["bracket_char_share"] == pytest.approx(4 / solid)
    # 今天是 2024 年的第 3 天: 9 tokens of 12 characters come twice
    assert found["dup_9gram_char_share"] == pytest.approx(12 / 36)
    assert found["dup_10gram_char_share"] == 0
    assert found["mojibake_share"] == 0


@pytest.mark.parametrize(
    ("text", "bad_chars"),
    [
        ("锟斤拷锟斤拷", 6),
        ("烫烫", 0),
        ("烫烫烫烫", 4),
        ("Ã¤hnlich", 2),
        ("itâ€™s", 3),
        ("å¤©æ°”", 6),  # 天气
        ("«Modifié»", 0),
        ("\ufffdabc", 1),
        ("café déjà vu", 0),
    ],
)
def test_mojibake_is_counted_and_accents_are_not(text: str, bad_chars: int) -> None:
    assert row(text)["mojibake_share"] == pytest.approx(bad_chars / len(text))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_every_signal_equals_the_plain_python_reference(text: str) -> None:
    expected = reference.signals(text)
    found = row(text)
    assert set(found) == set(expected) == set(signals.SIGNALS)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, max_size=8), st.integers(0, 8), st.booleans())
def test_a_row_depends_on_its_text_alone(texts: list[str], cut: int, large: bool) -> None:
    kind = pa.large_string() if large else pa.string()
    whole = signals.measure(pa.array(texts, kind))
    alone = [row(text) for text in texts]
    assert whole.schema == signals.SCHEMA
    assert whole.to_pylist() == alone
    sliced = pa.array(["x", *texts, "y"], kind).slice(1 + cut, max(0, len(texts) - cut))
    assert signals.measure(sliced).to_pylist() == alone[cut:]
    chunked = pa.chunked_array([texts[:cut], texts[cut:]], kind)
    assert signals.measure(chunked).to_pylist() == alone


def test_chunks_of_documents_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array([EN * 3, "", ZH, ZH * 2, EN] * 5)
    whole = signals.measure(texts)
    for size in (1, 100, 1000):
        monkeypatch.setattr(kernels, "CHUNK_BYTES", size)
        assert signals.measure(texts).equals(whole)


def test_nothing_is_nan_in_a_text_without_tokens() -> None:
    for text in ("", " \n ", "。。。", "\u200b", "\u0301"):
        assert all(np.isfinite(value) for value in row(text).values())
    assert row("")["chars"] == 0


def test_bytes_that_are_no_utf8_read_as_replacement_characters() -> None:
    raw = [b"a\xff\xe4\xb8", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80", b"ok"]
    offsets = pa.array(np.cumsum([0, *map(len, raw)]).astype(np.int32))
    texts = pa.StringArray.from_buffers(len(raw), offsets.buffers()[1], pa.py_buffer(b"".join(raw)))
    found = signals.measure(texts)
    assert found["chars"].to_pylist() == [4, 3, 3, 2, 2]
    assert found["mojibake_share"].to_pylist() == [3 / 4, 1, 1, 1, 0]


def test_a_null_is_refused_with_its_row() -> None:
    with pytest.raises(UserError, match="row 1, field text"):
        signals.measure(pa.array(["a", None]))
    with pytest.raises(UserError, match="int64"):
        signals.measure(pa.array([1, 2]))


def test_the_fold_is_the_definition_for_every_code_point_and_folds_once() -> None:
    table, classes = fold.tables()
    for code in range(0, fold.CODE_POINTS, 7):
        if not 0xD800 <= code < 0xE000:
            assert chr(table[code]) == reference.fold(chr(code)), hex(code)
            letter = unicodedata.category(chr(code))[0] == "L"
            assert bool(classes[code] & fold.LETTER) == letter, hex(code)
    assert np.array_equal(table[table], table)


def test_every_signal_has_a_formula_and_a_version() -> None:
    assert all(s.formula and "/v" in s.version for s in signals.SIGNALS.values())
    assert [field.name for field in signals.SCHEMA] == list(signals.SIGNALS)
