"""Token shards on disk: flat token files with document offsets, sealed by a manifest.

A source is three little-endian files: `<source>.bin` (token ids, uint16, or uint32 where the
vocabulary has more than 65,536 ids; every document begins with BOS and ends with EOS),
`<source>.offsets` (uint64, first token of each document, and the total at the end) and
`<source>.bytes` (uint32, UTF-8 bytes of each document). `manifest.json` is written last and tells
sizes, checksums and the tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from skywright.config import Config
from skywright.engine.files import read_json, sha256_file
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError

MANIFEST = "manifest.json"
OFFSETS_DTYPE = np.dtype("<u8")
BYTES_DTYPE = np.dtype("<u4")
_UINT16_IDS = 65_536  # ids 0..65535 fit a uint16 exactly
_CHECKED_AT_ONCE = 1 << 24  # tokens looked at together by `check`: 32 or 64 MB


def token_dtype(vocab_size: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The narrowest of uint16 and uint32, little-endian, that holds every id."""
    return np.dtype("<u2") if vocab_size <= _UINT16_IDS else np.dtype("<u4")


def windows_in(tokens: int, sequence_tokens: int) -> int:
    """Windows of sequence_tokens + 1 tokens, one every sequence_tokens, in a flat file.

    Neighbours share one token: it is the last label of one window and the first input of the
    next, so every token but the first is predicted exactly once an epoch. A rest shorter than
    a window is not read.
    """
    return max(0, (tokens - 1) // sequence_tokens)


class FileEntry(Config):
    """Size and hex SHA-256 of one file."""

    bytes: int
    sha256: str


class SourceManifest(Config):
    """What one source holds: tokens (BOS and EOS too), documents, UTF-8 bytes of their text."""

    tokens: int
    documents: int
    bytes: int
    dtype: Literal["uint16", "uint32"]
    files: dict[Literal["bin", "offsets", "bytes"], FileEntry]


class Manifest(Config):
    """The seal of a shard folder.

    `made_from` is the hash of the configuration, the tokenizer and the input files. `unused`
    counts the documents that no source takes, by "<corpus source>/<language>".
    """

    format: Literal[1] = 1
    made_from: str
    tokenizer_fingerprint: str
    vocab_size: int
    bos_id: int
    eos_id: int
    sources: dict[str, SourceManifest]
    unused: dict[str, int]


def read_manifest(folder: Path) -> Manifest:
    """Read `folder`/manifest.json; raises UserError if it is absent or not a manifest."""
    path = Path(folder) / MANIFEST
    try:
        return Manifest.model_validate(read_json(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; build the tokens first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not JSON ({error}); build the tokens again") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}; build the tokens again") from None


class Shards:
    """Memory-mapped token shards of one folder. Open them with `Shards.open`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        dtype = token_dtype(manifest.vocab_size)
        self._tokens = {name: self._map(name, "bin", dtype) for name in manifest.sources}

    def _map(self, source: str, kind: str, dtype: np.dtype) -> NDArray:
        path = self.path(source, kind)
        if path.stat().st_size == 0:
            return np.zeros(0, dtype)  # an empty file cannot be mapped
        return np.memmap(path, dtype=dtype, mode="r")

    @classmethod
    def open(cls, folder: Path, tokenizer_fingerprint: str | None = None) -> Shards:
        """Map the shards of `folder` after checking every file's size against the manifest.

        With `tokenizer_fingerprint`, shards made by another tokenizer are refused. Raises
        UserError naming the file and what to do.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        at = folder / MANIFEST
        if tokenizer_fingerprint not in (None, manifest.tokenizer_fingerprint):
            raise UserError(
                f"{at}: tokenizer_fingerprint: these tokens were made by tokenizer"
                f" {manifest.tokenizer_fingerprint[:16]}, but the tokenizer at hand is"
                f" {str(tokenizer_fingerprint)[:16]}; build the tokens again with it"
            )
        dtype = token_dtype(manifest.vocab_size)
        for name, source in manifest.sources.items():
            if source.dtype != dtype.name:
                raise UserError(
                    f"{at}: sources.{name}.dtype: {source.dtype} does not fit a vocabulary of"
                    f" {manifest.vocab_size:,} ids ({dtype.name}); build the tokens again"
                )
            expected = {
                "bin": source.tokens * dtype.itemsize,
                "offsets": (source.documents + 1) * OFFSETS_DTYPE.itemsize,
                "bytes": source.documents * BYTES_DTYPE.itemsize,
            }
            for kind, size in expected.items():
                _check_size(folder / f"{name}.{kind}", size, f"{name}: {source.tokens:,} tokens")
        return cls(folder, manifest)

    def path(self, source: str, kind: str) -> Path:
        """The file of a source: kind is "bin", "offsets" or "bytes"."""
        return self.folder / f"{source}.{kind}"

    def tokens(self, source: str) -> NDArray:
        """All tokens of a source, memory-mapped: shape (tokens,), uint16 or uint32."""
        return self._tokens[source]

    def offsets(self, source: str) -> NDArray[np.uint64]:
        """First token of each document and the total: shape (documents + 1,)."""
        return self._map(source, "offsets", OFFSETS_DTYPE)

    def document_bytes(self, source: str) -> NDArray[np.uint32]:
        """UTF-8 bytes of each document's text: shape (documents,)."""
        return self._map(source, "bytes", BYTES_DTYPE)

    def windows(self, sequence_tokens: int) -> dict[str, int]:
        """Windows of each source at this sequence length: what `Plan` takes as `sources`."""
        return {
            name: windows_in(source.tokens, sequence_tokens)
            for name, source in self.manifest.sources.items()
        }

    def check(self, progress: Progress = silent) -> None:
        """Read everything: checksums, offsets, ids inside the vocabulary, BOS and EOS.

        Raises UserError at the first thing that is wrong.
        """
        total = sum(f.bytes for s in self.manifest.sources.values() for f in s.files.values())
        done = 0
        for name, source in self.manifest.sources.items():
            for kind, entry in source.files.items():
                path = self.path(name, kind)
                if sha256_file(path) != entry.sha256:
                    raise UserError(
                        f"{path}: its SHA-256 is not the manifest's, so it was changed or"
                        " damaged; build the tokens again"
                    )
                done += entry.bytes
                progress(done, total, f"checked {path.name}")
            self._check_contents(name, source)

    def _check_contents(self, name: str, source: SourceManifest) -> None:
        tokens, offsets = self.tokens(name), self.offsets(name)
        for start in range(0, tokens.size, _CHECKED_AT_ONCE):
            part = tokens[start : start + _CHECKED_AT_ONCE]
            if part.max() >= self.manifest.vocab_size:
                at = start + int(np.argmax(part >= self.manifest.vocab_size))
                raise UserError(
                    f"{self.path(name, 'bin')}: token {at:,} has id {tokens[at]}, beyond the"
                    f" vocabulary of {self.manifest.vocab_size:,}; build the tokens again"
                )
        # Offsets are unsigned: compare neighbours, since a difference would wrap around.
        rising = bool((offsets[1:] > offsets[:-1]).all())
        if int(offsets[0]) != 0 or int(offsets[-1]) != source.tokens or not rising:
            raise UserError(
                f"{self.path(name, 'offsets')}: offsets must rise from 0 to {source.tokens:,};"
                " build the tokens again"
            )
        first, after = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
        for at_edge, wanted, said in (
            (tokens[first], self.manifest.bos_id, "begin with BOS"),
            (tokens[after - 1], self.manifest.eos_id, "end with EOS"),
        ):
            if (at_edge != wanted).any():
                at = int(np.argmax(at_edge != wanted))
                raise UserError(
                    f"{self.path(name, 'bin')}: document {at:,} does not {said} ({wanted});"
                    " build the tokens again"
                )
        if int(self.document_bytes(name).sum(dtype=np.int64)) != source.bytes:
            raise UserError(
                f"{self.path(name, 'bytes')}: document bytes do not add up to the manifest's"
                f" {source.bytes:,}; build the tokens again"
            )


def _check_size(path: Path, expected: int, what: str) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{path}: named by the manifest but absent; build the tokens again") from (
            None
        )
    if size != expected:
        state = "cut short" if size < expected else "too long"
        raise UserError(
            f"{path}: {state}: {size:,} bytes where the manifest ({what}) means {expected:,};"
            " copy it again or build the tokens again"
        )
