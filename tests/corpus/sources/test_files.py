"""Inputs: which files are read, and what a bad line, row or path says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from skywright.corpus.config import FieldsConfig, InputConfig
from skywright.corpus.records import RECORD_SCHEMA, Record, document_id, tables
from skywright.corpus.sources.files import discover, read_records
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.jsonl import read_jsonl
from skywright.errors import UserError
from tests.corpus.pages import EN, ZH, html, write

FIELDS = FieldsConfig()


def rules_of_lines(tmp_path: Path, lines: list[bytes], limit: int = 10_000) -> list[str | None]:
    path = write(tmp_path / "a.jsonl", b"\n".join(lines))
    return [record.rule for record in read(path, limit)]


def read(path: Path, limit: int = 10_000) -> list[Record]:
    with Input(open(path, "rb")) as source:
        return list(read_jsonl(source, f"s/{path.name}", FIELDS, limit))


def test_every_bad_line_has_its_own_rule_and_the_others_are_read(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "first, with a byte order mark"}',
        b"{'text': 'python, not JSON'}",
        b'["a list"]',
        b'{"body": "no text"}',
        b'{"text": 5}',
        b'{"text": "half \\ud83d a character"}',
        b'{"text": "\xff\xfe"}',
        b'{"text": "' + b"x" * 20_000 + b'"}',
        b"[" * 5000,
        b"",
        '{"text": "文字 \\ud83d\\ude00", "note": "\\ud83d"}'.encode(),
    ]
    assert rules_of_lines(tmp_path, lines) == [
        None, "not_json", "not_json", "missing_text", "missing_text", "lone_surrogate", "not_utf8",
        "too_large", "depth", None,
    ]  # fmt: skip
    records = read(tmp_path / "a.jsonl")
    assert [r.record for r in records][-2:] == ["s/a.jsonl:9", "s/a.jsonl:11"]
    assert records[-1].payload == "文字 😀".encode()
    assert json.loads(records[-1].meta) == {"note": "\ud83d"}


def test_files_that_no_input_takes_in_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.jsonl", "b.csv", "c.csv", "README", "d.html"):
        write(tmp_path / name, b"{}")
    lines = InputConfig(source="a", path=str(tmp_path), kind="jsonl")
    pages = InputConfig(source="b", path=str(tmp_path), kind="html")
    for _ in range(2):
        discover([lines, pages])
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "files that are passed over for their names: 3 (2 .csv, 1 README); to read them, name them "
        "as an input of their own with its `kind`"
    ]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_packed_lines_are_read_and_a_cut_file_says_so(tmp_path: Path, suffix: str) -> None:
    data = b"".join(json.dumps({"text": f"{EN} {n}"}).encode() + b"\n" for n in range(2000))
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[suffix]
    path = write(tmp_path / f"a.jsonl{suffix}", pack(data))
    records = read(path)
    assert [record.payload for record in records] == [f"{EN} {n}".encode() for n in range(2000)]
    for share in (0.3, 0.5, 0.9):
        write(path, pack(data)[: int(len(pack(data)) * share)])
        *whole, last = read(path)
        assert last.rule == ("truncated" if suffix else "not_json")
        assert [record.payload for record in whole] == [
            f"{EN} {n}".encode() for n in range(len(whole))
        ]


def test_parquet_rows_become_records_and_other_columns_meta(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": [EN, None], "url": ["http://a.b/c", None], "n": [1, 2]}), path)
    item = InputConfig(source="s", path=str(path), fields=FieldsConfig(text="body"))
    (shard,) = discover([item])
    records = list(read_records(shard, shard.path, 10_000))
    assert [record.rule for record in records] == [None, "missing_text"]
    assert (records[0].url, json.loads(records[0].meta)) == ("http://a.b/c", {"n": 1})
    (shard,) = discover([InputConfig(source="s", path=str(path))])
    with pytest.raises(UserError, match=r"a\.parquet: no column 'text' .*body"):
        list(read_records(shard, shard.path, 10_000))


def test_a_folder_of_pages_is_one_shard_a_folder_and_one_record_a_file(tmp_path: Path) -> None:
    for name in ("b.html", "a.htm", "sub/c.html"):
        write(tmp_path / "site" / name, html(EN).encode())
    write(tmp_path / "site" / "style.css", b"p {}")
    shards = discover([InputConfig(source="s", path=str(tmp_path / "site"))])
    assert [shard.key for shard in shards] == ["s", "s/sub"]
    records = [r for shard in shards for r in read_records(shard, shard.path, 10_000)]
    assert [record.record for record in records] == ["s/a.htm:0", "s/b.html:0", "s/sub/c.html:0"]
    assert records[2].url == "file:///s/sub/c.html"
    item = InputConfig(source="s", path=str(tmp_path / "site"), url_prefix="https://x.org/")
    records = [r for s in discover([item]) for r in read_records(s, s.path, 10_000)]
    assert [r.url for r in records] == [
        f"https://x.org/{n}" for n in ("a.htm", "b.html", "sub/c.html")
    ]


def test_a_glob_names_files_from_its_fixed_part(tmp_path: Path) -> None:
    for name in ("2023/a.jsonl", "2024/a.jsonl"):
        write(tmp_path / name, b'{"text": "x"}')
    shards = discover([InputConfig(source="s", path=f"{tmp_path}/20*/a.jsonl")])
    assert [shard.key for shard in shards] == ["s/2023/a.jsonl", "s/2024/a.jsonl"]


def test_paths_that_cannot_be_read_are_the_users_mistakes(tmp_path: Path) -> None:
    missing = InputConfig(source="s", path=str(tmp_path / "no.warc.gz"))
    with pytest.raises(UserError, match=r"no\.warc\.gz: no such file or folder"):
        discover([missing])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="nothing to read"):
        discover([InputConfig(source="s", path=str(tmp_path / "empty"))])
    write(tmp_path / "none.jsonl", b"")
    with pytest.raises(UserError, match=r"none\.jsonl: is empty \(input 's'\)"):
        discover([InputConfig(source="s", path=str(tmp_path / "none.jsonl"))])
    write(tmp_path / "x.pdf", b"%PDF")
    with pytest.raises(UserError, match=r"x\.pdf: unknown kind of file; set `kind`"):
        discover([InputConfig(source="s", path=str(tmp_path / "x.pdf"))])
    for name in ("a/x.jsonl", "b/x.jsonl"):
        write(tmp_path / name, b'{"text": "x"}')
    twice = [InputConfig(source="s", path=str(tmp_path / n / "x.jsonl")) for n in "ab"]
    with pytest.raises(UserError, match="give one of them another `source`"):
        discover(twice)


def test_an_id_depends_on_address_and_payload_alone() -> None:
    assert document_id("http://a.b", b"x") != document_id("http://a.c", b"x")
    assert document_id("http://a.b", b"x") != document_id("http://a.b", b"y")
    assert document_id(None, ZH.encode()) == document_id("", ZH.encode())
    assert len(document_id(None, b"")) == 16


def test_a_file_without_records_still_gives_a_table() -> None:
    (table,) = tables([])
    assert table.schema == RECORD_SCHEMA
    assert table.num_rows == 0


def test_json_lines_may_be_called_json_where_the_recipe_says_so(tmp_path: Path) -> None:
    (tmp_path / "part.0.json").write_text('{"text": "a"}\n')
    (tmp_path / "notes.md").write_text("a")
    said = InputConfig(source="a", path=str(tmp_path), kind="jsonl")
    assert [shard.key for shard in discover([said])] == ["a/part.0.json"]
    with pytest.raises(UserError, match=r"2 files of other names, such as notes.md; set another"):
        discover([InputConfig(source="a", path=str(tmp_path))])
