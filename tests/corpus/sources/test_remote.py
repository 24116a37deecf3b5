"""Remote files: what breaks is taken up again, and no failure passes for the end of a file."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import fsspec
import pytest

from skywright.corpus.config import CorpusConfig, InputConfig
from skywright.corpus.pipeline import build
from skywright.corpus.sources import storage
from skywright.corpus.sources.files import discover, read_records
from skywright.corpus.sources.remote import RemoteFile, Retry
from skywright.corpus.sources.web import WebTransport
from skywright.errors import UserError
from tests.corpus.pages import EN, ZH, packed, page_record, write
from tests.corpus.sources.server import Faults, serve

DATA = random.Random(1).randbytes(3_000_000)
QUICK = Retry(attempts=4, first_s=0.01, longest_s=0.02)


def opened(url: str) -> RemoteFile:
    return RemoteFile(url, WebTransport(url), QUICK)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(drop_after=700_000, times=4),
        Faults(cut_after=700_000, times=4),
        Faults(ranges=False),
        Faults(drop_after=900_000, times=2, ranges=False),
        Faults(refuse=3),
        Faults(refuse=2, status=429, retry_after="0", drop_after=10, times=3),
        Faults(tags=False, drop_after=2_000_000, times=1),
    ],
    ids=["whole", "dropped", "cut", "no-ranges", "dropped-no-ranges", "503", "429-dropped",
         "no-tag"],
)  # fmt: skip
def test_a_file_is_read_whole_whatever_the_server_does_to_it(faults: Faults) -> None:
    with serve({"/a": DATA}, faults) as address, opened(f"{address}/a") as file:
        assert file.stat.size == len(DATA)
        assert b"".join(iter(lambda: file.read(65_537), b"")) == DATA


def test_a_break_costs_the_rest_of_the_file_and_not_the_beginning() -> None:
    faults = Faults(drop_after=1_000_000, times=2)
    with serve({"/a": DATA}, faults) as address, opened(f"{address}/a") as file:
        assert file.read() == DATA
    first, *ranges = faults.asked
    assert first == "bytes=0-0"
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in ranges]
    assert starts[0] == 0
    # What was on its way when the connection broke may be lost, the rest is not asked for again.
    assert [start > 0 for start in starts[1:]] == [True, True]
    assert starts == sorted(starts)


def test_seeking_reads_from_there() -> None:
    with serve({"/a": DATA}) as address, opened(f"{address}/a") as file:
        for at in (2_000_000, 5, len(DATA) - 3, len(DATA)):
            file.seek(at)
            assert file.read(10) == DATA[at : at + 10]


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(refuse=99), r"/a: given up after 4 attempts \(status 503\); run again later"),
        (Faults(drop_after=5, times=99, ranges=False), r"given up at byte \d+ of 3000000 after 4"),
        (Faults(change_after=2, drop_after=1_000_000, times=1), "changed while it was read"),
        (Faults(refuse=1, status=403), r"the server answers 403 Forbidden; check the address"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(faults: Faults, said: str) -> None:
    def read_all() -> None:
        with serve({"/a": DATA}, faults) as address, opened(f"{address}/a") as file:
            while file.read(4):
                pass

    with pytest.raises(UserError, match=said) as error:
        read_all()
    assert "\n" not in str(error.value)


def test_pauses_grow_and_stay_bounded() -> None:
    assert [Retry().pause_s(n) for n in (1, 2, 3, 7, 50)] == [0.5, 1, 2, 30, 30]


def test_an_identity_is_of_the_content_as_far_as_the_server_tells() -> None:
    with serve({"/a": b"x" * 10, "/b": b""}, faults := Faults()) as address:
        first = storage.identity(f"{address}/a")
        assert storage.identity(f"{address}/a") == first
        assert storage.identity(f"{address}/b")[1] == 0
        faults.etag = "v2"
        assert storage.identity(f"{address}/a") != first
        faults.tags = False
        told = storage.identity(f"{address}/a")
        faults.etag = "v3"
        assert storage.identity(f"{address}/a") == told  # read, and of the bytes alone


RECORDS = [page_record(f"https://example.org/{n}", f"{EN} {ZH} {n}") for n in range(40)]
CC = {f"/crawl-data/{n}.warc.gz": packed(RECORDS[10 * n : 10 * n + 10]) for n in range(4)}


@pytest.mark.parametrize("faults", [Faults(), Faults(drop_after=900, times=7), Faults(refuse=2)])
def test_a_list_of_paths_is_read_behind_its_prefix(tmp_path: Path, faults: Faults) -> None:
    paths = write(tmp_path / "warc.paths.gz", gzip.compress("\n".join(n[1:] for n in CC).encode()))
    with serve(CC, faults) as address:
        item = InputConfig(source="cc", path=str(paths), paths_prefix=f"{address}/")
        shards = discover([item])
        assert [shard.key for shard in shards] == [f"cc{name}" for name in CC]
        records = [r for shard in shards for r in read_records(shard, shard.path, 10**6)]
    assert [r.url for r in records] == [f"https://example.org/{n}" for n in range(40)]
    assert all(record.rule is None for record in records)


def test_the_list_may_stand_on_the_server_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    files = {**CC, "/warc.paths": b"# two\ncrawl-data/1.warc.gz\ncrawl-data/3.warc.gz\n"}
    with serve(files) as address:
        item = InputConfig(source="cc", path=f"{address}/warc.paths", paths_prefix=address)
        assert [s.key for s in discover([item])] == [f"cc/crawl-data/{n}.warc.gz" for n in (1, 3)]
    empty = write(tmp_path / "none.paths", b"\n")
    with pytest.raises(UserError, match=r"none\.paths: the list of paths is empty"):
        discover([InputConfig(source="cc", path=str(empty), paths_prefix="https://x.org")])


def test_objects_of_fsspec_are_found_by_folder_and_by_pattern() -> None:
    files = fsspec.filesystem("memory")
    files.pipe({f"/bucket/cc{name}": data for name, data in CC.items()})
    whole = discover([InputConfig(source="m", path="memory://bucket/cc")])
    assert [s.key for s in whole] == [f"m{name}" for name in CC]
    some = discover([InputConfig(source="m", path="memory://bucket/cc/crawl-data/[12].warc.gz")])
    assert [s.key for s in some] == ["m/1.warc.gz", "m/2.warc.gz"]
    records = [r for shard in some for r in read_records(shard, shard.path, 10**6)]
    assert [r.url for r in records] == [f"https://example.org/{n}" for n in range(10, 30)]
    files.pipe("/bucket/cc/crawl-data/1.warc.gz", CC["/crawl-data/1.warc.gz"] + b"\0")
    assert discover([InputConfig(source="m", path="memory://bucket/cc")])[1] != whole[1]
    with pytest.raises(UserError, match="nothing to read there"):
        discover([InputConfig(source="m", path="memory://bucket/nothing")])


def test_a_corpus_of_remote_files_is_that_of_local_ones(tmp_path: Path) -> None:
    for name, data in CC.items():
        write(tmp_path / "local" / name[1:], data)
    local = {"inputs": [{"source": "cc", "path": str(tmp_path / "local")}]}
    paths = write(tmp_path / "cc.paths", "\n".join(name[1:] for name in CC).encode())
    built = build(CorpusConfig.model_validate(local), [], tmp_path / "a", executor="inline")
    with serve(CC, Faults(drop_after=3_000, times=5)) as address:
        remote = {"inputs": [{"source": "cc", "path": str(paths), "paths_prefix": address}]}
        other = build(CorpusConfig.model_validate(remote), [], tmp_path / "b", executor="inline")
    assert built.waterfall["input_records"] == 40
    assert built.ledger.read_bytes() == other.ledger.read_bytes()
    assert [p.read_bytes() for p in built.documents] == [p.read_bytes() for p in other.documents]
