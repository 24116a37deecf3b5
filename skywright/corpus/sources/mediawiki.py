"""MediaWiki dumps (`pages-articles.xml`, packed or plain): one record a page.

The exporter writes one element a line and escapes every `<` of the text, so that a page is what
stands between `<page>` and `</page>`, and no XML parser is needed: neither deep nesting nor
entities can do harm. Layout: the export schema 0.11 (mediawiki.org/xml/export-0.11.xsd).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import unescape

from skywright.corpus.records import Record
from skywright.corpus.sources.frames import PLAIN, Damage, Packing, packing_of, pieces
from skywright.corpus.sources.inputs import Input

_OPEN, _CLOSE = b"<page>", b"</page>"
_HEAD_BYTES = 1 << 14
_BASE = re.compile(rb"<base>([^<]+)</base>")
_TITLE = re.compile(rb"<title>([^<]*)</title>")
_NAMESPACE = re.compile(rb"<ns>(-?\d{1,9})</ns>")
_ID = re.compile(rb"<id>(\d{1,18})</id>")
_DATE = re.compile(rb"<timestamp>([^<]{1,40})</timestamp>")
_MODEL = re.compile(rb"<model>([^<]{1,80})</model>")
_TEXT = re.compile(rb"<text\b[^>]*>")


def read_mediawiki(
    source: Input, name: str, max_bytes: int, start: int = 0, end: int | None = None
) -> Iterator[Record]:
    """One record a page: articles of the main namespace as wikitext; other pages ("namespace"),
    redirects ("redirect") and pages of another model ("model") are reported without text.

    A record is called "<name>:<offset>" in a plain file, "<name>:<frame>+<offset>" in a packed
    one. Only pages are read that begin in (a frame that begins in) [`start`, `end`). Of a page
    with its history the last revision is read. A damaged frame costs its own pages and is one
    record.
    """
    packing = packing_of(source, name)
    base = _base(source, packing)
    scan = _Scan(name, packing is PLAIN, max_bytes, end)
    for piece in pieces(source, packing, start):
        if isinstance(piece, Damage):
            yield from scan.damaged(piece)
            if scan.done:
                return
            continue
        for place, page, size in scan.pages(piece.frame, piece.at, piece.data):
            yield _record(page, size, place, base, max_bytes)
        if scan.done:
            return
    if scan.open is not None:
        yield Record(scan.open, rule="truncated", message="the file ends inside a page")


class _Scan:
    """Finds pages in a stream that comes in pieces, holding one page at most."""

    def __init__(self, name: str, plain: bool, max_bytes: int, end: int | None) -> None:
        self._name, self._plain, self._max_bytes, self._end = name, plain, max_bytes, end
        self._held = bytearray()
        self._frames: list[tuple[int, int]] = []  # (offset in the stream, offset of the frame)
        self._base = 0  # offset in the stream of the first byte held
        self._searched = 0
        self._size = 0  # of a page that is too large, so far
        self.open: str | None = None  # the page that is being read
        self.done = False

    def _place(self, at: int) -> tuple[int, str]:
        """Where the byte `at` of the stream stands: what decides about ranges, and its name."""
        while len(self._frames) > 1 and self._frames[1][0] <= at:
            self._frames.pop(0)
        began, frame = self._frames[0]
        if self._plain:
            return frame + at - began, f"{self._name}:{frame + at - began}"
        return frame, f"{self._name}:{frame}+{at - began}"

    def _drop(self, size: int) -> None:
        del self._held[:size]
        self._base += size
        self._searched = 0

    def damaged(self, damage: Damage) -> Iterator[Record]:
        """Rows for a page that breaks off, and for the frame that could not be read."""
        if self.open is not None:
            yield Record(self.open, rule=damage.error.rule, message=f"breaks off: {damage.error}")
        self.done = self._end is not None and damage.frame >= self._end
        if not self.done:
            yield Record(
                f"{self._name}:{damage.frame}", rule=damage.error.rule, message=str(damage.error)
            )
        self.open, self._size = None, 0
        self._drop(len(self._held))
        self._frames.clear()

    def pages(self, frame: int, at: int, data: bytes) -> Iterator[tuple[str, bytes, int]]:
        """Pages that end in the next piece: place, bytes (none if too large), size."""
        if not self._frames or self._frames[-1][1] != frame:
            self._frames.append((self._base + len(self._held) - at, frame))
        self._held += data
        while not self.done:
            if self.open is None:
                found = self._held.find(_OPEN)
                if found < 0:
                    self._drop(max(len(self._held) - len(_OPEN) + 1, 0))
                    return
                where, place = self._place(self._base + found)
                if self._end is not None and where >= self._end:
                    self.done = True
                    return
                self.open = place
                self._drop(found)
            found = self._held.find(_CLOSE, self._searched)
            if found < 0:
                self._searched = max(len(self._held) - len(_CLOSE) + 1, 0)
                if self._size + len(self._held) > self._max_bytes:
                    self._size += self._searched
                    self._drop(self._searched)
                return
            size, stop = self._size + found + len(_CLOSE), found + len(_CLOSE)
            yield self.open, b"" if size > self._max_bytes else bytes(self._held[:stop]), size
            self._drop(stop)
            self.open, self._size = None, 0


def _base(source: Input, packing: Packing) -> str:
    """What addresses of this wiki begin with, by the dump's own head."""
    head = b""
    for piece in pieces(source, packing):
        if isinstance(piece, Damage):
            break
        head += piece.data
        if len(head) >= _HEAD_BYTES:
            break
    found = _BASE.search(head[:_HEAD_BYTES])
    return found.group(1).decode("utf-8", "replace").rpartition("/")[0] + "/" if found else ""


def _record(page: bytes, size: int, place: str, base: str, max_bytes: int) -> Record:
    if not page:
        return Record(
            place, rule="too_large", message=f"{size} bytes", bytes=size, value=float(size),
            threshold=float(max_bytes),
        )  # fmt: skip
    head = page.partition(b"<revision>")[0]
    title, namespace, number = (
        found.group(1) if found else None
        for found in (pattern.search(head) for pattern in (_TITLE, _NAMESPACE, _ID))
    )
    name = unescape((title or b"").decode("utf-8", "replace"), {"&quot;": '"', "&apos;": "'"})
    url = base + quote(name.replace(" ", "_"), safe="/:(),'!*@;~$") if base and name else None

    def bad(rule: str, message: str | None = None, **values: Any) -> Record:
        return Record(place, url, rule=rule, message=message, bytes=size, **values)

    if title is None or namespace is None:
        return bad("corrupt", "a page without title or namespace")
    if int(namespace) != 0:
        return bad("namespace", name, value=float(namespace), threshold=0.0)
    if b"<redirect " in head:
        return bad("redirect", name)
    opens = [found.span() for found in _TEXT.finditer(page)]
    if not opens:
        return bad("corrupt", "a page without a text")
    begun, after = opens[-1]
    models = _MODEL.findall(page)
    if models and models[-1] != b"wikitext":
        return bad("model", models[-1].decode("utf-8", "replace"))
    close = page.find(b"</text>", after)
    if close < 0 and page[after - 2 : after] != b"/>":
        return bad("corrupt", "the text of the page has no end")
    try:
        raw = page[after : max(close, after)].decode()
    except UnicodeDecodeError as error:
        return bad("not_utf8", str(error))
    text = unescape(raw, {"&quot;": '"', "&apos;": "'"})
    dates = _DATE.findall(page[:begun])
    meta = {"title": name, "page_id": int(number) if number else None}
    payload = text.encode()
    return Record(
        place, url, dates[-1].decode("utf-8", "replace") if dates else None, payload, "wikitext",
        meta=json.dumps(meta, sort_keys=True, ensure_ascii=True), bytes=len(payload),
    )  # fmt: skip
