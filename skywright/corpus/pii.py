"""Personal data in a text: found precisely, replaced by typed tokens, every cut recorded.

E-mail addresses, public IP addresses, Chinese mobile numbers, Chinese identity cards and bank
cards. A number that only looks like one (a version, a time stamp, an order number) is left alone:
checksums, assigned prefixes and the words before it decide. Names, postal addresses and numbers of
other countries are not looked for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from skywright.config import Config
from skywright.errors import UserError

VERSION = "pii/v3"

TOKENS = {
    "email": "[EMAIL]",
    "ip": "[IP]",
    "cn_mobile": "[PHONE]",
    "cn_identity_card": "[ID_CARD]",
    "bank_card": "[BANK_CARD]",
}
"""What stands for each kind."""

GROUPS = {
    "email": r"[A-Za-z0-9_%+-]@[A-Za-z0-9]",
    "ipv4": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
    "ipv6": r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]*:",
    "digits": r"[0-9０-９](?:[- －]?[0-9０-９]){9}",
}
"""What every text matches that holds something of the group (RE2, over a column at once)."""

_FULL_WIDTH = re.compile("[０-９]")
_HALF_WIDTH = str.maketrans("０１２３４５６７８９＋－", "0123456789+-")  # sign for sign

CONTEXT_CHARS = 16
"""How far before a number the words stand that make it a version or an order number."""


class PiiConfig(Config):
    """Which sources lose personal data: "web" (WARC, HTML inputs), "all", names, or () for none."""

    sources: Literal["web", "all"] | tuple[str, ...] = "web"


class Found(NamedTuple):
    """A piece of personal data: kind, and its place in characters of the text."""

    kind: str
    start: int
    end: int


# ---------------------------------------------------------------- e-mail

# RFC 5322's dot-atom in ASCII, with a domain of at least two labels and an alphabetic last one.
_USER_SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
_MAX_USER_CHARS = 64  # RFC 5321, 4.5.3.1.1
_EMAIL = re.compile(
    r"[A-Za-z0-9_%+-](?:[A-Za-z0-9._%+'-]*[A-Za-z0-9_%+-])?"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,18}"
    r"(?![A-Za-z0-9@]|\.[A-Za-z0-9])"
)
# Names of files and retina pictures that look like addresses: icon@2x.png.
_FILE_ENDINGS = frozenset(
    ("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "py", "json", "html", "xml",
     "md", "txt")
)  # fmt: skip
# RFC 2606 reserves these for examples: nobody has an address there.
_EXAMPLE = re.compile(r"(?:^|\.)(?:example\.(?:com|org|net)|(?:example|invalid|localhost|test))$")
# The one user of code hosts: git@github.com.
_NOBODY = frozenset(("git", "hg", "svn"))


def _is_email(match: re.Match[str]) -> bool:
    user, _, domain = match.group().lower().rpartition("@")
    ending = domain.rpartition(".")[2]
    return not (
        ".." in user or user in _NOBODY or ending in _FILE_ENDINGS or _EXAMPLE.search(domain)
    )


# ---------------------------------------------------------------- IP addresses

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![\w.:/-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.[\w])")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:.])")
_VERSION_WORD = re.compile(
    r"(?:(?<![A-Za-z])(?:version|release|build|firmware|driver|kernel|ver|rev|section|v)"
    r"|版本|版|第|号|§|[<>=~^]=?)\W{0,3}$",
    re.IGNORECASE,
)
MIN_OCTET = 20
"""An IPv4 address has a part of at least this. Of random addresses one in 25,000 has none; version
numbers (4.9.0.1), and well-known resolvers (8.8.8.8), which are nobody's, mostly have none."""


def _is_ipv4(match: re.Match[str]) -> bool:
    parts = [int(part) for part in match.group().split(".")]
    before = match.string[max(0, match.start() - CONTEXT_CHARS) : match.start()]
    return (
        max(parts) >= MIN_OCTET
        and not _VERSION_WORD.search(before)
        and ipaddress.IPv4Address(match.group()).is_global
    )


def _is_ipv6(match: re.Match[str]) -> bool:
    try:
        return ipaddress.IPv6Address(match.group()).is_global
    except ValueError:
        return False


# ---------------------------------------------------------------- numbers

_ORDER_WORD = re.compile(
    r"(?:订单|單號|单号|编号|編號|流水|序列|型号|货号|条码|批号|文号|交易|快递|运单|基金|股票|代码|"
    r"群|QQ|(?<![A-Za-z])(?:ISBN|ISSN|DOI|order|tracking|serial|invoice|ticket|sku|part|id|no))"
    r"[^0-9A-Za-z\u4e00-\u9fff]{0,4}$|[#＃]$|=$",
    re.IGNORECASE,
)
# `Phone No.` announces what `No.` alone rules out.
_PHONE_NUMBER = re.compile(r"(?:phone|mobile|cell|tel\.?)\s?nos?\W{0,4}$", re.IGNORECASE)


def _follows_order_word(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - CONTEXT_CHARS) : match.start()]
    return bool(_ORDER_WORD.search(before)) and not _PHONE_NUMBER.search(before)


# Prefixes that China's ministry of industry has assigned to mobile networks (state of 2024).
_MOBILE = re.compile(
    r"(?<![\w.+-])(?:(?:\+|00)?86[- ]?)?"
    r"1(?:3[0-9]|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])([- ]?)[0-9]{4}\1[0-9]{4}"
    r"(?![0-9A-Za-z_]|[.-][0-9])",
    re.ASCII,
)

_CARD_OF_IDENTITY = re.compile(
    r"(?<![0-9A-Za-z.])[1-9][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"[0-9]{3}[0-9Xx](?![0-9A-Za-z])"
)
# GB/T 2260: the first two digits of a place are its province.
_PROVINCES = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 "
    "71 81 82 83"
)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def identity_checksum(digits: str) -> str:
    """The last sign of an identity card from its first 17 digits: ISO 7064 MOD 11-2, GB 11643."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(digits[:17]))
    return "10X98765432"[total % 11]


def _is_identity_card(match: re.Match[str]) -> bool:
    number = match.group().upper()
    month, day = int(number[10:12]), int(number[12:14])
    return (
        number[:2] in _PROVINCES.split()
        and day <= _MONTH_DAYS[month - 1]
        and identity_checksum(number) == number[17]
    )


# 15 to 19 digits, plain or in groups of four, of the big networks (ISO/IEC 7812 issuers).
_BANK_CARD = re.compile(
    r"(?<![0-9A-Za-z_.=-])(?:[2-6][0-9]{14,18}|[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{3,4}"
    r"(?:\1?[0-9]{1,3})?)(?![0-9A-Za-z_]|[.-][0-9])"
)
_ISSUERS = re.compile(
    r"62[0-9]{14,17}|4[0-9]{15}|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)"
    r"[0-9]{12}|3[47][0-9]{13}|35[0-9]{14}|6(?:011|5[0-9]{2})[0-9]{12}"
)


def luhn(digits: str) -> bool:
    """Whether the last digit is the checksum of the others (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (sum(doubled) + sum(int(d) for d in digits[::-2])) % 10 == 0


def _is_bank_card(match: re.Match[str]) -> bool:
    digits = re.sub(r"[ -]", "", match.group())
    return (
        bool(_ISSUERS.fullmatch(digits))
        and luhn(digits)
        and len(set(digits)) > 3  # 4444 4444 4444 4448 is a filler
        and not _follows_order_word(match)
    )


# ---------------------------------------------------------------- finding

_KINDS: tuple[tuple[str, str, re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
    ("ipv4", "ip", _IPV4, _is_ipv4),
    ("ipv6", "ip", _IPV6, _is_ipv6),
    ("digits", "cn_identity_card", _CARD_OF_IDENTITY, _is_identity_card),
    ("digits", "bank_card", _BANK_CARD, _is_bank_card),
    ("digits", "cn_mobile", _MOBILE, lambda match: not _follows_order_word(match)),
)

_STRETCHES = {
    "ipv4": (re.compile(r"[0-9][0-9.]{6,}"), 2),
    "digits": (re.compile(r"[0-9](?:[- ]?[0-9]){9,}"), 3),
}
"""By group, the longest stretches of a text in which alone its kinds can stand (a plus sign before
and a letter behind apart), and how far behind its stretch a pattern looks. A search for these is
twenty times as fast as one for what begins with a look back."""


def _matches(text: str, group: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    if group not in _STRETCHES:
        yield from pattern.finditer(text)
        return
    stretches, behind = _STRETCHES[group]
    for at in stretches.finditer(text):
        yield from pattern.finditer(text, max(0, at.start() - 1), at.end() + behind)


def find(text: str, groups: Collection[str] = tuple(GROUPS)) -> list[Found]:
    """Personal data of a text, in its order, without overlaps (an earlier kind wins).

    `groups` are those of GROUPS to look for, where `candidates` has told which a text can hold.
    """
    found = list(_emails(text)) if "email" in groups else []
    if "digits" in groups and _FULL_WIDTH.search(text):
        text = text.translate(_HALF_WIDTH)
    for group, kind, pattern, accepted in _KINDS:
        if group in groups:
            found += [Found(kind, *m.span()) for m in _matches(text, group, pattern) if accepted(m)]
    found.sort(key=lambda item: item.start)  # stable: of two at one place the earlier kind
    apart: list[Found] = []
    for item in found:
        if not apart or item.start >= apart[-1].end:
            apart.append(item)
    return apart


def _emails(text: str) -> Iterator[Found]:
    """Addresses around each @: a search of the whole text would try every word."""
    at = text.find("@")
    while at >= 0:
        before = text[max(0, at - _MAX_USER_CHARS) : at]
        user = before[len(before.rstrip(_USER_SIGNS)) :].lstrip(".'")
        match = _EMAIL.match(text, at - len(user)) if user else None
        if match and _is_email(match):
            yield Found("email", *match.span())
        at = text.find("@", at + 1)


def redact(text: str, found: list[Found]) -> str:
    """The text with every finding replaced by the token of its kind."""
    parts, end = [], 0
    for item in found:
        parts += [text[end : item.start], TOKENS[item.kind]]
        end = item.end
    return "".join([*parts, text[end:]])


def candidates(texts: pa.Array | pa.ChunkedArray) -> dict[int, set[str]]:
    """Rows of a text column that may hold something, and of which groups.

    One pass of RE2 a group, without Python strings.
    """
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise UserError(f"pii: expected a column of text, got {texts.type}")
    rows: dict[int, set[str]] = {}
    for group, pattern in GROUPS.items():
        for row in pc.indices_nonzero(pc.match_substring_regex(texts, pattern)).to_pylist():
            rows.setdefault(row, set()).add(group)
    return rows
