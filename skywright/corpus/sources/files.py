"""Which files an input means, and how each is read: shards out of paths, records out of shards."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from skywright.corpus.config import FieldsConfig, InputConfig
from skywright.corpus.records import Record
from skywright.corpus.sources.jsonl import read_jsonl, read_parquet_source
from skywright.corpus.sources.warc import read_warc
from skywright.engine.files import TEMPORARY, sha256_file
from skywright.engine.stage import Shard, file_shard
from skywright.errors import UserError

SUFFIXES = {
    "warc": (".warc", ".warc.gz", ".warc.wet", ".warc.wet.gz"),
    "html": (".html", ".htm", ".xhtml"),
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst"),
    "parquet": (".parquet",),
}
"""File names that `kind: auto` knows."""


def kind_of(path: Path) -> str | None:
    """The kind of input a file name stands for, or None."""
    name = path.name.lower()
    return next((kind for kind, ends in SUFFIXES.items() if name.endswith(ends)), None)


def _found(item: InputConfig) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the input's files in order of their names."""
    path = Path(item.path)
    if path.is_dir():
        base, files = path, [p for p in path.rglob("*") if p.is_file()]
    elif path.is_file():
        return path.parent, [path]
    elif glob.has_magic(item.path):
        base = Path(*path.parts[: _first_magic(path)])
        files = [Path(p) for p in glob.glob(item.path, recursive=True) if os.path.isfile(p)]
    else:
        raise UserError(
            f"{item.path}: no such file or folder (input {item.source!r}); check `path`"
        )
    hidden = [p for p in files if p.name.startswith((".", TEMPORARY))]
    files = sorted(set(files) - set(hidden))
    if item.kind == "auto" or path.is_dir():
        wanted = SUFFIXES if item.kind == "auto" else {item.kind: SUFFIXES[item.kind]}
        files = [p for p in files if kind_of(p) in wanted]
    if not files:
        raise UserError(
            f"{item.path}: nothing to read there (input {item.source!r}); file names end in "
            + " ".join(end for ends in SUFFIXES.values() for end in ends)
        )
    return base, files


def _first_magic(path: Path) -> int:
    return next(i for i, part in enumerate(path.parts) if glob.has_magic(part))


def discover(inputs: Sequence[InputConfig]) -> list[Shard]:
    """One shard a file; the HTML files of one folder make one shard together.

    A shard's key is "<source>/<path>". Raises UserError for what is missing, unknown or doubled.
    """
    shards: dict[str, Shard] = {}
    for item in inputs:
        base, files = _found(item)
        pages: dict[Path, list[Path]] = {}
        for path in files:
            kind = kind_of(path) if item.kind == "auto" else item.kind
            if kind is None:
                raise UserError(f"{path}: unknown kind of file; set `kind` of this input")
            key = f"{item.source}/{path.relative_to(base).as_posix()}"
            if kind == "html":
                pages.setdefault(path.parent, []).append(path)
                continue
            if path == Path(item.path) and path.stat().st_size == 0:
                raise UserError(
                    f"{path}: is empty (input {item.source!r}); copy it again or leave it out"
                )
            _add(shards, file_shard(path, key, _meta(item, kind)))
        for folder, members in pages.items():
            _add(shards, _page_shard(item, base, folder, members))
    return list(shards.values())


def _add(shards: dict[str, Shard], shard: Shard) -> None:
    if shard.key in shards:
        raise UserError(
            f"{shard.path}: two inputs give a file the name {shard.key!r}; "
            "give one of them another `source`"
        )
    shards[shard.key] = shard


def _meta(item: InputConfig, kind: str) -> dict[str, str]:
    unique = item.unique_urls if item.unique_urls is not None else kind in ("warc", "html")
    return {
        "source": item.source,
        "kind": kind,
        "lang": item.lang or "",
        "unique_urls": "yes" if unique else "",
        "fields": item.fields.model_dump_json(),
        "url_prefix": item.url_prefix if item.url_prefix is not None else "",
    }


def _page_shard(item: InputConfig, base: Path, folder: Path, members: list[Path]) -> Shard:
    key = f"{item.source}/{folder.relative_to(base).as_posix()}".removesuffix("/.")
    digest = hashlib.sha256()
    for path in members:
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    size = sum(path.stat().st_size for path in members)
    # The files of a page shard are named one by one: a later file in the folder is no part of it.
    names = "\n".join([str(folder), *(path.name for path in members)])
    return Shard(names, digest.hexdigest(), size, len(members), key, _meta(item, "html"))


def read_records(shard: Shard, path: str, max_bytes: int) -> Iterator[Record]:
    """The records of a source shard, in the order of its file; `path` is where it stands."""
    kind, meta = shard.meta["kind"], shard.meta
    fields = FieldsConfig.model_validate_json(meta["fields"])
    if kind == "warc":
        return read_warc(Path(path), shard.key, max_bytes)
    if kind == "jsonl":
        return read_jsonl(Path(path), shard.key, fields, max_bytes)
    if kind == "parquet":
        return read_parquet_source(Path(path), shard.key, fields, max_bytes)
    return _read_pages(path, shard, max_bytes)


def _read_pages(path: str, shard: Shard, max_bytes: int) -> Iterator[Record]:
    folder, *names = path.split("\n")
    prefix = shard.meta["url_prefix"] or "file:///"
    for name in names:
        file = Path(folder) / name
        size = file.stat().st_size
        record, url = f"{shard.key}/{name}:0", prefix + quote(f"{shard.key}/{name}")
        if shard.meta["url_prefix"]:
            url = prefix + quote(f"{shard.key.partition('/')[2]}/{name}".lstrip("/"))
        if size > max_bytes:
            yield Record(
                record, url, rule="too_large", message=f"{size} bytes", bytes=size,
                value=float(size), threshold=float(max_bytes),
            )  # fmt: skip
        else:
            payload = file.read_bytes()
            yield Record(record, url, None, payload, "html", None, "text/html", bytes=len(payload))
