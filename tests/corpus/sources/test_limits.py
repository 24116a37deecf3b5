"""Hostile inputs are refused by counted limits, with a row, in bounded memory.

Each case runs in a process of its own whose address space is limited: reading must end well there.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from skywright.corpus.sources.jsonl import MAX_JSON_DEPTH, json_depth
from tests.corpus.pages import EN, http, packed, page_record, warc_record, write
from tests.corpus.sources.packing import PACK

GROWTH_BYTES = 700 * 2**20
"""What reading may take beyond the imports: the limits of a record (8 MiB), of a decoder's window
(128 MiB) and of a row group (64 MiB), with copies."""

CHILD = """
import json, resource, sys
from pathlib import Path
from skywright.corpus.config import InputConfig
from skywright.corpus.sources.files import discover, read_records
(shard,) = discover([InputConfig(source="s", path=sys.argv[1])])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
found = [(r.rule, len(r.payload or b"")) for r in read_records(shard, shard.path, 8 * 2**20)]
print(json.dumps(found))
"""


def read_in_little_memory(path: Path) -> list[str | None]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(GROWTH_BYTES)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [rule for rule, _ in json.loads(done.stdout)]


def zeros(ending: str, size: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    """One frame of `head`, so many zeros and `tail`, made without holding them."""
    if ending == ".gz":
        import zlib

        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    elif ending == ".zst":
        packer = zstandard.ZstdCompressor().compressobj()
    elif ending == ".bz2":
        import bz2

        packer = bz2.BZ2Compressor()
    else:
        import lzma

        packer = lzma.LZMACompressor()
    chunk = b"0" * 2**22
    parts = [packer.compress(head)]
    parts += [packer.compress(chunk) for _ in range(size // len(chunk))]
    return b"".join([*parts, packer.compress(tail), packer.flush()])


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2", ".xz"])
def test_a_bomb_of_lines_is_one_row(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a.jsonl{ending}", zeros(ending, 2**27, b'{"text": "', b'"}\n'))
    assert path.stat().st_size < 2**20
    assert read_in_little_memory(path) == ["bomb"]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_bomb_in_a_warc_costs_its_own_record(tmp_path: Path, ending: str) -> None:
    good = [PACK[ending](page_record(f"https://x.org/{n}", EN)) for n in range(2)]
    head = warc_record("https://x.org/b", b"", length=2**29)[:-4]
    path = write(tmp_path / f"a.warc{ending}", good[0] + zeros(ending, 2**27, head) + good[1])
    assert read_in_little_memory(path) == [None, "bomb", None]


def test_a_packed_body_that_unpacks_too_far_is_refused(tmp_path: Path) -> None:
    body = zeros(".gz", 2**26)
    bad = warc_record("https://x.org/b", http(body, extra="Content-Encoding: gzip\r\n"))
    path = write(tmp_path / "a.warc.gz", packed([bad, page_record("https://x.org/1", EN)]))
    assert read_in_little_memory(path) == ["too_large", None]


def test_a_line_of_a_gigabyte_is_one_row_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"text": "')
        file.seek(2**30)
        file.write(b'"}\n{"text": "good"}\n')
    assert read_in_little_memory(path) == ["too_large", None]


def test_json_nested_a_million_deep_is_refused_by_count(tmp_path: Path) -> None:
    lines = [b"[" * 10**6, b'{"a":' * 10**6, b'{"text": ' + b"[" * 10**6 + b"]" * 10**6 + b"}",
             b'{"text": "good"}']  # fmt: skip
    path = write(tmp_path / "a.jsonl", b"\n".join(lines))
    assert read_in_little_memory(path) == ["depth", "depth", "depth", None]


def test_depth_counts_brackets_outside_of_strings() -> None:
    many = MAX_JSON_DEPTH + 1
    assert json_depth(b'{"text": "' + b"[{" * 999 + b'"}') <= 1
    assert json_depth(b'{"text": "\\"' + b"[" * 999 + b'\\\\"}') <= 1
    assert json_depth(b'{"a": [' + b"[]," * 999 + b"[]]}") == 3
    assert json_depth(b"[" * many + b"]" * many) == many
    assert json_depth(b'"' + b"[" * 999) == 0  # a string without an end


def test_a_page_and_a_dump_above_the_limit_are_refused_unread(tmp_path: Path) -> None:
    for name, head, tail in (
        ("a.html", b"<html>", b""),
        ("pages-articles.xml", b"<mediawiki><page><title>A</title><ns>0</ns><revision><text>",
         b"</text></revision></page><page><title>B</title><ns>1</ns></page></mediawiki>"),
    ):  # fmt: skip
        path = tmp_path / name
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(2**29)
            file.seek(0, 2)
            file.write(tail)
        assert read_in_little_memory(path) == ["too_large", "namespace"][: 2 if tail else 1]


def test_parquet_of_hostile_sizes_is_refused(tmp_path: Path) -> None:
    rows = 3_000_000
    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * 1000])
    pq.write_table(pa.table({"text": one}), tmp_path / "rows.parquet", row_group_size=rows)
    assert (tmp_path / "rows.parquet").stat().st_size < 10**6
    assert read_in_little_memory(tmp_path / "rows.parquet") == ["bomb"]
    large = pa.DictionaryArray.from_arrays(pa.array(np.zeros(600, np.int32)), ["z" * (9 * 2**20)])
    pq.write_table(pa.table({"text": large}), tmp_path / "values.parquet", compression="zstd")
    assert read_in_little_memory(tmp_path / "values.parquet") == ["too_large"] * 600
    wide = pa.table({"text": ["a", "b" * 2**27, "c"]})
    pq.write_table(wide, tmp_path / "wide.parquet", compression="zstd", use_dictionary=False)
    assert read_in_little_memory(tmp_path / "wide.parquet") == ["bomb"]


def test_a_damaged_row_group_costs_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"{EN} {n}" for n in range(300)]})
    pq.write_table(table, path, row_group_size=100, compression="zstd",
                   use_dictionary=False, write_page_checksum=True)  # fmt: skip
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(1).column(0)
        middle = column.data_page_offset + column.total_compressed_size * 3 // 4  # behind its head
    data = bytearray(path.read_bytes())
    data[middle : middle + 40] = bytes(40)
    write(path, bytes(data))
    rules = read_in_little_memory(path)
    assert rules == [None] * 100 + ["corrupt"] * 100 + [None] * 100


def test_a_gzip_header_without_an_end_is_probed_a_little_way(tmp_path: Path) -> None:
    # A name that never ends: reading on from every one to the end of the file would take hours.
    junk = b"\x1f\x8b\x08\x08" + b"\x11" * 20
    good = gzip.compress(page_record("https://x.org/1", EN))
    path = write(tmp_path / "a.warc.gz", junk * 5_000 + good)
    assert read_in_little_memory(path)[-1] is None
