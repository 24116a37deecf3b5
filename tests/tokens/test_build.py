"""Shards from real documents: what is in them, the same bytes again, and every refusal."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from skywright.errors import UserError
from skywright.tokens import (
    EpochConfig,
    Loader,
    Plan,
    SegmentMixture,
    Shards,
    TokensConfig,
    build,
    summary,
)
from skywright.tokens.manifest import token_dtype
from skywright.tokens.supply import windows_in
from tests.tokens.conftest import SmallTokenizer, write_documents

CONFIG = TokensConfig.model_validate(
    {
        "sources": {
            "zh": {"from": ["wiki"], "lang": ["zh-Hans", "zh-Hant"]},
            "en": {"from": ["wiki"], "lang": ["en"]},
            "code": {"from": ["code"]},
        }
    }
)


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def whole(shards: Shards, source: str) -> np.ndarray:
    return np.concatenate(shards.parts(source))


@pytest.fixture
def built(documents: list[Path], tokenizer: SmallTokenizer, tmp_path: Path) -> Path:
    build(CONFIG, documents, tokenizer, tmp_path / "tokens")
    return tmp_path / "tokens"


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_shards_hold_every_document_of_their_source_in_order(
    built: Path, rows: dict, tokenizer: SmallTokenizer
) -> None:
    shards = Shards.open(built, tokenizer.fingerprint)
    shards.check()
    for source, file in (
        ("zh", "zh_wiki"),
        ("en", "en_wiki_2024_06"),
        ("code", "code_python_2024_06"),
    ):
        texts = [row["text"] for row in rows[file]]
        expected = [
            np.concatenate([[tokenizer.bos_id], ids, [tokenizer.eos_id]])
            for ids in tokenizer.encode_batch(texts)
        ]
        assert np.array_equal(whole(shards, source), np.concatenate(expected))
        offsets = np.concatenate([[0], np.cumsum([ids.size for ids in expected])])
        assert np.array_equal(shards.offsets(source), offsets)
        assert shards.document_bytes(source).tolist() == [len(t.encode()) for t in texts]
        held = shards.manifest.sources[source]
        assert (held.tokens, held.documents) == (offsets[-1], len(texts))
        assert held.bytes == sum(len(text.encode()) for text in texts)
    assert shards.manifest.unused == {"wiki/other": 60}


def test_files_are_flat_little_endian(built: Path) -> None:
    shards = Shards.open(built)
    raw = np.frombuffer((built / "en-00000.bin").read_bytes(), dtype="<u2")
    (part,) = shards.parts("en")
    assert np.array_equal(raw, part)
    assert part.dtype == np.uint16


def test_the_order_of_the_list_and_a_second_build_change_no_byte(
    built: Path, documents: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    build(CONFIG, documents[::-1], tokenizer, tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(built)


def test_a_finished_folder_is_left_alone(
    built: Path, documents: list[Path], tokenizer: SmallTokenizer
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in built.iterdir()}
    manifest = build(CONFIG, documents, tokenizer, built)
    assert manifest == Shards.open(built).manifest
    assert {path.name: path.stat().st_mtime_ns for path in built.iterdir()} == before


def test_a_folder_made_from_other_documents_is_refused(
    built: Path, documents: list[Path], tokenizer: SmallTokenizer
) -> None:
    with pytest.raises(UserError, match="other documents"):
        build(CONFIG, documents[:3], tokenizer, built)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.tokens.conftest import SmallTokenizer
from tests.tokens.test_build import CONFIG
import json
from skywright.tokens import build
texts = json.loads(Path(sys.argv[1]).read_text())
def progress(done, total, text):
    if done > 100:
        os.kill(os.getpid(), signal.SIGKILL)
build(CONFIG, [Path(p) for p in sys.argv[3:]], SmallTokenizer(texts), Path(sys.argv[2]), progress)
"""


def test_a_killed_build_leaves_no_manifest_and_ends_with_the_same_bytes(
    built: Path, rows: dict, documents: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps([row["text"] for part in rows.values() for row in part[:20]]))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(texts), str(out), *map(str, documents)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    assert list(out.iterdir()), "the kill came before anything was written"
    build(CONFIG, documents, tokenizer, out)
    assert hashes(out) == hashes(built)


# ------------------------------------------------------------ tasks


SMALL_SHARDS = CONFIG.model_copy(update={"shard_bytes": 1})


@pytest.fixture
def many(rows: dict, tmp_path: Path) -> list[Path]:
    """The documents in four files of several row groups each, as a large corpus has them."""
    paths = []
    for number, part in enumerate(rows.values()):
        path = write_documents(tmp_path / f"documents-{number}.parquet", part)
        pq.write_table(pq.read_table(path), path, row_group_size=25)
        paths.append(path)
    return paths


def test_several_shards_hold_the_stream_of_one(
    built: Path, many: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    build(SMALL_SHARDS, many, tokenizer, tmp_path / "small")
    small, large = Shards.open(tmp_path / "small"), Shards.open(built)
    small.check()
    for source in large.manifest.sources:
        assert [s.documents for s in small.manifest.sources[source].shards] == [25, 25, 10]
        assert np.array_equal(whole(small, source), whole(large, source))
        assert np.array_equal(small.offsets(source), large.offsets(source))
        assert np.array_equal(small.document_bytes(source), large.document_bytes(source))


def test_the_number_of_workers_changes_no_byte(
    many: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    build(SMALL_SHARDS, many, tokenizer, tmp_path / "one")
    build(SMALL_SHARDS, many, tokenizer, tmp_path / "two", workers=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_one_more_file_runs_its_own_tasks_alone(
    many: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks"
    build(SMALL_SHARDS, many[:3], tokenizer, tmp_path / "three", tasks=tasks)
    before = {path: path.stat().st_mtime_ns for path in tasks.rglob("*")}
    build(SMALL_SHARDS, many, tokenizer, tmp_path / "four", tasks=tasks)
    after = {path: path.stat().st_mtime_ns for path in tasks.rglob("*")}
    assert {path: after[path] for path in before} == before
    assert len({path.parent for path in after if path.name == "task.json"}) == 3 * 3 + 3
    assert (
        hashes(tmp_path / "four").items()
        >= {
            name: found
            for name, found in hashes(tmp_path / "three").items()
            if name.endswith("bin")
        }.items()
    )


def test_what_is_expected_of_a_source_is_no_part_of_its_shards(
    built: Path, documents: list[Path], tokenizer: SmallTokenizer
) -> None:
    told = CONFIG.model_dump(by_alias=True)
    told["sources"]["zh"]["expected_tokens"] = "2T"
    build(TokensConfig.model_validate(told), documents, tokenizer, built)


# ------------------------------------------------------------ documents of all kinds


def test_a_vocabulary_beyond_65536_ids_takes_uint32(tmp_path: Path) -> None:
    class Wide:
        vocab_size, bos_id, eos_id, fingerprint = 65_537, 1, 65_536, "wide"

        def encode_column(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
            return np.tile([7, 65_535], len(texts)), np.arange(len(texts) + 1) * 2

    path = write_documents(tmp_path / "a.parquet", [{"source": "code", "lang": "x", "text": "a"}])
    config = TokensConfig.model_validate({"sources": {"code": {"from": ["code"]}}})
    build(config, [path], Wide(), tmp_path / "out")
    shards = Shards.open(tmp_path / "out")
    shards.check()
    assert (tmp_path / "out" / "code-00000.bin").stat().st_size == 16
    assert whole(shards, "code").tolist() == [1, 7, 65_535, 65_536]
    assert (token_dtype(65_536).name, token_dtype(65_537).name) == ("uint16", "uint32")


def test_an_empty_document_is_bos_and_eos(tokenizer: SmallTokenizer, tmp_path: Path) -> None:
    rows = [{"source": "code", "lang": None, "text": text} for text in ("", "x = 1", "")]
    config = TokensConfig.model_validate({"sources": {"code": {"from": ["code"]}}})
    build(config, [write_documents(tmp_path / "a.parquet", rows)], tokenizer, tmp_path / "out")
    shards = Shards.open(tmp_path / "out")
    shards.check()
    assert shards.document_bytes("code").tolist() == [0, 5, 0]
    assert whole(shards, "code")[:2].tolist() == [tokenizer.bos_id, tokenizer.eos_id]


def test_windows_share_one_token() -> None:
    assert [windows_in(tokens, 4) for tokens in (0, 1, 4, 5, 8, 9)] == [0, 0, 0, 1, 1, 2]


# ------------------------------------------------------------ refusals


def test_an_id_beyond_the_vocabulary_stops_the_build(
    documents: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    class Broken:
        vocab_size, bos_id, eos_id, fingerprint = 300, 1, 0, "broken"
        encode_column = tokenizer.encode_column

    with pytest.raises(UserError, match=r"parquet: row \d+: token id \d+ is outside .* 300"):
        build(CONFIG, documents, Broken(), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["bin", "offsets", "bytes"])
def test_a_shard_cut_short_is_refused(built: Path, kind: str) -> None:
    path = built / f"zh-00000.{kind}"
    os.truncate(path, path.stat().st_size - 2)
    with pytest.raises(UserError, match=rf"zh-00000\.{kind}: cut short"):
        Shards.open(built)


def test_an_absent_shard_is_refused(built: Path) -> None:
    (built / "en-00000.bin").unlink()
    with pytest.raises(UserError, match=r"en-00000\.bin: named by the manifest but absent"):
        Shards.open(built)


def test_a_changed_byte_is_found_by_the_check(built: Path) -> None:
    with open(built / "code-00000.bin", "r+b") as stream:
        stream.seek(100)
        byte = stream.read(1)
        stream.seek(100)
        stream.write(bytes([byte[0] ^ 1]))
    shards = Shards.open(built)
    with pytest.raises(UserError, match=r"code-00000\.bin: its SHA-256"):
        shards.check()


def reseal(folder: Path, source: str, kind: str) -> None:
    """Give the manifest the checksum of a changed file, so that only the contents are wrong."""
    manifest = json.loads((folder / "manifest.json").read_text())
    data = (folder / f"{source}-00000.{kind}").read_bytes()
    manifest["sources"][source]["shards"][0]["files"][kind]["sha256"] = hashlib.sha256(
        data
    ).hexdigest()
    change_manifest(folder, **manifest)


@pytest.mark.parametrize(
    ("kind", "position", "value", "message"),
    [
        ("bin", 10, 60_000, "token 10 has id 60000, beyond the vocabulary"),
        ("bin", 0, 5, "document 0 does not begin with BOS"),
        ("bin", -1, 5, "document 59 does not end with EOS"),
        ("offsets", 3, 0, "offsets must rise"),
        ("bytes", 3, 0, "do not add up"),
    ],
)
def test_contents_that_contradict_the_format_are_found(
    built: Path, kind: str, position: int, value: int, message: str
) -> None:
    dtype = {"bin": "<u2", "offsets": "<u8", "bytes": "<u4"}[kind]
    path = built / f"en-00000.{kind}"
    array = np.frombuffer(path.read_bytes(), dtype).copy()
    array[position] = value
    path.write_bytes(array.tobytes())
    reseal(built, "en", kind)
    with pytest.raises(UserError, match=message):
        Shards.open(built).check()


def test_another_tokenizer_is_refused(built: Path) -> None:
    with pytest.raises(UserError, match="made with the tokenizer"):
        Shards.open(built, "0" * 64)


def test_a_manifest_that_does_not_match_is_refused(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    manifest["sources"]["zh"]["shards"][0]["tokens"] += 1
    change_manifest(built, **manifest)
    with pytest.raises(UserError, match=r"zh-00000\.bin: cut short"):
        Shards.open(built)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"format": 2}', "made_from: Field required"),
        ('{"format": 1}', "written by an earlier version"),
        (None, "no such file; build the tokens first"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Shards.open(tmp_path)


def test_a_dtype_that_does_not_fit_the_vocabulary_is_refused(built: Path) -> None:
    change_manifest(built, vocab_size=70_000)
    with pytest.raises(UserError, match=r"\.bin: cut short: .* means"):
        Shards.open(built)


def test_a_source_that_no_document_reaches_is_refused(
    documents: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    config = TokensConfig.model_validate({"sources": {"zh": {"from": ["wikki"]}}})
    with pytest.raises(UserError, match=r"sources\.zh: no document .*code/code, wiki/en"):
        build(config, documents, tokenizer, tmp_path / "out")


@pytest.mark.parametrize(
    "sources",
    [
        {"a": {"from": ["wiki"]}, "b": {"from": ["wiki", "code"]}},
        {"a": {"from": ["wiki"], "lang": ["en"]}, "b": {"from": ["wiki"]}},
        {"a": {"from": ["w"], "lang": ["en", "x"]}, "b": {"from": ["w"], "lang": ["x"]}},
        {"a": {"from": ["w"], "quality": [0, 5]}, "b": {"from": ["w"], "quality": [5, 9]}},
        {"a": {"from": ["w"], "quality": [0, 5]}, "b": {"from": ["w"]}},
    ],
)
def test_a_document_in_two_sources_is_refused(sources: dict) -> None:
    with pytest.raises(UserError, match="'a' and 'b' both take"):
        TokensConfig.model_validate({"sources": sources})


@pytest.mark.parametrize("quality", [[5, 4], [-1, 3]])
def test_a_range_of_bins_that_is_none_is_refused(quality: list[int]) -> None:
    with pytest.raises(ValidationError, match=r"is no range of bins; write \[lowest, highest\]"):
        TokensConfig.model_validate({"sources": {"a": {"from": ["w"], "quality": quality}}})


def test_a_source_name_that_is_no_file_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"'\.\./x' names files"):
        TokensConfig.model_validate({"sources": {"../x": {"from": ["wiki"]}}})


def test_documents_that_cannot_be_read_are_refused(
    tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            build(CONFIG, [path], tokenizer, tmp_path / "out")
        return str(caught.value)

    (tmp_path / "bad.parquet").write_text("no parquet")
    assert "not a readable Parquet file" in refused(tmp_path / "bad.parquet")
    assert "no such file" in refused(tmp_path / "absent.parquet")
    none = write_documents(tmp_path / "n.parquet", [{"source": "code", "lang": "x", "text": "a"}])
    pq.write_table(pq.read_table(none).drop_columns(["lang"]), none)
    assert "the column 'lang' is missing" in refused(none)
    with pytest.raises(UserError, match="no documents"):
        build(CONFIG, [], tokenizer, tmp_path / "out")


# ---------------------------------------------------------------- by quality


def by_quality(low: list[int], high: list[int]) -> TokensConfig:
    return TokensConfig.model_validate(
        {
            "sources": {
                "low": {"from": ["wiki"], "lang": ["en"], "quality": low},
                "high": {"from": ["wiki"], "lang": ["en"], "quality": high},
                "code": {"from": ["code"]},
            }
        }
    )


@pytest.fixture
def binned(rows: dict, tmp_path: Path) -> list[Path]:
    """The English pages in bins 0 to 9 by turns, every eleventh without a score; and code."""
    pages = [
        {**row, "meta": "{}" if n % 11 == 10 else json.dumps({"quality_bin": n % 10})}
        for n, row in enumerate(rows["en_wiki_2024_06"])
    ]
    return [
        write_documents(tmp_path / "pages.parquet", pages),
        write_documents(tmp_path / "python.parquet", rows["code_python_2024_06"]),
    ]


def test_sources_take_pages_by_their_bin_of_quality(
    binned: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    build(by_quality([0, 6], [8, 9]), binned, tokenizer, tmp_path / "tokens")
    shards = Shards.open(tmp_path / "tokens", tokenizer.fingerprint)
    shards.check()
    pages = pq.read_table(binned[0])
    for source, bins in (("low", range(7)), ("high", (8, 9))):
        expected = [
            len(text.encode())
            for text, meta in zip(*(pages[k].to_pylist() for k in ("text", "meta")), strict=True)
            if json.loads(meta).get("quality_bin", -1) in bins
        ]
        assert shards.document_bytes(source).tolist() == expected
    metas = [json.loads(meta) for meta in pages["meta"].to_pylist()]
    assert shards.manifest.unused == {
        "wiki/en": sum(not meta for meta in metas),
        "wiki/en/bin 7": sum(meta.get("quality_bin") == 7 for meta in metas),
    }
    assert shards.manifest.sources["code"].documents == 60


def test_the_order_over_bins_of_quality_is_a_pure_function_of_the_plan(
    binned: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    def samples(out: Path, numbers: list[int]) -> np.ndarray:
        shards = Shards.open(out, tokenizer.fingerprint)
        segment = SegmentMixture(
            name="s", tokens=32 * 200, mixture={"low": 0.25, "high": 0.65, "code": 0.1}
        )
        plan = Plan(3, 32, shards.sizes([32]), [segment], EpochConfig(max_epochs=50))
        shares = summary(plan)["segments"][0]["shares"]
        assert shares["high"] == pytest.approx(0.65, abs=0.01)
        return np.array(Loader(shards, plan).batch(numbers).inputs)

    config = by_quality([0, 7], [8, 9])
    build(config, binned, tokenizer, tmp_path / "one")
    build(config, binned[::-1], tokenizer, tmp_path / "two", workers=2)
    whole_run = samples(tmp_path / "one", list(range(200)))
    assert np.array_equal(whole_run, samples(tmp_path / "two", list(range(200))))
    assert np.array_equal(whole_run[150:], samples(tmp_path / "one", list(range(150, 200))))


def test_a_quality_that_no_page_has_is_refused(
    binned: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"high: no document .*quality \[10, 12\].*wiki/en/bin 9"):
        build(by_quality([0, 6], [10, 12]), binned, tokenizer, tmp_path / "out")


def test_sources_without_a_quality_keep_the_names_of_their_shards() -> None:
    told = CONFIG.naming()["sources"]
    assert told["en"] == {"from_": ["wiki"], "lang": ["en"]}
