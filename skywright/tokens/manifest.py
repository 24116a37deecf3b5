"""The manifest that seals a folder of token shards: what is there, of which sizes and checksums."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from skywright.config import Config
from skywright.engine.files import read_json, stable_hash
from skywright.errors import UserError

MANIFEST = "manifest.json"
Kind = Literal["bin", "offsets", "bytes"]
KINDS: tuple[Kind, ...] = ("bin", "offsets", "bytes")
OFFSETS_DTYPE = np.dtype("<u8")
BYTES_DTYPE = np.dtype("<u4")
_UINT16_IDS = 65_536  # ids 0..65535 fit a uint16 exactly


def token_dtype(vocab_size: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The narrowest of uint16 and uint32, little-endian, that holds every id."""
    return np.dtype("<u2") if vocab_size <= _UINT16_IDS else np.dtype("<u4")


class FileEntry(Config):
    """Size and hex SHA-256 of one file."""

    bytes: int
    sha256: str


class ShardEntry(Config):
    """One shard: its files are called `name`.bin, .offsets and .bytes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    tokens: int
    documents: int
    bytes: int
    files: dict[Kind, FileEntry]


class SourceManifest(Config):
    """One source's shards in the order of its stream."""

    shards: tuple[ShardEntry, ...]

    @property
    def tokens(self) -> int:
        """Tokens, BOS and EOS too."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def documents(self) -> int:
        """Documents."""
        return sum(shard.documents for shard in self.shards)

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the documents' text."""
        return sum(shard.bytes for shard in self.shards)

    @cached_property
    def content(self) -> str:
        """Hash of the stream: what it holds and in which order."""
        return stable_hash([shard.files["bin"].sha256 for shard in self.shards])


class Manifest(Config):
    """The seal of a shard folder.

    `made_from` is the hash of the configuration, the tokenizer and the input files, `inputs`
    names those files. `unused` counts the documents that no source takes, by
    "<corpus source>/<language>", followed by "/bin <bin>" where sources ask for a quality.
    Imported data may have no BOS.
    """

    format: Literal[2] = 2
    made_from: str
    tokenizer_fingerprint: str
    vocab_size: int
    bos_id: int | None
    eos_id: int
    sources: dict[str, SourceManifest]
    unused: dict[str, int]
    inputs: dict[str, str] = {}


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.json; raises UserError if it is absent or not a manifest."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; build the tokens first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not JSON ({error}); build the tokens again") from None
    if isinstance(value, dict) and value.get("format") == 1:
        raise UserError(f"{path}: written by an earlier version; build the tokens again")
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}; build the tokens again") from None
