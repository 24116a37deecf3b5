"""One WARC record: its head, and what its block holds."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from skywright.corpus.records import Record
from skywright.corpus.sources.digests import matches
from skywright.corpus.sources.http import BrokenResponseError, content_type_and_charset, parse

START = b"WARC/1."
INPUT_TYPES = frozenset(("response", "resource", "conversion"))
OTHER_TYPES = frozenset(("warcinfo", "request", "metadata", "revisit", "continuation"))
_FIELDS = re.compile(
    r"^(WARC-(?:Type|Target-URI|Date|Block-Digest|Payload-Digest|Record-ID|Truncated)|"
    r"Content-(?:Type|Length))[ \t]*:(.*)",
    re.IGNORECASE | re.MULTILINE,
)
_FOLD = re.compile(r"\r?\n[ \t]+")


class Head(NamedTuple):
    """What matters of a record's head; `length` is None when there is no usable Content-Length."""

    kind: str
    url: str | None
    date: str | None
    content_type: str | None
    length: int | None
    block_digest: str | None
    payload_digest: str | None
    record_id: str | None
    truncated: str | None


def parse_head(raw: bytes) -> Head | None:
    """The head of a record from its version line to the empty line, or None if it is none."""
    if not raw.startswith(START):
        return None
    text = raw.decode("utf-8", "replace")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    # Of a header that stands twice the first counts.
    headers = {name.lower(): value.strip() for name, value in reversed(_FIELDS.findall(text))}
    get = headers.get
    length, url = get("content-length", ""), get("warc-target-uri")
    return Head(
        kind=get("warc-type", "").lower(),
        url=url.removeprefix("<").removesuffix(">") if url else None,
        date=get("warc-date"),
        content_type=get("content-type"),
        length=int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None,
        block_digest=get("warc-block-digest"),
        payload_digest=get("warc-payload-digest"),
        record_id=get("warc-record-id"),
        truncated=get("warc-truncated"),
    )


def record_of(head: Head, block: bytes, name: str, max_bytes: int) -> Record:
    """The record of a whole block of one of the `INPUT_TYPES`.

    A block digest, where there is one, covers every byte. A payload digest is checked where it
    stands alone; crawlers take it of the body as stored, without chunks or unpacked, and any of
    these will do.
    """

    def bad(rule: str, message: str) -> Record:
        return Record(name, head.url, head.date, rule=rule, message=message, bytes=len(block))

    checked = ""
    whole = matches(head.block_digest, block)
    if whole is False:
        return bad("digest", f"the block is not that of WARC-Block-Digest {head.block_digest}")
    if whole:
        checked = "block"
    media, charset = content_type_and_charset(head.content_type)
    status = None
    form = "text" if head.kind == "conversion" else "html"
    body, bodies = block, [block]
    if head.kind == "response" and media == "application/http":
        try:
            response = parse(block, max_bytes)
        except BrokenResponseError as error:
            return bad(error.rule, str(error))
        body, bodies = response.body, [response.stored, response.unchunked, response.body]
        status, media, charset = response.status, response.content_type, response.charset
    if not checked and not head.truncated:
        same = matches(head.payload_digest, *dict.fromkeys(bodies))
        # The payload digest of a conversion is that of the page it was made from (as in WET).
        if same is False and head.kind != "conversion":
            return bad("digest", f"the body is not that of WARC-Payload-Digest "
                                 f"{head.payload_digest}")  # fmt: skip
        checked = "payload" if same else ""
    if form == "text" and not _is_utf8(body):
        return bad("not_utf8", "the converted text is not UTF-8")
    meta = {
        "warc_record_id": head.record_id,
        "warc_truncated": head.truncated,
        "warc_digest": checked,
    }
    described = json.dumps({k: v for k, v in meta.items() if v}, sort_keys=True)
    return Record(
        name, head.url, head.date, body, form, status, media, charset, described, bytes=len(body)
    )


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
