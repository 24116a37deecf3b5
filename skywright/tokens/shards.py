"""Token shards on disk: flat token files with document offsets, sealed by a manifest.

A source is one stream of tokens, cut between documents into shards. A shard is three
little-endian files: `<shard>.bin` (token ids, uint16, or uint32 where the vocabulary has more
than 65,536 ids; every document begins with BOS, if the manifest names one, and ends with EOS),
`<shard>.offsets` (uint64, first token of each document, and the total at the end) and
`<shard>.bytes` (uint32, UTF-8 bytes of each document's text). `manifest.json` is written last and
tells sizes, checksums and the tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skywright.engine.files import sha256_file
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.tokens.manifest import (
    BYTES_DTYPE,
    KINDS,
    MANIFEST,
    OFFSETS_DTYPE,
    Manifest,
    ShardEntry,
    SourceManifest,
    read_manifest,
    token_dtype,
)
from skywright.tokens.packing import Packing, pack
from skywright.tokens.remote import Remote, is_remote
from skywright.tokens.supply import SourceSize, windows_in

_CHECKED_AT_ONCE = 1 << 24  # tokens looked at together by `check`: 32 or 64 MB

Tokens = NDArray[np.uint16] | NDArray[np.uint32]
PackingName = Literal["concatenate", "best_fit"]


class Shards:
    """Memory-mapped token shards of one folder. Open them with `Shards.open`."""

    def __init__(self, folder: Path, manifest: Manifest, fetch: Callable[[str], Path]) -> None:
        self.folder = folder
        self.manifest = manifest
        self._fetch = fetch
        self._parts = cache(self._open_parts)
        self._offsets = cache(self._open_offsets)
        self._packing = cache(self._pack)

    @classmethod
    def open(
        cls, location: Path | str, tokenizer_fingerprint: str | None = None,
        cache_folder: Path | None = None,
    ) -> Shards:  # fmt: skip
        """Open a shard folder, comparing its files' sizes with the manifest.

        `location` is a folder, or an address that fsspec knows ("s3://bucket/tokens"): then each
        file is copied to `cache_folder` when it is first read, and its checksum compared.
        `tokenizer_fingerprint`, when given, must be the one that the shards were made with.
        Raises UserError for what is absent, cut short or of another tokenizer.
        """
        if is_remote(location):
            remote = Remote(str(location), cache_folder)
            folder, manifest = remote.folder, read_manifest(remote.manifest())
            shards = cls(folder, manifest, remote.fetcher(manifest))
        else:
            folder = Path(location)
            manifest = read_manifest(folder / MANIFEST)
            shards = cls(folder, manifest, lambda name: folder / name)
            for name, source in manifest.sources.items():
                for shard in source.shards:
                    _check_sizes(folder, name, shard, token_dtype(manifest.vocab_size))
        if tokenizer_fingerprint not in (None, manifest.tokenizer_fingerprint):
            raise UserError(
                f"{folder / MANIFEST}: tokenizer_fingerprint: the shards were made with the"
                f" tokenizer {manifest.tokenizer_fingerprint[:12]}, not with"
                f" {str(tokenizer_fingerprint)[:12]}; build the tokens again"
            )
        return shards

    def source(self, name: str) -> SourceManifest:
        """The manifest of one source; raises UserError if there is none of this name."""
        if name not in self.manifest.sources:
            raise UserError(
                f"{self.folder}: there is no source {name!r}; there are"
                f" {', '.join(sorted(self.manifest.sources))}"
            )
        return self.manifest.sources[name]

    def _map(self, shard: ShardEntry, kind: str, dtype: np.dtype) -> NDArray:
        path = self._fetch(f"{shard.name}.{kind}")
        if path.stat().st_size == 0:
            return np.zeros(0, dtype)  # an empty file cannot be mapped
        return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)

    def _open_parts(self, source: str) -> tuple[Tokens, ...]:
        dtype = token_dtype(self.manifest.vocab_size)
        return tuple(self._map(shard, "bin", dtype) for shard in self.source(source).shards)

    def parts(self, source: str) -> tuple[Tokens, ...]:
        """All tokens of a source, memory-mapped, a flat uint16 or uint32 array each shard."""
        return self._parts(source)

    def _open_offsets(self, source: str) -> NDArray[np.int64]:
        starts, at = [np.zeros(1, dtype=np.int64)], 0
        for shard in self.source(source).shards:
            offsets = self._map(shard, "offsets", OFFSETS_DTYPE).astype(np.int64)
            starts.append(offsets[1:] + at)
            at += shard.tokens
        return np.concatenate(starts)

    def offsets(self, source: str) -> NDArray[np.int64]:
        """First token in the stream of each document, and the total: shape (documents + 1,).

        Held in memory once asked for: 8 bytes a document.
        """
        return self._offsets(source)

    def document_bytes(self, source: str) -> NDArray[np.uint32]:
        """UTF-8 bytes of each document's text: shape (documents,)."""
        found = [self._map(shard, "bytes", BYTES_DTYPE) for shard in self.source(source).shards]
        return np.concatenate([np.zeros(0, BYTES_DTYPE), *found])

    def documents(self, source: str) -> Iterable[tuple[Tokens, NDArray[np.int64]]]:
        """The stream in pieces, as exports read it: tokens, and their documents' lengths."""
        for shard, tokens in zip(self.source(source).shards, self.parts(source), strict=True):
            offsets: NDArray[np.int64] = self._map(shard, "offsets", OFFSETS_DTYPE).astype(np.int64)
            yield tokens, offsets[1:] - offsets[:-1]

    def _pack(self, source: str, length: int) -> Packing:
        return pack(np.diff(self.offsets(source)), length + 1, overlap_tokens=1)

    def packing(self, source: str, length: int) -> Packing:
        """A source's documents packed into windows of `length` + 1 tokens, held once made."""
        return self._packing(source, length)

    def sizes(
        self,
        lengths: Sequence[int],
        packing: PackingName = "concatenate",
        sources: Iterable[str] | None = None,
    ) -> dict[str, SourceSize]:
        """What `Plan` takes as `sources` (all, or these), for samples of these lengths."""
        found = {}
        for name in self.manifest.sources if sources is None else sources:
            source = self.source(name)
            windows = {
                length: windows_in(source.tokens, length)
                if packing == "concatenate"
                else self.packing(name, length).windows
                for length in lengths
            }
            found[name] = SourceSize(source.tokens, windows, source.content)
        return found

    def check(self, progress: Progress = silent) -> None:
        """Read everything: checksums, offsets, ids inside the vocabulary, BOS and EOS.

        Raises UserError at the first thing that is wrong.
        """
        entries = [
            (shard, kind, entry)
            for source in self.manifest.sources.values()
            for shard in source.shards
            for kind, entry in shard.files.items()
        ]
        total, done = sum(entry.bytes for _, _, entry in entries), 0
        for shard, kind, entry in entries:
            path = self._fetch(f"{shard.name}.{kind}")
            if sha256_file(path) != entry.sha256:
                raise UserError(
                    f"{path}: its SHA-256 is not the manifest's, so it was changed or"
                    " damaged; build the tokens again"
                )
            if kind == "bytes":
                self._check_contents(shard)
            done += entry.bytes
            progress(done, total, f"checked {path.name}")

    def _check_contents(self, shard: ShardEntry) -> None:
        tokens = self._map(shard, "bin", token_dtype(self.manifest.vocab_size))
        offsets = self._map(shard, "offsets", OFFSETS_DTYPE)
        paths = {kind: self._fetch(f"{shard.name}.{kind}") for kind in KINDS}
        for start in range(0, tokens.size, _CHECKED_AT_ONCE):
            part = tokens[start : start + _CHECKED_AT_ONCE]
            if part.max() >= self.manifest.vocab_size:
                at = start + int(np.argmax(part >= self.manifest.vocab_size))
                raise UserError(
                    f"{paths['bin']}: token {at:,} has id {tokens[at]}, beyond the"
                    f" vocabulary of {self.manifest.vocab_size:,}; build the tokens again"
                )
        # Offsets are unsigned: compare neighbours, since a difference would wrap around.
        rising = bool((offsets[1:] > offsets[:-1]).all())
        if int(offsets[0]) != 0 or int(offsets[-1]) != shard.tokens or not rising:
            raise UserError(
                f"{paths['offsets']}: offsets must rise from 0 to {shard.tokens:,};"
                " build the tokens again"
            )
        first, after = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
        for places, wanted, said in (
            (first, self.manifest.bos_id, "begin with BOS"),
            (after - 1, self.manifest.eos_id, "end with EOS"),
        ):
            wrong = np.zeros(0, bool) if wanted is None else tokens[places] != wanted
            if wrong.any():
                raise UserError(
                    f"{paths['bin']}: document {int(np.argmax(wrong)):,} does not {said}"
                    f" ({wanted}); build the tokens again"
                )
        if int(self._map(shard, "bytes", BYTES_DTYPE).sum(dtype=np.int64)) != shard.bytes:
            raise UserError(
                f"{paths['bytes']}: document bytes do not add up to the manifest's"
                f" {shard.bytes:,}; build the tokens again"
            )


def _check_sizes(folder: Path, source: str, shard: ShardEntry, dtype: np.dtype) -> None:
    expected = {
        "bin": shard.tokens * dtype.itemsize,
        "offsets": (shard.documents + 1) * OFFSETS_DTYPE.itemsize,
        "bytes": shard.documents * BYTES_DTYPE.itemsize,
    }
    for kind, size in expected.items():
        path = folder / f"{shard.name}.{kind}"
        try:
            found = path.stat().st_size
        except FileNotFoundError:
            raise UserError(
                f"{path}: named by the manifest but absent; build the tokens again"
            ) from None
        if found != size:
            state = "cut short" if found < size else "too long"
            raise UserError(
                f"{path}: {state}: {found:,} bytes where the manifest ({source}:"
                f" {shard.tokens:,} tokens) means {size:,}; copy it again or build the tokens again"
            )
