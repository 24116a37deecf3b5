"""Shards on an object store, read through a folder on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import fsspec

from skywright.engine.files import atomic_open, sha256_file
from skywright.errors import UserError
from skywright.tokens.manifest import MANIFEST, FileEntry, Manifest

_CHUNK_BYTES = 8 << 20  # copied at a time
DEFAULT_CACHE = Path("~/.cache/skywright/tokens")


def is_remote(location: Path | str) -> bool:
    """Whether this names an object store rather than a folder here."""
    return "://" in str(location)


class Remote:
    """A shard folder at an address that fsspec knows, and the folder that caches it.

    The cache holds `<hash of the address>/<hash of the manifest>/`, so that shards which are
    built anew at one address never mix with those of before.
    """

    def __init__(self, address: str, cache_folder: Path | None = None) -> None:
        self.address = address.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.address)
        except (ImportError, ValueError) as error:
            raise UserError(f"{address}: cannot be reached: {error}") from None
        content = self._read(MANIFEST)
        place = hashlib.sha256(self.address.encode()).hexdigest()[:12]
        version = hashlib.sha256(content).hexdigest()[:12]
        self.folder = (cache_folder or DEFAULT_CACHE).expanduser() / place / version
        self._content = content

    def _read(self, name: str) -> bytes:
        try:
            return self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            raise UserError(
                f"{self.address}/{name}: no such file; build the tokens there first"
            ) from None
        except OSError as error:
            raise UserError(f"{self.address}/{name}: cannot be read ({error})") from None

    def manifest(self) -> Path:
        """The manifest, copied here."""
        path = self.folder / MANIFEST
        if not path.is_file():
            with atomic_open(path) as stream:
                stream.write(self._content)
        return path

    def fetcher(self, manifest: Manifest) -> Callable[[str], Path]:
        """A function that gives the path here of a shard's file, copying it first if need be."""
        entries = {
            f"{shard.name}.{kind}": entry
            for source in manifest.sources.values()
            for shard in source.shards
            for kind, entry in shard.files.items()
        }

        def fetch(name: str) -> Path:
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != entries[name].bytes:
                self._copy(name, path, entries[name])
            return path

        return fetch

    def _copy(self, name: str, path: Path, entry: FileEntry) -> None:
        address = f"{self.address}/{name}"
        try:
            with self._files.open(f"{self._root}/{name}") as source, atomic_open(path) as target:
                while data := source.read(_CHUNK_BYTES):
                    target.write(data)
        except FileNotFoundError:
            raise UserError(f"{address}: named by the manifest but absent") from None
        except OSError as error:
            raise UserError(f"{address}: cannot be copied to {path} ({error})") from None
        if sha256_file(path) != entry.sha256:
            os.unlink(path)
            raise UserError(
                f"{address}: its SHA-256 is not the manifest's, so it was changed or damaged;"
                " copy it there again or build the tokens again"
            )
