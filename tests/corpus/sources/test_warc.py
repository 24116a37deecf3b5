"""WARC reading: damage costs the damaged record, and nothing is lost in silence."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus.records import Record
from skywright.corpus.sources.http import BrokenResponseError, parse
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.warc import read_warc
from tests.corpus.pages import (
    EN,
    WARC_FILES,
    http,
    needs_data,
    packed,
    page_record,
    warc_record,
    write,
)

URLS = [f"https://example.org/{n}" for n in range(6)]
RECORDS = [page_record(url, f"{EN} {url}") for url in URLS]
LIMIT = 1 << 20


def read(path: Path, limit: int = LIMIT) -> list[Record]:
    with Input(open(path, "rb")) as source:
        return list(read_warc(source, f"s/{path.name}", limit))


def good(records: list[Record]) -> list[str | None]:
    return [record.url for record in records if record.rule is None]


def test_packed_and_plain_files_give_the_same_payloads(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "a.warc", b"".join(RECORDS)))
    gz = read(write(tmp_path / "a.warc.gz", packed(RECORDS)))
    one = read(write(tmp_path / "b.warc.gz", gzip.compress(b"".join(RECORDS))))
    assert [r.payload for r in plain] == [r.payload for r in gz] == [r.payload for r in one]
    assert good(plain) == URLS
    for records in (plain, gz, one):
        assert len({record.record for record in records}) == len(URLS)


def test_requests_and_notes_are_no_input_records(tmp_path: Path) -> None:
    others = [warc_record("", b"software: x\r\n", kind="warcinfo"),
              warc_record(URLS[0], b"GET / HTTP/1.1\r\n\r\n", kind="request"),
              warc_record(URLS[0], b"", kind="revisit")]  # fmt: skip
    path = write(tmp_path / "a.warc.gz", packed([*others, *RECORDS, *others]))
    assert [record.url for record in read(path)] == URLS


def test_a_file_cut_in_a_record_reports_that_record_as_truncated(tmp_path: Path) -> None:
    data = packed(RECORDS)
    last = len(gzip.compress(RECORDS[-1], mtime=0))
    records = read(write(tmp_path / "a.warc.gz", data[: -last // 2]))
    assert good(records) == URLS[:-1]
    assert [record.rule for record in records[-1:]] == ["truncated"]
    plain = read(write(tmp_path / "a.warc", b"".join(RECORDS)[: -len(RECORDS[-1]) // 2]))
    assert good(plain) == URLS[:-1]
    assert [(r.rule, r.url) for r in plain[-1:]] == [("truncated", URLS[-1])]


def test_a_record_shorter_than_its_length_inside_a_whole_member_is_truncated(
    tmp_path: Path,
) -> None:
    block = http(b"<html>half a page")
    bad = warc_record(URLS[0], block, length=len(block) + 500)
    records = read(write(tmp_path / "a.warc.gz", packed([bad, *RECORDS[1:]])))
    assert [(r.rule, r.url) for r in records[:1]] == [("truncated", URLS[0])]
    assert records[0].threshold == len(block) + 500
    assert good(records) == URLS[1:]


def test_a_wrong_length_in_a_plain_file_swallows_no_later_record(tmp_path: Path) -> None:
    block = http(b"<html>half a page")
    for extra in (500, 10**6):
        bad = warc_record(URLS[0], block, length=len(block) + extra)
        records = read(write(tmp_path / "a.warc", bad + b"".join(RECORDS[1:])), limit=10**7)
        assert records[0].rule in ("truncated", "corrupt")
        assert good(records) == URLS[1:]


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_record_at_most(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    data = bytearray(packed(RECORDS))
    place %= len(data)
    data[place] ^= 1 << bit
    records = read(write(tmp_path_factory.mktemp("flip") / "a.warc.gz", bytes(data)))
    intact = good(records)
    assert len(intact) >= len(URLS) - 1
    assert intact == [url for url in URLS if url in intact]
    if len(intact) < len(URLS):
        # The checksum found it, and the ledger will have a row for it. In the last member a flipped
        # flag can make the decoder wait for more, which looks like a file that was cut.
        (rule,) = [record.rule for record in records if record.rule]
        assert rule == "corrupt" or (rule == "truncated" and URLS[-1] not in intact)
        assert len(records) == len(URLS)
    payloads = {r.url: r.payload for r in read_warc_of(RECORDS, tmp_path_factory)}
    assert all(payloads[r.url] == r.payload for r in records if r.rule is None)


def read_warc_of(records: list[bytes], factory: pytest.TempPathFactory) -> list[Record]:
    return read(write(factory.mktemp("good") / "a.warc.gz", packed(records)))


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), kind=st.sampled_from(["a.warc", "a.warc.gz"]))
def test_garbage_ends_in_rows_and_not_in_an_exception(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str
) -> None:
    for content in (data, b"WARC/1.0\r\n" + data, RECORDS[0] + data + b"\n" + RECORDS[1]):
        read(write(tmp_path_factory.mktemp("junk") / kind, content))


def test_a_record_above_the_limit_is_reported_unread(tmp_path: Path) -> None:
    big = page_record(URLS[0], "x" * 5000)
    for name, data in (("a.warc.gz", packed([big, *RECORDS[1:]])),
                       ("a.warc", big + b"".join(RECORDS[1:]))):  # fmt: skip
        records = read(write(tmp_path / name, data), limit=2000)
        assert [(r.rule, r.threshold, r.payload) for r in records[:1]] == [
            ("too_large", 2000, None)
        ]
        assert good(records) == URLS[1:]


def test_bodies_come_decoded(tmp_path: Path) -> None:
    page = b"<html>" + EN.encode() + b"</html>"
    deflated = zlib.compress(page)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (page[:50], page[50:])) + b"0\r\n\r\n"
    for body, header in (
        (gzip.compress(page), "Content-Encoding: gzip\r\n"),
        (deflated, "Content-Encoding: deflate\r\n"),
        (deflated[2:-4], "Content-Encoding: deflate\r\n"),
        (chunks, "Transfer-Encoding: chunked\r\n"),
        (page, "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n"),  # undone by the crawler
    ):
        assert parse(http(body, extra=header), LIMIT).body == page


@pytest.mark.parametrize(
    ("body", "header", "rule"),
    [
        (gzip.compress(EN.encode() * 9)[:60], "Content-Encoding: gzip", "truncated"),
        (gzip.compress(EN.encode())[:12] + b"\xff" * 90, "Content-Encoding: gzip", "corrupt"),
        (gzip.compress(b"0" * 10**6), "Content-Encoding: gzip", "too_large"),
        (b"10\r\nabc", "Transfer-Encoding: chunked", "truncated"),
        (b"\x8b\x02\x80abc", "Content-Encoding: br", "content_encoding"),
    ],
)
def test_broken_bodies_name_their_fault(body: bytes, header: str, rule: str) -> None:
    with pytest.raises(BrokenResponseError) as error:
        parse(http(body, extra=header + "\r\n"), 10**5)
    assert error.value.rule == rule


@needs_data
@pytest.mark.parametrize("path", WARC_FILES, ids=lambda path: path.name)
def test_real_files_give_the_responses_that_their_manifest_counts(path: Path) -> None:
    responses = {"chatnoir": 16, "debian": 350, "demo": 153, "pywb": 48, "whirlwind": 1}
    records = read(path, 8 << 20)
    assert len(records) == responses[path.name.split("_")[0].split("-")[0]]
    assert all(record.rule is None for record in records)
    assert len({record.record for record in records}) == len(records)


@needs_data
def test_a_real_file_with_a_damaged_byte_loses_one_record(tmp_path: Path) -> None:
    path = next(path for path in WARC_FILES if path.name.startswith("debian"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    whole, damaged = read(path), read(write(tmp_path / path.name, bytes(data)))
    assert len(whole) == len(damaged)
    assert [r.rule for r in damaged if r.rule] == ["corrupt"]
    assert {r.url for r in whole} == {r.url for r in damaged}
    assert sum(a.payload != b.payload for a, b in zip(whole, damaged, strict=True)) == 1
