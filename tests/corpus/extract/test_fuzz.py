"""Damaged pages: bytes flipped, cut, doubled, tags torn; extraction answers every one of them."""

from __future__ import annotations

import random

import pytest

from skywright.corpus.config import ExtractionConfig, LimitsConfig
from skywright.corpus.extract import extract
from skywright.corpus.panics import ParserPanicError
from skywright.corpus.sources.warc import read_warc_file
from tests.corpus.extract.test_model import PAGE, PROSE
from tests.corpus.pages import DATA, ZH, html, needs_data

PIECES = [b"<", b">", b"<!--", b"-->", b"<script>", b"</div>", b"<div>", b"&", b"&amp;", b'"', b"'",
          b"<table><td>", b"<svg>", b"<b id=1>", b"\x00", b"\xff", b"\xe4\xb8"]  # fmt: skip


def mutated(page: bytes, draw: random.Random) -> bytes:
    """The page with one to eight random injuries."""
    data = bytearray(page)
    for _ in range(draw.randint(1, 8)):
        at = draw.randrange(len(data) + 1)
        until = min(len(data), at + draw.randint(0, 200))
        kind = draw.randrange(4)
        if kind == 0:
            del data[at:until]
        elif kind == 1:
            data[at:at] = data[at:until] * draw.randint(1, 4)
        elif kind == 2:
            data[at:at] = draw.choice(PIECES) * draw.randint(1, 30)
        else:
            for i in range(at, until):
                data[i] = draw.randrange(256)
    return bytes(data)


def answered(pages: list[bytes], count: int, tier: str) -> int:
    """Pages with text, of so many mutated ones. Whatever else is raised is a fault."""
    draw = random.Random(11)
    limits = LimitsConfig()
    extraction = ExtractionConfig.model_validate({"tier": tier})
    texts = 0
    for _ in range(count):
        page = mutated(draw.choice(pages), draw)
        try:
            found = extract(page, draw.choice([None, "utf-8", "gbk"]), limits, extraction)
        except ParserPanicError:  # a ledger row of its own
            continue
        if found.text is None:
            assert found.rule in ("tags", "depth", "attributes", "lines", "text_bytes")
        else:
            assert len(found.text.encode()) <= 4 * len(page) + 1000
            texts += 1
    return texts


SMALL = [PAGE.format("".join(f"<p>{p}</p>" for p in PROSE)).encode(), html(ZH).encode("gb18030")]


def test_mutated_pages_are_answered() -> None:
    assert answered(SMALL, 400, "own") > 380


@pytest.mark.full
@needs_data
def test_twenty_thousand_mutated_real_pages_are_answered() -> None:
    records = read_warc_file(DATA / "warc" / "demo_web_pages.warc.gz", "s", 8 << 20)
    pages = [r.payload for r in records if r.content_type == "text/html" and r.payload]
    small = [page for page in pages if len(page) < 60_000]
    assert answered(small, 20_000, "own") > 19_000
