"""datatrove's files: its own readers read ours, ours reads its, damage is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from skywright.errors import UserError
from skywright.tokens.interop import datatrove
from tests.tokens.test_megatron import as_lists, in_chunks, split

BOS, EOS = 0, 1


@pytest.fixture(scope="session")
def trove() -> SimpleNamespace:
    """datatrove's own readers and writers (the extra `dev` installs it)."""
    pytest.importorskip("datatrove", reason="datatrove is not installed")
    from datatrove import data
    from datatrove.pipeline.tokens import merger, tokenizer
    from datatrove.utils import dataset

    return SimpleNamespace(data=data, merger=merger, tokenizer=tokenizer, dataset=dataset)


@pytest.fixture(scope="session")
def texts(rows: dict[str, list[dict]]) -> list[str]:
    return [row["text"][:3000] for part in rows.values() for row in part[:10]]


@pytest.fixture(scope="session")
def model(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer.json, which datatrove's own pipeline can load."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    bpe.save(str(path))
    return path


@pytest.fixture(scope="session")
def real(texts: list[str], model: Path) -> list[np.ndarray]:
    """The documents' ids as datatrove writes them: EOS behind, nothing before."""
    encoder = tokenizers.Tokenizer.from_file(str(model))
    return [np.array([*found.ids, EOS], np.uint16) for found in encoder.encode_batch(texts)]


def tokenised(trove: SimpleNamespace, texts: list[str], model: Path, out: Path, **how: Any) -> Path:
    """The one .ds file that datatrove's pipeline step makes of `texts`."""
    step = trove.tokenizer.DocumentTokenizer(str(out), str(model), eos_token="</s>", seed=3, **how)
    step.run([trove.data.Document(text=text, id=str(i)) for i, text in enumerate(texts)])
    (path,) = out.glob("*.ds")
    return path


@pytest.mark.parametrize("token_size", [2, 4])
def test_datatroves_reader_reads_our_files(
    trove: SimpleNamespace, real: list[np.ndarray], tmp_path: Path, token_size: int
) -> None:
    sequence = 128
    vocab = 65_536 if token_size == 2 else 65_537
    written = datatrove.write(tmp_path / "en.ds", in_chunks(real), vocab, "small")
    stream = np.concatenate(real)
    assert written == (stream.size, len(real), "uint16" if token_size == 2 else "uint32")
    dataset = trove.dataset.DatatroveFileDataset(
        str(tmp_path / "en.ds"), sequence, token_size=token_size, return_positions=True
    )
    assert len(dataset) == stream.size // (sequence + 1)
    position = np.concatenate([np.arange(len(document)) for document in real])
    for i in range(len(dataset)):
        here = slice(i * (sequence + 1), (i + 1) * (sequence + 1))
        item = dataset[i]
        assert item["input_ids"].tolist() == stream[here].tolist()
        # It counts positions from the window's start: what went before it is not seen.
        before = np.maximum.accumulate(np.where(position[here] == 0, np.arange(sequence + 1), 0))
        assert item["positions"].tolist() == (np.arange(sequence + 1) - before).tolist()


def test_datatroves_folder_reader_finds_our_files(
    trove: SimpleNamespace, real: list[np.ndarray], tmp_path: Path
) -> None:
    halves = [real[:20], real[20:]]
    for i, half in enumerate(halves):
        datatrove.write(tmp_path / f"{i}.ds", in_chunks(half), 500, "small")
    dataset = trove.dataset.DatatroveFolderDataset(str(tmp_path), 64)
    wanted = [np.concatenate(half) for half in halves]
    rows = [part[: part.size // 65 * 65].reshape(-1, 65) for part in wanted]
    assert [dataset[i]["input_ids"].tolist() for i in range(len(dataset))] == [
        row.tolist() for row in np.concatenate(rows)
    ]


def test_our_files_are_datatroves_byte_for_byte(
    trove: SimpleNamespace, real: list[np.ndarray], tmp_path: Path
) -> None:
    its = trove.tokenizer.TokenizedFile(
        str(tmp_path), "its.ds", tokenizer_name_or_path="small", save_final_metadata=True
    )
    for document in real:
        its.write(document.tolist(), None)
    its.close()
    datatrove.write(tmp_path / "ours.ds", in_chunks(real), 500, "small")
    for kind in ("", ".index", ".metadata"):
        ours, theirs = tmp_path / f"ours.ds{kind}", tmp_path / f"its.ds{kind}"
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("tokens", [0, 1, 9, 10, 99, 999, 999_999, 1_000_000, 3_200 * 10**9])
def test_the_count_for_people_is_humanizes(tokens: int) -> None:
    humanize = pytest.importorskip("humanize")
    assert datatrove._for_people(tokens) == humanize.metric(tokens, unit="T")


def test_we_read_what_datatrove_tokenised(
    trove: SimpleNamespace, texts: list[str], model: Path, real: list[np.ndarray], tmp_path: Path
) -> None:
    path = tokenised(trove, texts, model, tmp_path, shuffle_documents=False)
    read = datatrove.read(path)
    assert read.tokens.dtype == np.uint16
    assert split(read.tokens, read.lengths) == as_lists(real)


def test_shuffled_documents_are_the_same_ones_in_another_order(
    trove: SimpleNamespace, texts: list[str], model: Path, real: list[np.ndarray], tmp_path: Path
) -> None:
    read = datatrove.read(tokenised(trove, texts, model, tmp_path))
    found = split(read.tokens, read.lengths)
    assert found != as_lists(real)
    assert sorted(found) == sorted(as_lists(real))


def test_shuffled_chunks_come_as_pieces(
    trove: SimpleNamespace, texts: list[str], model: Path, real: list[np.ndarray], tmp_path: Path
) -> None:
    how = {"shuffle_documents": False, "shuffle_chunk_size": 256}
    read = datatrove.read(tokenised(trove, texts, model, tmp_path, **how))
    stream = np.concatenate(real)
    chunks = stream[: stream.size // 256 * 256].reshape(-1, 256)  # it drops the rest
    assert sorted(read.tokens.reshape(-1, 256).tolist()) == sorted(chunks.tolist())
    assert {256 * (i + 1) for i in range(len(chunks))} <= set(np.cumsum(read.lengths).tolist())


def test_datatrove_merges_our_files(
    trove: SimpleNamespace, real: list[np.ndarray], tmp_path: Path
) -> None:
    for i, half in enumerate((real[:20], real[20:])):
        datatrove.write(tmp_path / "in" / f"{i}.ds", in_chunks(half), 500, "small")
    merger = trove.merger.DocumentTokenizerMerger(
        str(tmp_path / "in"), str(tmp_path / "out"), "all", shuffle=False, progress=False
    )
    merger.run()
    read = datatrove.read(tmp_path / "out" / "000_all.ds")
    assert split(read.tokens, read.lengths) == as_lists(real)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 99_999), max_size=6), min_size=1, max_size=20).filter(any),
    st.integers(1, 5),
)
def test_any_documents_come_back(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], size: int
) -> None:
    path = tmp_path_factory.mktemp("d") / "x.ds"
    arrays = [np.array(d, dtype=np.uint32) for d in documents]
    datatrove.write(path, in_chunks(arrays, size), 100_000, "small")
    read = datatrove.read(path)
    assert read.tokens.dtype == np.uint32
    assert split(read.tokens, read.lengths) == documents


def write_few(path: Path) -> None:
    documents = [np.array([BOS, *range(3, 3 + n), EOS]) for n in (4, 0, 9, 2)]
    datatrove.write(path, in_chunks(documents), 600, "small")


def ends(*values: int) -> Any:
    return lambda _: np.array(values, dtype="<u8").tobytes()


# `write_few`: 23 tokens of two bytes, ends 6, 8, 19, 23.
@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("", lambda d: d[:-1], r"x\.ds: cut short: 45 bytes where its index .* means 46"),
        ("", lambda d: d + b"\0", r"x\.ds: too long: 47 bytes where its index .* means 46"),
        ("", lambda d: d + d, r"x\.ds: too long: 92 bytes .*2 bytes\) means 46"),
        (".index", lambda d: d[:-3], r"x\.ds\.index: cut short: 29 bytes"),
        (".index", ends(6, 8, 7, 23), "document 2 ends at token 7, before .* before it \\(8\\)"),
        (".index", ends(6, 8, 19, 22), r"metadata: says 23 tokens, but the index ends at 22"),
        (".metadata", lambda _: b"small|3\n23\n23 T", "ids of 3 bytes"),
        (".metadata", lambda _: b"small|4\n23\n23 T", "cut short: 46 bytes .* means 92"),
        (".metadata", lambda _: b"small|2\nmany", "correct it or remove it"),
        (".metadata", lambda _: b"small", "correct it or remove it"),
        (".metadata", lambda _: b"", "correct it or remove it"),
    ],
)
def test_damage_is_named(tmp_path: Path, kind: str, change: Any, message: str) -> None:
    write_few(tmp_path / "x.ds")
    path = tmp_path / f"x.ds{kind}"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        datatrove.read(tmp_path / "x.ds")


def test_absent_files_and_a_loss_mask_are_named(tmp_path: Path) -> None:
    write_few(tmp_path / "x.ds")
    (tmp_path / "x.ds.metadata").unlink()
    assert datatrove.read(tmp_path / "x.ds").lengths.tolist() == [6, 2, 11, 4]
    (tmp_path / "x.ds.loss").write_bytes(b"\1" * 23)
    with pytest.raises(UserError, match=r"x\.ds\.loss: marks tokens that must not be learned"):
        datatrove.read(tmp_path / "x.ds")
    (tmp_path / "x.ds.index").unlink()
    with pytest.raises(UserError, match="save_index=True"):
        datatrove.read(tmp_path / "x.ds")
    with pytest.raises(UserError, match=r"y\.ds: no such file"):
        datatrove.read(tmp_path / "y.ds")


def test_names_that_datatrove_would_misread_are_refused(tmp_path: Path) -> None:
    chunks = [(np.array([5]), np.array([1]))]
    with pytest.raises(UserError, match=r"end in '\.ds'"):
        datatrove.write(tmp_path / "x.bin", chunks, 600, "small")
    for name in ("", "a|b", "a\nb"):
        with pytest.raises(UserError, match="cannot stand in the metadata"):
            datatrove.write(tmp_path / "x.ds", chunks, 600, name)
    assert list(tmp_path.iterdir()) == []


def test_an_export_over_an_older_one_leaves_nothing_of_it(tmp_path: Path) -> None:
    write_few(tmp_path / "x.ds")
    (tmp_path / "x.ds.loss").write_bytes(b"\1" * 23)
    datatrove.write(tmp_path / "x.ds", [(np.array([5, 6]), np.array([2]))], 600, "other")
    read = datatrove.read(tmp_path / "x.ds")
    assert split(read.tokens, read.lengths) == [[5, 6]]
    assert (tmp_path / "x.ds.metadata").read_text() == "other|2\n2\n2.00 T"
