"""Characters and text of pages: declared, undeclared and wrongly declared charsets; guards."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.charset import codec_of, decode
from skywright.corpus.config import ExtractionConfig, LimitsConfig
from skywright.corpus.extract import Extracted, extract
from skywright.corpus.sources.warc import read_warc_file
from tests.corpus.pages import DATA, EN, ZH, ZH_HANT, html, needs_data


def text_of(data: bytes, charset: str | None = None, tier: str = "own", **limits: int) -> Extracted:
    limits = {"max_tags": 10_000, "max_depth": 500, "max_text_bytes": 10**6} | limits
    return extract(
        data, charset, LimitsConfig.model_validate(limits),
        ExtractionConfig.model_validate({"tier": tier}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "codec"),
    [(ZH, "gb18030"), (ZH, "gbk"), (ZH, "utf-8"), (ZH_HANT, "big5"), (EN, "ascii"), (ZH, "utf-16")],
)
def test_a_page_without_declared_charset_comes_out_right(text: str, codec: str) -> None:
    page = text_of(html(text).encode(codec))
    assert page.text == text
    assert page.replaced == 0


@pytest.mark.parametrize(
    ("http", "meta", "codec"),
    [
        ("gb2312", None, "gb18030"),
        (None, "gb2312", "gb18030"),
        ("iso-8859-1", "gbk", "gbk"),  # the header a server sends unasked
        ("iso-8859-1", None, "gbk"),
        ("utf-8", None, "gb18030"),  # a header that does not fit the bytes
        ("gbk", None, "utf-8"),
        ("no-such-charset", "utf8", "utf-8"),
        ("rot13", "base64", "utf-8"),
    ],
)
def test_a_declared_charset_is_believed_as_far_as_it_fits(
    http: str | None, meta: str | None, codec: str
) -> None:
    # A rare character (U+20BB7) that GB 2312 lacks and GB 18030 has, where the codec can write it.
    text = ZH if codec == "gbk" else ZH + "𠮷"
    assert text_of(html(text, meta).encode(codec), http).text == text


def test_a_page_of_one_charset_with_a_broken_byte_keeps_the_rest() -> None:
    data = html(ZH).encode().replace("桥墩".encode(), "桥墩".encode()[:-1], 1)
    page = text_of(data, "utf-8")
    assert page.charset == "utf-8"
    assert page.replaced == 1
    assert page.text is not None
    assert page.text.startswith(ZH[:20])


def test_accented_letters_are_no_chinese() -> None:
    text = "Le café où l'été s'achève à Orléans, près de la forêt, est fermé."
    assert text_of(html(text).encode("cp1252"), "iso-8859-1").text == text


@given(data=st.binary(max_size=400), charset=st.sampled_from([None, "gbk", "utf-8", "x", "utf-16"]))
def test_decoding_never_raises_and_gives_text_that_can_be_written(
    data: bytes, charset: str | None
) -> None:
    decode(data, charset).text.encode()


@pytest.mark.parametrize("tier", ["own", "fast"])
def test_widths_and_punctuation_stay_as_they_stood_on_the_page(tier: str) -> None:
    text = "Ｆｕｌｌ　ｗｉｄｔｈ：“引号”，１２３。ﬁ ① ㎏ Å é é"
    page = text_of(html(text).encode(), tier=tier).text
    assert page is not None
    assert re.sub(r"\s", "", page) == re.sub(r"\s", "", text)


def test_guards_count_before_they_parse() -> None:
    deep = b"<html><body>" + b"<div>" * 600 + b"text"
    assert (text_of(deep).rule, text_of(deep).value) == ("depth", 600)
    assert text_of(b"<p>" * 20_000).rule == "tags"
    assert text_of(b"<pre>" + b"x\n" * 20_000).rule == "lines"
    assert text_of(html("x" * 2000).encode(), max_text_bytes=1000).rule == "text_bytes"
    many = b"<p " + b" ".join(b"a%d" % i for i in range(1_001)) + b">text"
    assert (text_of(many).rule, text_of(many).value) == ("attributes", 1_001)


@pytest.mark.parametrize("tier", ["own", "fast"])
def test_menus_and_scripts_are_no_text(tier: str) -> None:
    page = (
        "<html><head><title>T</title><script>var x = 1</script></head><body>"
        f"<nav><a href=/>Home</a></nav><article><p>{EN}</p></article></body></html>"
    )
    assert text_of(page.encode(), tier=tier)[:3] == (EN, "ascii", "T")


def test_charset_labels_are_read_as_browsers_do() -> None:
    labels = ("GB2312", '"gbk"', "latin1", "Shift_JIS", "hex", None)
    assert [codec_of(name) for name in labels] == [
        "gb18030", "gb18030", "cp1252", "cp932", None, None,
    ]  # fmt: skip


@needs_data
def test_real_pages_come_out_the_same_when_their_declared_charset_is_taken_away() -> None:
    seen = set()
    for record in read_warc_file(DATA / "warc" / "demo_web_pages.warc.gz", "s", 8 << 20):
        if record.content_type != "text/html":
            continue
        assert record.payload is not None
        bare = re.sub(rb"(?i)charset", b"chrsxt_"[:7], record.payload)
        declared, found = decode(record.payload, record.charset), decode(bare, None)
        assert found.charset == declared.charset
        assert found.text == re.sub("(?i)charset", "chrsxt_", declared.text)
        seen.add(found.charset)
    assert {"gb18030", "utf-8"} <= seen
