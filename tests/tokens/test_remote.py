"""Shards on an object store: read through a cache, never without their checksum."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pytest

from skywright.errors import UserError
from skywright.tokens import Loader, Plan, SegmentMixture, Shards, build
from tests.tokens.conftest import SmallTokenizer
from tests.tokens.test_build import CONFIG

PLACE = "memory://store/tokens"


@pytest.fixture
def local(documents: list[Path], tokenizer: SmallTokenizer, tmp_path: Path) -> Shards:
    """Shards in a folder, and the same at PLACE."""
    build(CONFIG, documents, tokenizer, tmp_path / "tokens")
    store = fsspec.filesystem("memory")
    store.rm("/store", recursive=True) if store.exists("/store") else None
    for path in (tmp_path / "tokens").iterdir():
        store.pipe_file(f"/store/tokens/{path.name}", path.read_bytes())
    return Shards.open(tmp_path / "tokens")


def loader_of(shards: Shards) -> Loader:
    part = SegmentMixture(name="s", tokens=6400, mixture={"en": 1.0})
    return Loader(shards, Plan(1, 64, {"en": shards.sizes([64])["en"]}, [part]))


def test_samples_read_through_the_cache_are_the_same(local: Shards, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    remote = Shards.open(PLACE, cache_folder=cache)
    assert not list(cache.rglob("*.bin")), "files were copied before they were read"
    assert np.array_equal(loader_of(remote).samples(0, 100), loader_of(local).samples(0, 100))
    assert [path.name for path in cache.rglob("*.bin")] == ["en-00000.bin"]
    remote.check()
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    Shards.open(PLACE, cache_folder=cache).check()
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_shards_built_anew_at_one_address_do_not_meet_the_old_cache(
    local: Shards, documents: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    Shards.open(PLACE, cache_folder=cache).check()
    other = CONFIG.model_copy(
        update={"sources": {"en": CONFIG.sources["en"], "fr": CONFIG.sources["zh"]}}
    )
    build(other, documents[::-1], tokenizer, tmp_path / "other")
    store = fsspec.filesystem("memory")
    for path in (tmp_path / "other").iterdir():
        store.pipe_file(f"/store/tokens/{path.name}", path.read_bytes())
    again = Shards.open(PLACE, cache_folder=cache)
    again.check()
    assert sorted(again.manifest.sources) == ["en", "fr"]


def test_a_damaged_or_absent_file_is_refused_and_not_kept(local: Shards, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    data = bytearray(store.cat_file("/store/tokens/en-00000.bin"))
    data[100] ^= 1
    store.pipe_file("/store/tokens/en-00000.bin", bytes(data))
    remote = Shards.open(PLACE, cache_folder=tmp_path / "cache")
    with pytest.raises(UserError, match=r"memory://store/tokens/en-00000\.bin: its SHA-256"):
        remote.parts("en")
    assert not list((tmp_path / "cache").rglob("*en*.bin"))
    store.rm_file("/store/tokens/zh-00000.bin")
    with pytest.raises(UserError, match=r"zh-00000\.bin: named by the manifest but absent"):
        remote.parts("zh")


def test_an_address_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"memory://nowhere/manifest\.json: no such file"):
        Shards.open("memory://nowhere", cache_folder=tmp_path)
    with pytest.raises(UserError, match="cannot be reached"):
        Shards.open("nosuchscheme://x", cache_folder=tmp_path)
