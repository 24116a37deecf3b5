from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate import prepare as preparing
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score
from skywright.evaluate.store import Store
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, make


class Unusable:
    """A back-end that must not be asked for losses."""

    def __init__(self, backend: HFBackend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> object:
        assert name not in ("token_nll", "encode"), "scored again"
        return getattr(self._backend, name)


def test_what_stands_in_the_store_is_not_scored_again(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    first = score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store)
    again = score(Unusable(HFBackend(llama)), make(TEXTS), Protocol(), tokenizer, store)  # type: ignore[arg-type]
    assert again.equals(first)


def test_another_model_set_protocol_or_reference_has_its_own_place(
    llama: Path, wide: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    for folder in (llama, wide):
        for item in (make(TEXTS), make(TEXTS[:2])):
            for protocol in (Protocol(), Protocol(max_chars=10)):
                score(HFBackend(folder), item, protocol, tokenizer, store)
    assert len(list(tmp_path.glob("*/*/*/docs.parquet"))) == 8
    assert len(list(tmp_path.glob("*/*/*/protocol.json"))) == 8


def test_a_damaged_store_entry_is_named(llama: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = Store(tmp_path)
    score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store)
    path = next(tmp_path.glob("*/*/*/docs.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"docs\.parquet: damaged"):
        score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store)


def test_a_full_disk_names_the_part_or_the_entry_and_leaves_neither(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    table = score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer)
    entry = store.entry("m" * 32, "s" * 32, "p" * 32)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("skywright.engine.files.os.fsync", full)
    with pytest.raises(OSError, match="full") as raised:
        entry.parts.write(0, table)
    assert raised.value.filename == str(entry.parts.folder / "00000.parquet")
    with pytest.raises(OSError, match="full") as raised:
        entry.write(table, {})
    assert raised.value.filename == str(entry.folder)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class KilledError(Exception):
    pass


class Counting:
    """A back-end that counts the windows it scores and dies at one of them."""

    def __init__(self, backend: HFBackend, dies_at: int | None = None) -> None:
        self._backend, self._dies_at, self.scored = backend, dies_at, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def token_nll(self, windows: list, first_scored: list) -> list:
        self.scored += len(windows)
        if self._dies_at is not None and self.scored > self._dies_at:
            raise KilledError
        return self._backend.token_nll(windows, first_scored)


def test_a_killed_call_goes_on_at_the_document_where_it_was(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "PART_TOKENS", 30)
    whole, cut = Counting(HFBackend(llama)), Counting(HFBackend(llama), dies_at=4)
    expected = score(whole, make(TEXTS), Protocol(), tokenizer, Store(tmp_path / "a"), tokens=True)  # type: ignore[arg-type]
    store = Store(tmp_path / "b")
    with pytest.raises(KilledError):
        score(cut, make(TEXTS), Protocol(), tokenizer, store, tokens=True)  # type: ignore[arg-type]
    assert not list((tmp_path / "b").glob("*/*/*/docs.parquet"))
    kept = len(list((tmp_path / "b").glob("*/*/*.parts/*.parquet")))
    assert kept >= 1
    again = Counting(HFBackend(llama))
    table = score(again, make(TEXTS), Protocol(), tokenizer, store, tokens=True)  # type: ignore[arg-type]
    assert table.equals(expected)
    assert 0 < again.scored < whole.scored
    names = ("docs.parquet", "tokens.parquet", "protocol.json")
    for name in names:
        one, other = (next((tmp_path / root).glob(f"*/*/*/{name}")) for root in "ab")
        assert one.read_bytes() == other.read_bytes()
    assert not list((tmp_path / "b").glob("*/*/*.parts"))


def test_losses_of_tokens_are_added_to_an_entry_without_them(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    plain = score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store)
    docs = next(tmp_path.glob("*/*/*/docs.parquet"))
    before = docs.read_bytes()
    more = score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store, tokens=True)
    assert docs.read_bytes() == before
    assert more.select(plain.column_names).equals(plain)
    again = score(
        Unusable(HFBackend(llama)), make(TEXTS), Protocol(), tokenizer, store, tokens=True
    )  # type: ignore[arg-type]
    assert again.column("logp").equals(more.column("logp"))


def test_dtype_device_and_versions_are_part_of_the_key(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store)
    score(HFBackend(llama, dtype="bfloat16"), make(TEXTS), Protocol(), tokenizer, store)
    monkeypatch.setattr("skywright.evaluate.protocols.identity.version", lambda name: "0")
    score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store)
    records = [read_json(path) for path in tmp_path.glob("*/*/*/protocol.json")]
    assert len(records) == 3
    for key in (
        "dtype",
        "device_kind",
        "backend",
        "torch",
        "transformers",
        "tokenizers",
        "skywright",
        "scoring_version",
        "start_token_id",
        "context_tokens",
        "overlap",
    ):
        assert all(key in record for record in records)  # fmt: skip


def test_an_entry_of_other_documents_is_named(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    score(HFBackend(llama), make(TEXTS[:2]), Protocol(), tokenizer, store)
    wrong = next(tmp_path.glob("*/*/*"))
    other = make(TEXTS[:3])
    shutil.copytree(wrong, wrong.parent.parent / other.content_hash[:32] / wrong.name)
    with pytest.raises(UserError, match="its documents are not those of the set"):
        score(HFBackend(llama), other, Protocol(), tokenizer, store)


def test_a_damaged_part_is_named(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "PART_TOKENS", 30)
    store = Store(tmp_path)
    with pytest.raises(KilledError):
        score(Counting(HFBackend(llama), 4), make(TEXTS), Protocol(), tokenizer, store)  # type: ignore[arg-type]
    part = next(tmp_path.glob("*/*/*.parts/*.parquet"))
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(UserError, match=r"00000\.parquet: damaged"):
        score(HFBackend(llama), make(TEXTS), Protocol(), tokenizer, store)
