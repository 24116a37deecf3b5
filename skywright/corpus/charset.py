"""From the bytes of a page to its characters.

Order of belief: a byte order mark, bytes that are UTF-8 beyond chance, the charset of the HTTP
header, that of the page's own `<meta>`, a detector (uchardet, through resiliparse). A declared
charset that does not fit the bytes is passed over.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

import numpy as np
from resiliparse.parse.encoding import detect_encoding

_META = re.compile(
    rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE
)
_META_BYTES = 4096  # browsers look at the first 1,024; real pages put scripts before their <meta>
_DETECT_BYTES = 1 << 17
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WHATWG = {
    # The WHATWG Encoding Standard reads these labels as the larger set that pages really use.
    "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "gb_2312-80": "gb18030",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252",
    "us-ascii": "cp1252", "windows-1252": "cp1252", "iso8859-1": "cp1252",
    "big5": "big5hkscs", "x-x-big5": "big5hkscs", "shift_jis": "cp932", "sjis": "cp932",
    "shift-jis": "cp932", "euc-kr": "cp949", "ks_c_5601-1987": "cp949",
    "iso-8859-9": "cp1254", "tis-620": "cp874", "utf8": "utf-8", "unicode": "utf-8",
}  # fmt: skip
MAX_REPLACED = 0.05
"""A charset is believed when at most this share of the non-ASCII bytes cannot be read in it.

Measured: real pages in GB18030 read as UTF-8 fail on more than .6 of them; a page in its right
charset fails on single broken characters.
"""

SURE_UTF8_BYTES = 32
"""With so many non-ASCII bytes, valid UTF-8 is UTF-8 whatever is declared: two bytes of GB 18030
are valid UTF-8 by chance about once in five (22 of 40 leads, 31 of 94 trails), sixteen such pairs
once in 10^11."""


class Decoded(NamedTuple):
    """`replaced` is the number of places that could not be read and became U+FFFD."""

    text: str
    charset: str
    replaced: int


def codec_of(label: str | None) -> str | None:
    """Python's codec for a declared charset, or None when there is no such charset."""
    if not label:
        return None
    label = label.strip().strip("\"'").lower()
    label = _WHATWG.get(label, label)
    try:
        info = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    # Codecs such as base64 or rot13 are registered too and must not be had by declaring them.
    return info.name if getattr(info, "_is_text_encoding", True) else None


def declared_in_page(data: bytes) -> str | None:
    """The charset that the page's own head declares."""
    found = _META.search(data[:_META_BYTES])
    return found.group(1).decode("ascii") if found else None


def decode(data: bytes, http_charset: str | None) -> Decoded:
    """The characters of a page, never raising: what cannot be read becomes U+FFFD."""
    for mark, codec in _BOMS:
        if data.startswith(mark):
            text = data.removeprefix(codecs.BOM_UTF8).decode(codec, "replace")
            return Decoded(text, codec, text.count("\ufffd"))
    if data.isascii():
        return Decoded(data.decode("ascii"), "ascii", 0)
    non_ascii = _non_ascii(data)
    if non_ascii >= SURE_UTF8_BYTES and (valid := _valid_utf8(data)) is not None:
        return Decoded(valid, "utf-8", 0)
    http, meta = codec_of(http_charset), codec_of(declared_in_page(data))
    if meta in ("utf-16", "utf-16-le", "utf-16-be"):
        meta = "utf-8"  # the declaration was read byte by byte, so it cannot be true
    # cp1252 fits any bytes, and servers send it unasked: it is believed only at the end.
    declared = [codec for codec in (http, meta) if codec and codec != "cp1252"]
    first: Decoded | None = None
    for codec in dict.fromkeys([*declared, "utf-8"]):
        decoded = _decode(data, codec)
        first = first or (decoded if declared else None)
        if decoded.replaced <= (MAX_REPLACED if codec in declared else 0) * non_ascii:
            return decoded
    # Only the bytes that say something: a detector is easily led astray by a page of markup.
    if "cp1252" in (http, meta) and not declared and _mostly_ascii(data):
        return _decode(data, "cp1252")
    detected = codec_of(detect_encoding(_speaking(data), max_len=0, from_html_meta=False))
    if detected:
        decoded = _decode(data, detected)
        if decoded.replaced <= MAX_REPLACED * non_ascii:
            return decoded
    return first or _decode(data, "cp1252" if "cp1252" in (http, meta) else "utf-8")


def _decode(data: bytes, codec: str) -> Decoded:
    text = data.decode(codec, "replace")
    # Some pages hold U+FFFD itself, from an earlier accident; that is no failure of this charset.
    already = data.count(_WRITTEN.get(codec, b"\0none"))
    return Decoded(text, codec, max(text.count("\ufffd") - already, 0))


def _valid_utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _non_ascii(data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, np.int8) < 0))


def _mostly_ascii(data: bytes) -> bool:
    """Whether non-ASCII bytes stand alone, as accented letters do, and not in runs, as Han do."""
    runs = re.findall(rb"[\x80-\xff]+", data)
    return sum(len(run) for run in runs) < 2 * len(runs)


def _speaking(data: bytes) -> bytes:
    """The lines that hold non-ASCII bytes."""
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    return b"\n".join(lines)[:_DETECT_BYTES]


_WRITTEN = {codec: "\ufffd".encode(codec) for codec in ("utf-8", "gb18030")}
