"""Personal data: what is found, what only looks like it, and that nothing else changes."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus import pii

DATA = next(
    (p / "shared/data/corpus" for p in Path(__file__).parents if (p / "shared/data").is_dir()), None
)


def kinds(text: str) -> list[tuple[str, str]]:
    return [(item.kind, text[item.start : item.end]) for item in pii.find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("to jane.doe+list@mail.acme.co.uk, please", "email", "jane.doe+list@mail.acme.co.uk"),
        ("邮箱：zhang_san@163.com。", "email", "zhang_san@163.com"),
        ("mailto:jane@acme.org", "email", "jane@acme.org"),
        ("to='jane@acme.org'", "email", "jane@acme.org"),
        ("connect to 203.119.25.7:8080 now", "ip", "203.119.25.7"),
        ("IP地址 61.135.169.125，", "ip", "61.135.169.125"),
        # Words that merely end like one for versions or orders.
        ("server 203.119.25.7 is down", "ip", "203.119.25.7"),
        ("he said 13812345678", "cn_mobile", "13812345678"),
        ("Mobile No. 13812345678", "cn_mobile", "13812345678"),
        ("over 2400:3200::1 only", "ip", "2400:3200::1"),
        ("手机：13812345678", "cn_mobile", "13812345678"),
        ("电话 +86 138-1234-5678 联系", "cn_mobile", "+86 138-1234-5678"),
        ("联系电话：13853306319 欢迎", "cn_mobile", "13853306319"),
        # GB 11643's own example number.
        ("身份证号 11010519491231002X。", "cn_identity_card", "11010519491231002X"),
        ("卡号 6222 0212 3456 7890 128", "bank_card", "6222 0212 3456 7890 128"),
        ("paid with 4539-1488-0343-6467", "bank_card", "4539-1488-0343-6467"),
    ],
)  # fmt: skip
def test_personal_data_is_found(text: str, kind: str, piece: str) -> None:
    if kind == "bank_card" and not pii.luhn("".join(c for c in piece if c.isdigit())):
        body = "".join(c for c in piece if c.isdigit())[:-1]
        right = next(d for d in "0123456789" if pii.luhn(body + d))
        text, piece = text.replace(piece, piece[:-1] + right), piece[:-1] + right
    assert kinds(text) == [(kind, piece)]
    (row,) = pii.candidates(pa.array([text, "nothing here"])).items()
    assert row[0] == 0
    assert pii.find(text, row[1]) == pii.find(text)


@pytest.mark.parametrize(
    "text",
    [
        "version 4.15.20.3 of the driver",
        "Chrome/91.0.4472.124 Safari/537.36",
        "see 192.168.1.20 or 10.20.30.40",  # private
        "dns 8.8.8.8",
        "section 3.21.4.2. of",
        "icon@2x.png and git@github.com:a/b",
        "someone@example.com",
        "订单号：13812345678",
        "at 1609459200000 ms and 1609459200 s",
        "20231011123456789",  # a time stamp
        "身份证 110105194912310021",  # wrong checksum
        "11010519491331002X",  # month 13
        "card 4539 1488 0343 6468",  # wrong Luhn digit
        "order 4539148803436467",
        "ver. 203.119.25.7",
        "invoice no. 13812345678",
        "std::vector<int>::iterator at 12:30:45",
        "2001:db8::1",  # documentation
        "3.14159265358979323846",
        "ISBN 9787302122609",
        "@decorator\ndef f(): pass",
        "x@y",
    ],
)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert kinds(text) == []


def test_the_last_sign_of_an_identity_card_follows_the_standard() -> None:
    assert pii.identity_checksum("11010519491231002") == "X"
    assert pii.identity_checksum("44052418800101001") == "4"  # the standard's second example


@given(st.text())
def test_text_without_findings_is_unchanged_and_findings_lie_apart(text: str) -> None:
    found = pii.find(text)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    if not found:
        assert pii.redact(text, found) == text
    else:
        clean = text.encode("utf-8", "replace").decode()
        assert pii.find(clean, pii.candidates(pa.array([clean]))[0]) == pii.find(clean)


@given(st.text(alphabet="a1.@ 中", max_size=30), st.sampled_from(["a.b@mail.org", "13812345678"]))
def test_an_address_between_spaces_is_always_found(around: str, piece: str) -> None:
    text = f"{around} 中 {piece} 中 {around}"
    assert piece in [text[f.start : f.end] for f in pii.find(text)]


NUMBERS = (
    "13812345678", "+86 138-1234-5678", "0086", "11010519491231002X", "4111 1111 1111 1111",
    "6222020200112230", "93.184.216.34", "1.2.3.4", "10.0.0.1",
)  # fmt: skip


@given(st.lists(st.sampled_from([*NUMBERS, *"0189+- .=/xX:é中a\n"]), max_size=14).map("".join))
def test_looking_where_digits_are_finds_what_looking_everywhere_finds(text: str) -> None:
    for group, _, pattern, _ in pii._KINDS:
        everywhere = [match.span() for match in pattern.finditer(text)]
        assert [match.span() for match in pii._matches(text, group, pattern)] == everywhere


def test_full_width_digits_are_found_and_only_they_go() -> None:
    text = "电话：１３８１２３４５６７８，证号１１０１０５１９４９１２３１００２X；"
    text += "１２３４５６７８９０"
    assert pii.candidates(pa.array([text]))[0]
    assert pii.redact(text, pii.find(text)) == "电话：[PHONE]，证号[ID_CARD]；１２３４５６７８９０"


def test_redaction_puts_typed_tokens_and_keeps_the_rest() -> None:
    text = "Ring 13812345678 or write to a.b@mail.org!"
    assert pii.redact(text, pii.find(text)) == "Ring [PHONE] or write to [EMAIL]!"


@pytest.mark.skipif(DATA is None, reason="no shared data beside this checkout")
def test_real_law_poetry_and_news_hold_next_to_no_personal_data() -> None:
    found: list[str] = []
    for name in ("zh_law", "zh_poetry_traditional", "en_literature"):
        with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as stream:
            for line in stream:
                found += [piece for _, piece in kinds(json.loads(line)["text"])]
    assert found == []
