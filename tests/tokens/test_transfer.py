"""Shards to Megatron's and datatrove's files and back: nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.tokenizer import Tokenizer, train
from skywright.tokens import Shards, TokensConfig, build
from skywright.tokens.transfer import export, import_sources
from tests.tokenizer.conftest import SMALL, read_documents
from tests.tokens.conftest import write_documents
from tests.tokens.test_build import hashes

CONFIG = TokensConfig.model_validate({"sources": {"a": {"from": ["a"]}, "b": {"from": ["b"]}}})


@pytest.fixture(scope="module")
def documents() -> list[tuple[str, str, str]]:
    return read_documents()


@pytest.fixture(scope="module")
def tokenizer(
    documents: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Tokenizer:
    out = tmp_path_factory.mktemp("vocabulary") / "made"
    train(SMALL, documents, out)
    return Tokenizer.load(out)


@pytest.fixture(scope="module")
def shards(
    documents: list[tuple[str, str, str]],
    tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Shards:
    place = tmp_path_factory.mktemp("transfer")
    rows = [
        {"source": "ab"[i % 2], "lang": lang, "text": text}
        for i, (lang, _, text) in enumerate(documents[:200])
    ]
    build(CONFIG, [write_documents(place / "d.parquet", rows)], tokenizer, place / "tokens")
    return Shards.open(place / "tokens")


@pytest.mark.parametrize("system", ["megatron", "datatrove"])
@pytest.mark.parametrize("keep_bos", [True, False])
def test_an_export_comes_back_as_the_same_shards(
    shards: Shards, tokenizer: Tokenizer, tmp_path: Path, system: str, keep_bos: bool
) -> None:
    for name in ("a", "b"):
        written = export(shards, name, system, tmp_path / "out", keep_bos)
        held = shards.manifest.sources[name]
        assert written.documents == held.documents
        assert written.tokens == held.tokens - (0 if keep_bos else held.documents)
    suffix = ".ds" if system == "datatrove" else ""
    paths = {name: tmp_path / "out" / f"{name}{suffix}" for name in ("a", "b")}
    import_sources(system, paths, tokenizer, tmp_path / "back")
    back = Shards.open(tmp_path / "back", tokenizer.fingerprint)
    back.check()
    same = [name for name in hashes(shards.folder) if name != "manifest.json"]
    assert {n: hashes(tmp_path / "back")[n] for n in same} == {
        n: hashes(shards.folder)[n] for n in same
    }


def test_an_import_refuses_what_does_not_fit(
    shards: Shards, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    export(shards, "a", "megatron", tmp_path)
    with pytest.raises(UserError, match="is there already"):
        import_sources("megatron", {"a": tmp_path / "a"}, tokenizer, tmp_path)
    with pytest.raises(UserError, match="no source 'c'"):
        export(shards, "c", "megatron", tmp_path)

    class Small:
        vocab_size, bos_id, eos_id, fingerprint = 300, 1, 2, "small"
        text_bytes = tokenizer.text_bytes

    with pytest.raises(UserError, match=r"token \d+ has id [\d,]+, outside the vocabulary of 300"):
        import_sources("megatron", {"a": tmp_path / "a"}, Small(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_ids_tell_how_many_bytes_their_text_had(tokenizer: Tokenizer, parts: list[str]) -> None:
    good = [text for text in parts if not any("\ud800" <= c <= "\udfff" for c in text)] or [""]
    ids, starts = tokenizer.encode_column(pa.array(good, pa.string()))
    found = tokenizer.text_bytes(ids, np.diff(starts))
    assert found.tolist() == [len(text.encode()) for text in good]
