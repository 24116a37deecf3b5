"""Mutated WARC records, HTML pages and JSON lines, by the thousand: no crash, no lost record."""

from __future__ import annotations

import io
import json
import random
import re
import resource
from collections import Counter

import pytest

from skywright.corpus.config import ExtractionConfig, FieldsConfig, LimitsConfig
from skywright.corpus.extract import extract
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.jsonl import read_jsonl
from skywright.corpus.sources.warc import read_warc
from tests.corpus.pages import EN, ZH, ZH_HANT, html, http, page_record, warc_record
from tests.corpus.sources.packing import PACK

SIZES = [pytest.param(700, id="some"), pytest.param(34_000, id="many", marks=pytest.mark.full)]
MAX_GROWTH_KB = 400_000

_TOKENS = (b"<div>", b"</div>", b"<table><tr>", b"<!--", b"-->", b"<script>", b"]]>", b"&#x10ff;",
           b"\xff\xfe", b"\0", b"\r\n\r\n", b"{", b"[", b'"', b"\\u", b"\\ud800", b"WARC/1.0\r\n",
           b"Content-Length: 99999\r\n", b"<svg><math>", b"<template>", b"&", b"=")  # fmt: skip


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One to four changes: a bit, a stretch removed, doubled, swapped, or a token put in."""
    result = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(max(len(result), 1))
        size = draw.choice((1, 4, 30, 300))
        kind = draw.randrange(5)
        if kind == 0 and result:
            result[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del result[at : at + size]
        elif kind == 2:
            result[at:at] = result[at : at + size]
        elif kind == 3:
            result[at:at] = draw.choice(_TOKENS) * draw.choice((1, 1, 2, 50))
        else:
            result[at : at + size] = draw.randbytes(min(size, 30))
    return bytes(result)


def pages(draw: random.Random) -> bytes:
    text = draw.choice((EN, ZH, ZH_HANT, f"{EN}\n{ZH}\n{EN}"))
    codec = draw.choice(("utf-8", "utf-8", "gb18030", "utf-16"))
    return html(text, codec, title=str(draw.random())).encode(codec)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".lz4"])
def test_mutated_warc_records_are_all_answered_for(count: int, ending: str) -> None:
    """Files of ten records, three of them mutated: in packed files every other one is read, and
    the mutated ones have a row each, unless they were made another type of record.
    """
    draw = random.Random(f"warc{ending}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rules: Counter[str | None] = Counter()
    for _ in range(max(count // 12, 1)):  # 3 records in each of 4 kinds of file
        records = [page_record(f"https://x.org/{n}", f"{EN} {draw.random()}") for n in range(10)]
        hurt = set(draw.sample(range(10), 3))
        inner = draw.random() < 0.5  # mutated before packing: the checksum will be right
        parts = [
            PACK[ending](mutated(r, draw) if n in hurt and inner else r)
            for n, r in enumerate(records)
        ]
        if not inner:
            parts = [mutated(p, draw) if n in hurt else p for n, p in enumerate(parts)]
        data = b"".join(parts)
        found = list(read_warc(Input(io.BytesIO(data)), f"s/a.warc{ending}", 10**5))
        assert len({record.record for record in found}) == len(found)
        rules.update(record.rule for record in found)
        read = {record.url for record in found if record.rule is None}
        intact = {f"https://x.org/{n}" for n in range(10) if n not in hurt}
        if ending:
            assert intact <= read, sorted(intact - read)
        # A record is answered for by its offset, or is a part of the damage before it.
        starts, at = [], 0
        for part in parts:
            starts.append(at)
            at += len(part)
        rows = {int(re.split(r"[:+]", record.record)[1]) for record in found}
        for n, start in enumerate(starts):
            if n not in hurt:
                assert start in rows or f"https://x.org/{n}" in read or not ending
    assert rules[None] > 0
    assert rules.keys() & {"corrupt", "truncated"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KB


@pytest.mark.parametrize("count", SIZES)
def test_mutated_pages_are_extracted_or_refused(count: int) -> None:
    limits = LimitsConfig()
    draw = random.Random("html")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        page = extract(
            mutated(pages(draw), draw), draw.choice((None, "utf-8", "gbk", "nonsense")),
            limits, ExtractionConfig(),
        )  # fmt: skip
        assert (page.text is None) == (page.rule is not None)
        if page.text is not None:
            page.text.encode()
        outcomes[page.rule or "text"] += 1
    assert outcomes["text"] > count // 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KB


@pytest.mark.parametrize("count", SIZES)
def test_mutated_lines_have_a_row_each(count: int) -> None:
    draw = random.Random("jsonl")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rules: Counter[str | None] = Counter()
    for _ in range(max(count // 17, 1)):  # 17 lines of 50 are mutated
        rows = [
            {"text": f"{draw.choice((EN, ZH))} {n}", "url": f"https://x.org/{n}",
             "more": {"a": [1, 2.5, None, True]}} for n in range(50)
        ]  # fmt: skip
        lines = [json.dumps(r, ensure_ascii=draw.random() < 0.5).encode() for r in rows]
        lines = [mutated(line, draw) if n % 3 == 0 else line for n, line in enumerate(lines)]
        data = b"\n".join(lines)
        found = list(read_jsonl(Input(io.BytesIO(data)), "s/a.jsonl", FieldsConfig(), 10**4))
        wanted = [n for n, line in enumerate(data.split(b"\n"), 1) if line.strip()]
        assert [int(record.record.rpartition(":")[2]) for record in found] == wanted
        good = {record.url for record in found if record.rule is None}
        assert {row["url"] for n, row in enumerate(rows) if n % 3} <= good
        rules.update(record.rule for record in found)
    assert {"not_json", "not_utf8"} <= rules.keys()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KB


def test_a_wrong_block_digest_costs_its_record_and_a_right_one_is_noted() -> None:
    import base64
    import hashlib

    def with_digest(url: str, body: bytes, of: bytes, name: str) -> bytes:
        value = base64.b32encode(hashlib.sha1(of).digest()).decode()
        record = warc_record(url, body)
        return record.replace(b"Content-Type", f"{name}: sha1:{value}\r\nContent-Type".encode(), 1)

    body = http(html(EN).encode())
    payload = body.partition(b"\r\n\r\n")[2]
    records = [
        with_digest("https://x.org/0", body, body, "WARC-Block-Digest"),
        with_digest("https://x.org/1", body, body + b"x", "WARC-Block-Digest"),
        with_digest("https://x.org/2", body, payload, "WARC-Payload-Digest"),
        with_digest("https://x.org/3", body, payload[1:], "WARC-Payload-Digest"),
    ]
    for data in (b"".join(records), b"".join(map(PACK[".gz"], records))):
        found = list(read_warc(Input(io.BytesIO(data)), "s/a", 10**6))
        assert [r.rule for r in found] == [None, "digest", None, "digest"]
        assert [json.loads(r.meta).get("warc_digest") for r in found[::2]] == ["block", "payload"]
