"""Split files: however a file is cut, the same records are read under the same names."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skywright.corpus.config import CorpusConfig, InputConfig
from skywright.corpus.pipeline import build
from skywright.corpus.records import Record
from skywright.corpus.sources.files import discover, read_records
from skywright.corpus.sources.split import SplitParams, _parts, cuts, read_cuts
from tests.corpus.pages import EN, ZH, html, page_record, warc_record, write
from tests.corpus.sources.packing import PACK
from tests.corpus.sources.test_mediawiki import dump, page

LIMIT = 10**5
RECORDS = [
    record
    for n in range(60)
    for record in (
        page_record(f"https://example.org/{n}", f"{EN} {ZH} {n}" * (1 + n % 5)),
        warc_record("", b"software: x\r\n", kind="warcinfo"),
    )
]
LINES = [
    json.dumps({"text": f"{EN} {n}" * (n % 7)}).encode() + b"\n" * (1 + n % 3) for n in range(90)
]


def damaged(data: bytes) -> bytes:
    """Three flipped bytes and a cut end."""
    broken = bytearray(data[:-40])
    for place in (len(broken) // 5, len(broken) // 2, len(broken) * 4 // 5):
        broken[place] ^= 0x55
    return bytes(broken)


def warc(ending: str) -> bytes:
    return b"".join(PACK[ending](record) for record in RECORDS)


def wiki(ending: str) -> bytes:
    """Frames that end inside pages, as some packers cut them."""
    text = dump([page(f"Page {n}", f"{EN} {n} " * (1 + n % 9), number=n) for n in range(60)])
    return b"".join(PACK[ending](text[at : at + 4000]) for at in range(0, len(text), 4000))


FILES: dict[str, Callable[[], bytes]] = {
    **{f"a.warc{e}": lambda e=e: warc(e) for e in PACK},
    **{f"a.xml{e}": lambda e=e: wiki(e) for e in ("", ".gz", ".bz2", ".xz", ".zst")},
    "nested.warc.gz": lambda: (
        warc(".gz")
        + gzip.compress(warc_record("https://x.org/w", warc(".gz"), kind="resource"), 0, mtime=0)
        + warc(".gz")
    ),
    "a.jsonl": lambda: b"".join(LINES),
    "b.jsonl": lambda: b"\n\n" + b"".join(LINES).rstrip(b"\n"),
    "a.jsonl.gz": lambda: gzip.compress(b"".join(LINES)),
}


def whole_and_parts(path: Path, split_bytes: int) -> tuple[list[Record], list[list[Record]]]:
    kind = "mediawiki" if ".xml" in path.name else "auto"
    (shard,) = discover([InputConfig(source="s", path=str(path), kind=kind)])
    params = SplitParams(split_bytes=split_bytes, max_record_bytes=LIMIT)
    (table,) = read_cuts(shard, params)
    assert [(c["start"], c["first"]) for c in table.to_pylist()] == cuts(shard, params)
    parts = _parts(shard, table.to_pylist())
    assert len({part.key for part in parts}) == len(parts)
    return (
        list(read_records(shard, shard.path, LIMIT)),
        [list(read_records(part, part.path, LIMIT)) for part in parts],
    )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("hurt", [False, True], ids=["whole", "damaged"])
def test_parts_give_the_records_of_the_whole_file(tmp_path: Path, name: str, hurt: bool) -> None:
    data = FILES[name]()
    path = write(tmp_path / name, damaged(data) if hurt else data)
    for split_bytes in (1 << 10, 3_777, 1 << 14, 10**9):
        whole, parts = whole_and_parts(path, split_bytes)
        assert [record for part in parts for record in part] == whole
        assert len({record.record for record in whole}) == len(whole)
        if split_bytes == 1 << 10 and name != "a.jsonl.gz" and not hurt:
            assert len(parts) > 2


def test_parquet_is_cut_at_row_groups_and_folders_between_pages(tmp_path: Path) -> None:
    table = pa.table({"text": [f"{EN} {n}" for n in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=70)
    whole, parts = whole_and_parts(tmp_path / "a.parquet", 1 << 10)
    assert [record for part in parts for record in part] == whole
    assert [r.record for r in whole] == [f"s/a.parquet:{n}" for n in range(1000)]
    assert len(parts) > 3
    for n in range(20):
        write(tmp_path / "site" / f"{n:02}.html", html(EN * n).encode())
    whole, parts = whole_and_parts(tmp_path / "site", 1 << 11)
    assert [record for part in parts for record in part] == whole
    assert len(parts) > 3


def test_a_corpus_is_the_same_however_its_files_are_split(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.warc.gz", damaged(warc(".gz")))
    write(tmp_path / "in" / "a.jsonl", b"".join(LINES))
    item = {"source": "s", "path": str(tmp_path / "in")}
    ids, rows = [], []
    for split_bytes in (None, "4 KiB"):
        config = CorpusConfig.model_validate({"inputs": [item], "split_bytes": split_bytes})
        made = build(config, [], tmp_path / str(split_bytes), executor="inline")
        table = pa.concat_tables([pq.read_table(p) for p in made.documents])
        ids.append(sorted(table["id"].to_pylist()))
        rows.append(pq.read_table(made.ledger).drop_columns(["shard"]).sort_by("record"))
    assert ids[0] == ids[1]
    assert rows[0].equals(rows[1])
    assert rows[0].num_rows > 100
