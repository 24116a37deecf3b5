"""Lists that URL rules read, and block lists compiled to sorted hashes.

A list is a text file, one entry a line, `#` for comments, `.gz` allowed. Word lists are small and
read by every worker. Block lists are large (UT1 names 4.6 million hosts): two stages compile them
once to one table of 8-byte hashes, sorted, that is given to every task.
"""

from __future__ import annotations

import gzip
import io
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from skywright.config import Config
from skywright.corpus.config import UrlsConfig
from skywright.corpus.urls.hosts import ascii_host, registrable
from skywright.corpus.urls.normalise import normalise
from skywright.engine.files import sha256_file
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import GatherStage, MapStage, Shard, Tables, file_shard
from skywright.errors import UserError

ASSETS = Path(__file__).parents[1] / "assets"
BlockKind = Literal["blocked_domains", "blocked_hosts", "blocked_urls"]
WordKind = Literal[
    "blocked_substrings", "strict_words", "hard_words", "soft_words", "allowed_words"
]
BLOCK_KINDS: tuple[BlockKind, ...] = ("blocked_domains", "blocked_hosts", "blocked_urls")
WORD_KINDS: tuple[WordKind, ...] = (
    "blocked_substrings", "strict_words", "hard_words", "soft_words", "allowed_words",
)  # fmt: skip

BLOCKED_SCHEMA = pa.schema([("hash", pa.uint64()), ("list", pa.int32())])
"""Every entry of every block list, sorted by hash; `list` counts the lists of `UrlParams`."""


class ListFile(Config):
    """A list that rules read. Its name and content name what depends on it; its place does not."""

    kind: BlockKind | WordKind
    name: str
    sha256: str
    path: str = Field(exclude=True)


class UrlParams(Config):
    """What the URL rules depend on."""

    lists: tuple[ListFile, ...]
    max_soft_words: int


def params_of(config: UrlsConfig) -> UrlParams:
    """The lists of a recipe with their checksums; raises UserError for a missing file."""
    lists = []
    for kind in (*BLOCK_KINDS, *WORD_KINDS):
        shipped = ASSETS / f"{kind}.txt"
        named = [Path(path) for path in getattr(config, kind)]
        for path in [shipped] * (config.shipped_lists and shipped.is_file()) + named:
            if not path.is_file():
                raise UserError(f"{path}: no such list (urls.{kind}); check the path")
            lists.append(
                ListFile(kind=kind, name=path.name, sha256=sha256_file(path), path=str(path))
            )
    return UrlParams(lists=tuple(lists), max_soft_words=config.max_soft_words)


def entries(path: Path, lower: bool = True) -> Iterator[str]:
    """The entries of a list; raises UserError if it cannot be read as UTF-8."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
                entry = line.strip()
                if entry and entry[0] != "#":
                    yield entry.lower() if lower else entry
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list in UTF-8 ({error})") from None


# ---------------------------------------------------------------- hashes of what is blocked

_PLAIN_HOST = re.compile(r"(?!www\.)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


def key_hash(kind: BlockKind, key: str) -> int:
    """64-bit hash by which a block list's entry is known.

    Of a list with 4.6 million entries, one address in 4 * 10^12 would be taken for one of them.
    """
    return _digest(key, BLOCK_KINDS.index(kind))


def _digest(key: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"), seed)


def _key(kind: BlockKind, entry: str) -> str:
    """What an entry of a list is compared by: a site, a host, or a normalised address."""
    if kind == "blocked_urls":
        return blocked_form(entry if "://" in entry else f"//{entry}")
    if kind == "blocked_hosts" and _PLAIN_HOST.fullmatch(entry):  # nearly all of a large list
        return entry
    host = ascii_host(entry.split("://", 1)[-1].partition("/")[0].removeprefix("*."))
    if kind == "blocked_hosts":
        return host.removeprefix("www.")
    return registrable(host) or host


def blocked_form(url: str) -> str:
    """The form in which addresses meet block lists: normalised, in lower case, without //."""
    return (normalise(url) or "").lower().removeprefix("//")


def hashed(path: Path, kind: BlockKind) -> np.ndarray:
    """Distinct hashes of a list's entries, uint64, sorted."""
    seed = BLOCK_KINDS.index(kind)
    hashes = array("Q", (_digest(_key(kind, entry), seed) for entry in entries(path)))
    return np.unique(np.frombuffer(hashes, dtype=np.uint64))


def merged(parts: Sequence[np.ndarray]) -> pa.Table:
    """One table of `BLOCKED_SCHEMA`; of equal entries the first list's stays."""
    hashes = np.concatenate([np.empty(0, np.uint64), *parts])
    owners = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    unique, first = np.unique(hashes, return_index=True)  # of equal ones the first
    return pa.table([unique, owners[first]], schema=BLOCKED_SCHEMA)


# ---------------------------------------------------------------- the stages

_HASH_SCHEMA = pa.schema([("hash", pa.uint64())])


class _KindParams(Config):
    kind: BlockKind


class _NoParams(Config):
    pass


def _read_list(shard: Shard, params: Config) -> Iterator[pa.Table]:
    assert isinstance(params, _KindParams)
    yield pa.table([hashed(Path(shard.path), params.kind)], schema=_HASH_SCHEMA)


def _as_read(table: pa.Table, params: Config, side: Tables) -> Tables:
    return {"hashes": table}


def _merge(tables: Tables, params: Config) -> Tables:
    parts = [tables[name]["hash"].to_numpy() for name in sorted(tables)]
    return {"blocked": merged(parts)}


HASH_LIST = MapStage(
    "url_list", "1", _as_read, {"hashes": _HASH_SCHEMA}, _read_list, rowwise=False,
    libraries=("xxhash",),
)  # fmt: skip
BLOCK_LISTS = GatherStage("url_block_lists", "1", _merge, {"blocked": BLOCKED_SCHEMA})


def block_lists(params: UrlParams) -> list[ListFile]:
    """The lists that are compiled, in the order by which `BLOCKED_SCHEMA` counts them."""
    return [item for item in params.lists if item.kind in BLOCK_KINDS]


def compile_lists(params: UrlParams, runner: Runner) -> Output:
    """Compile the block lists; the output's table "blocked" is what `rules_of` takes."""
    parts: Mapping[str, Sequence[Shard]] = {
        f"{number:05}": runner.map(
            HASH_LIST,
            [file_shard(Path(item.path), f"urls/{number}-{item.kind}-{item.name}")],
            _KindParams.model_validate({"kind": item.kind}),
        ).shards("hashes")
        for number, item in enumerate(block_lists(params))
    }
    return runner.gather(BLOCK_LISTS, parts, _NoParams())
