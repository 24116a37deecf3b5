"""Megatron's files: its own readers read ours, ours reads its, damage is named."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.tokens.interop import megatron, with_ends, without_bos

BOS, EOS = 1, 2
VOCAB = 3 + 256
Documents = list[np.ndarray]


@pytest.fixture(scope="session")
def core() -> SimpleNamespace:
    """Megatron-core's own datasets (the extra `dev` installs it)."""
    pytest.importorskip("megatron.core", reason="megatron-core is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names the GPU parts that it does without
        from megatron.core.datasets import gpt_dataset, indexed_dataset, utils
    return SimpleNamespace(gpt=gpt_dataset, indexed=indexed_dataset, utils=utils)


@pytest.fixture(scope="session")
def real(rows: dict[str, list[dict]]) -> Documents:
    """Real documents as BOS, their UTF-8 bytes from id 3 on, EOS."""
    texts = [row["text"] for part in rows.values() for row in part[:10]]
    return [
        np.r_[BOS, np.frombuffer(text.encode()[:5000], np.uint8).astype(np.uint16) + 3, EOS]
        for text in texts
    ]


def in_chunks(documents: Documents, size: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = [documents[i : i + size] for i in range(0, len(documents), size)]
    return [(np.concatenate(part), np.array([len(d) for d in part])) for part in parts]


def split(tokens: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]


def as_lists(documents: Documents) -> list[list[int]]:
    return [document.tolist() for document in documents]


def write_few(prefix: Path, **options: Any) -> Documents:
    documents = [np.array([BOS, *range(3, 3 + n), EOS]) for n in (4, 0, 9, 2)]
    megatron.write(prefix, in_chunks(documents), vocab_size=options.pop("vocab", 600), **options)
    return documents


def test_megatrons_reader_reads_our_files(
    core: SimpleNamespace, real: Documents, tmp_path: Path
) -> None:
    prefix = tmp_path / "en.2024-06"
    written = megatron.write(prefix, in_chunks(real), VOCAB)
    dataset = core.indexed.IndexedDataset(str(prefix))
    assert written == (sum(map(len, real)), len(real), "uint16")
    assert [dataset[i].tolist() for i in range(len(dataset))] == as_lists(real)
    assert dataset.document_indices.tolist() == list(range(len(real) + 1))
    assert dataset.index.dtype == np.uint16


def test_our_files_are_megatrons_byte_for_byte(
    core: SimpleNamespace, real: Documents, tmp_path: Path
) -> None:
    import torch

    builder = core.indexed.IndexedDatasetBuilder(str(tmp_path / "its.bin"), dtype=np.uint16)
    for document in real:
        builder.add_document(torch.tensor(document), [len(document)])
    builder.finalize(str(tmp_path / "its.idx"))
    megatron.write(tmp_path / "ours", in_chunks(real), VOCAB)
    for kind in ("bin", "idx"):
        assert (tmp_path / f"ours.{kind}").read_bytes() == (tmp_path / f"its.{kind}").read_bytes()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_we_read_megatrons_files(
    core: SimpleNamespace, real: Documents, tmp_path: Path, dtype: type
) -> None:
    import torch

    builder = core.indexed.IndexedDatasetBuilder(str(tmp_path / "x.bin"), dtype=dtype)
    for document in real:  # two sequences a document, as with sentence splitting
        halves = np.array_split(document, 2)
        for half in halves:
            builder.add_item(torch.tensor(half))
        builder.end_document()
    builder.finalize(str(tmp_path / "x.idx"))
    read = megatron.read(tmp_path / "x")
    assert read.tokens.dtype == dtype
    assert split(read.tokens, read.lengths) == as_lists(real)


def test_gpt_dataset_samples_our_export_in_its_own_order(
    core: SimpleNamespace, real: Documents, tmp_path: Path
) -> None:
    sequence = 64
    prefix = str(tmp_path / "x")
    megatron.write(tmp_path / "x", in_chunks(real), VOCAB)
    tokenizer = SimpleNamespace(vocab_size=VOCAB, eod=EOS, pad=0, unique_identifiers={"name": "x"})
    config = core.gpt.GPTDatasetConfig(
        random_seed=7, sequence_length=sequence, blend=([prefix], None), split="1,0,0",
        path_to_cache=str(tmp_path / "cache"), tokenizer=tokenizer, reset_position_ids=False,
        reset_attention_mask=False, eod_mask_loss=False, create_attention_mask=False,
    )  # fmt: skip
    low = core.gpt.GPTDataset.build_low_level_dataset(prefix, config)
    documents = np.arange(len(real), dtype=np.int32)
    dataset = core.gpt.GPTDataset(low, prefix, documents, None, core.utils.Split.train, config)
    stream = np.concatenate([real[i] for i in dataset.document_index])
    assert len(dataset) == (stream.size - 1) // sequence
    for i in range(len(dataset)):
        start = int(dataset.shuffle_index[i]) * sequence
        sample = dataset[i]
        assert sample["tokens"].tolist() == stream[start : start + sequence].tolist()
        assert sample["labels"].tolist() == stream[start + 1 : start + sequence + 1].tolist()


@pytest.mark.parametrize("vocab", [2, 65_499, 65_500, 65_536, 100_000])
def test_the_type_is_megatrons_choice(core: SimpleNamespace, vocab: int) -> None:
    assert megatron.optimal_dtype(vocab) == core.indexed.DType.optimal_dtype(vocab)


def test_65536_ids_are_int32_and_uint16_on_demand(core: SimpleNamespace, tmp_path: Path) -> None:
    document = np.array([1, 65_535, 2], dtype=np.uint16)
    for dtype, wanted in ((None, np.int32), ("uint16", np.uint16)):
        megatron.write(tmp_path / "x", in_chunks([document]), 65_536, dtype=dtype)
        dataset = core.indexed.IndexedDataset(str(tmp_path / "x"))
        assert dataset.index.dtype == wanted
        assert dataset[0].tolist() == document.tolist()
    with pytest.raises(UserError, match="uint16 does not hold a vocabulary of 65,537"):
        megatron.write(tmp_path / "x", in_chunks([document]), 65_537, dtype="uint16")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 599), max_size=6), min_size=1, max_size=20).filter(any),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_any_documents_come_back(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], size: int, again: int
) -> None:
    prefix = tmp_path_factory.mktemp("m") / "x"
    arrays = [np.array(d, dtype=np.uint16) for d in documents]
    megatron.write(prefix, in_chunks(arrays, size), 600)
    read = megatron.read(prefix)
    assert split(read.tokens, read.lengths) == documents
    pieces = [split(*chunk) for chunk in read.chunks(again)]
    assert [document for piece in pieces for document in piece] == documents


def test_a_failed_export_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    documents = write_few(tmp_path / "x")

    def breaks() -> Any:
        yield from in_chunks(documents[:2])
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError):
        megatron.write(tmp_path / "x", breaks(), 600)
    read = megatron.read(tmp_path / "x")
    assert split(read.tokens, read.lengths) == as_lists(documents)
    assert {path.name for path in tmp_path.iterdir()} == {"x.bin", "x.idx"}


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (([1, 600, 2], [3]), r"x\.bin: token 1 has id 600, outside the vocabulary of 600"),
        (([1, -5, 2], [3]), "token 1 has id -5"),
        (([1, 5, 2], [2]), "1 documents should have 2 tokens, but 3 were read"),
        (([1, 5, 2], [4, -1]), "document 1 has -1 tokens"),
        (([], []), "there are no tokens to write"),
    ],
)
def test_what_cannot_be_right_is_not_written(
    tmp_path: Path, chunk: tuple[list[int], list[int]], message: str
) -> None:
    tokens, lengths = (np.array(part, dtype=np.int64) for part in chunk)
    with pytest.raises(UserError, match=message):
        megatron.write(tmp_path / "x", [(tokens, lengths)], 600)
    assert list(tmp_path.iterdir()) == []


def test_a_document_beyond_the_index_is_refused(tmp_path: Path) -> None:
    # A broadcast array: 2^31 tokens that take no memory.
    tokens = np.broadcast_to(np.uint16(5), 1 << 31)
    with pytest.raises(UserError, match="holds at most 2,147,483,647"):
        megatron.write(tmp_path / "x", [(tokens, np.array([1 << 31]))], 600)


def patched(at: int, form: str, value: Any) -> Any:
    def change(data: bytes) -> bytes:
        size = struct.calcsize(form)
        return data[:at] + struct.pack(form, value) + data[at + size :]

    return change


# The index of `write_few`: header 34 bytes, 4 lengths, 4 offsets, 5 entries.
@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("idx", lambda d: b"PK" + d[2:], r"x\.idx: not a Megatron index"),
        ("idx", lambda d: d[:20], r"x\.idx: cut short: 20 bytes are not even a header"),
        ("idx", lambda d: d[:-8], r"x\.idx: cut short: 114 bytes where its header"),
        ("idx", lambda d: d + b"\0", r"x\.idx: too long: 123 bytes"),
        ("idx", lambda d: d + b"\0" * 4, "a multimodal dataset"),
        ("idx", patched(9, "<Q", 2), "version 2 of Megatron's index"),
        ("idx", patched(17, "<B", 7), "of type float32"),
        ("idx", patched(17, "<B", 77), "of type code 77"),
        ("idx", patched(34, "<i", -6), "sequence 0 has -6 tokens"),
        ("idx", patched(34, "<i", 5), "sequence 1 should begin at byte 10 .* says 12"),
        ("idx", patched(58, "<q", 13), "sequence 1 should begin at byte 12 .* says 13"),
        ("idx", patched(114, "<q", 3), "must rise from 0 to the 4 sequences"),
        ("idx", patched(82, "<q", 1), "must rise from 0 to the 4 sequences"),
        ("idx", patched(90, "<q", 3), "must rise from 0 to the 4 sequences"),
        ("bin", lambda d: d[:-1], r"x\.bin: cut short: 45 bytes where x\.idx means 46"),
        ("bin", lambda d: d + b"\0\0", r"x\.bin: too long: 48 bytes where x\.idx means 46"),
    ],
)
def test_damage_is_named(tmp_path: Path, kind: str, change: Any, message: str) -> None:
    write_few(tmp_path / "x")
    path = tmp_path / f"x.{kind}"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        megatron.read(tmp_path / "x")


@pytest.mark.parametrize("kind", ["idx", "bin"])
def test_an_absent_file_is_named(tmp_path: Path, kind: str) -> None:
    write_few(tmp_path / "x")
    (tmp_path / f"x.{kind}").unlink()
    with pytest.raises(UserError, match=rf"x\.{kind}: no such file"):
        megatron.read(tmp_path / "x")


def test_bos_goes_and_comes_back() -> None:
    documents = [np.array([BOS, *body, EOS]) for body in ([5, 6], [], [7])]
    bare = list(without_bos(in_chunks(documents, 2), BOS))
    assert [d for chunk in bare for d in split(*chunk)] == [[5, 6, EOS], [EOS], [7, EOS]]
    whole = list(with_ends(bare, BOS, EOS))
    assert [d for chunk in whole for d in split(*chunk)] == as_lists(documents)
    with pytest.raises(UserError, match="document 1 does not begin with BOS"):
        list(without_bos(in_chunks([documents[0], documents[1][1:]], 1), BOS))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(3, 9), max_size=4), min_size=1, max_size=6),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=6, max_size=6),
)
def test_ends_are_added_only_where_they_lack(
    bodies: list[list[int]], has: list[tuple[bool, bool]]
) -> None:
    documents = [
        np.array([BOS] * bos + body + [EOS] * eos, dtype=np.uint16)
        for body, (bos, eos) in zip(bodies, has, strict=False)
    ]
    (chunk,) = with_ends(in_chunks(documents, 6), BOS, EOS)
    assert split(*chunk) == [[BOS, *body, EOS] for body in bodies]
    assert chunk[0].dtype == np.uint16


def test_ends_that_do_not_fit_the_type_widen_it() -> None:
    chunk = (np.array([5], dtype=np.uint16), np.array([1]))
    ((tokens, _),) = with_ends([chunk], 70_000, 70_001)
    assert tokens.tolist() == [70_000, 5, 70_001]
