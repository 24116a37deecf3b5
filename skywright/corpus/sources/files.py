"""Which files an input means, and how each is read: shards out of paths, records out of shards."""

from __future__ import annotations

import glob
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from urllib.parse import quote

from skywright.corpus.config import FieldsConfig, InputConfig
from skywright.corpus.records import Record
from skywright.corpus.sources import storage
from skywright.corpus.sources.jsonl import read_jsonl
from skywright.corpus.sources.mediawiki import read_mediawiki
from skywright.corpus.sources.parquet import read_parquet_source
from skywright.corpus.sources.warc import read_warc
from skywright.engine.stage import Shard
from skywright.errors import UserError

logger = logging.getLogger(__name__)

_PACKED = r"(?:\.(?:gz|zst|lz4|bz2|xz))?$"
NAMES = {
    "warc": re.compile(r"\.warc(?:\.wet)?" + _PACKED),
    "html": re.compile(r"\.(?:html|htm|xhtml)$"),
    "jsonl": re.compile(r"\.(?:jsonl|ndjson|json)" + _PACKED),
    "parquet": re.compile(r"\.parquet$"),
    "mediawiki": re.compile(r"\.xml(?:-p\d+p\d+)?" + _PACKED),
    "latex": re.compile(r"\.tex$"),
}
"""File names that a folder's `kind` takes in. `kind: auto` knows them too, but of XML files only
those that a wiki's exporter names, and no `.json`, which may hold anything."""

PAGES = ("html", "latex")
"""Kinds of which every file is one record, and the files of a folder are one shard."""

_ENDINGS = ".warc .warc.wet .jsonl .ndjson .xml (all of them plain, .gz, .zst, .lz4, .bz2 or .xz), "
_ENDINGS += ".parquet .html .htm .xhtml .tex"
_JSON = re.compile(r"\.json" + _PACKED)
_WIKI = re.compile(r"pages-(?:articles|meta-current|meta-history|current|full)")


def kind_of(path: str) -> str | None:
    """The kind of input that a file name stands for, or None."""
    name = path.rpartition("/")[2].lower()
    kind = next((kind for kind, pattern in NAMES.items() if pattern.search(name)), None)
    if (kind == "mediawiki" and not _WIKI.search(name)) or _JSON.search(name):
        return None
    return kind


def _found(item: InputConfig) -> tuple[str, list[str], list[str]]:
    """The folder that names are relative to, the input's files in order of their names, and all
    that were looked at.
    """
    if item.paths_prefix is not None:
        base, files = storage.listed(item.path, item.paths_prefix)
        return base, files, files
    base, files = storage.found(item.path, item.source)
    there = files
    if files != [item.path]:  # of a named file the kind need not be told by its name
        if item.kind == "auto":
            files = [p for p in files if kind_of(p)]
        elif not glob.has_magic(item.path):
            files = [p for p in files if NAMES[item.kind].search(p.rpartition("/")[2].lower())]
    if not files:
        where = f"{item.path}: nothing to read there (input {item.source!r}"
        if there:
            name = there[0].rpartition("/")[2]
            raise UserError(
                f"{where}, kind {item.kind}), but {len(there)} files of other names, such as "
                f"{name}; set another `kind`; file names end in {_ENDINGS}"
            )
        raise UserError(f"{where}); file names end in {_ENDINGS}")
    return base, files, there


def _warn_of_passed_over(looked_at: dict[str, list[str]], taken: set[str]) -> None:
    """Tell, once, of files in the inputs' folders (by path) whose names no input takes in."""
    for folder, files in looked_at.items():
        if left := [path for path in files if path not in taken]:
            names = (path.rpartition("/")[2] for path in left)
            endings = Counter(n[n.rindex(".") :] if "." in n else n for n in names)
            shown = ", ".join(f"{n} {ending}" for ending, n in endings.most_common(5))
            _warn_once(
                f"{folder}: files that are passed over for their names: {len(left):,} ({shown}); "
                "to read them, name them as an input of their own with its `kind`"
            )


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def discover(inputs: Sequence[InputConfig]) -> list[Shard]:
    """One shard a file; the HTML or LaTeX files of one folder make one shard together.

    A shard's key is "<source>/<path>". Raises UserError for what is missing, unknown or doubled.
    """
    shards: dict[str, Shard] = {}
    looked_at: dict[str, list[str]] = {}
    taken: set[str] = set()
    for item in inputs:
        base, files, looked_at[item.path] = _found(item)
        taken.update(files)
        pages: dict[tuple[str, str], list[str]] = {}
        for path in files:
            kind = kind_of(path) if item.kind == "auto" else item.kind
            if kind is None:
                raise UserError(f"{path}: unknown kind of file; set `kind` of this input")
            if kind in PAGES:
                pages.setdefault((path.rpartition("/")[0], kind), []).append(path)
                continue
            digest, size = storage.identity(path)
            if path == item.path and size == 0:
                raise UserError(
                    f"{path}: is empty (input {item.source!r}); copy it again or leave it out"
                )
            key = f"{item.source}/{_inside(path, base)}"
            _add(shards, Shard(path, digest, size, None, key, _meta(item, kind)))
        for (folder, kind), members in pages.items():
            _add(shards, _page_shard(item, kind, base, folder, members))
    _warn_of_passed_over(looked_at, taken)
    return list(shards.values())


def _inside(path: str, base: str) -> str:
    return path.removeprefix(base).lstrip("/")


def _add(shards: dict[str, Shard], shard: Shard) -> None:
    if shard.key in shards:
        raise UserError(
            f"{shard.path}: two inputs give a file the name {shard.key!r}; "
            "give one of them another `source`"
        )
    shards[shard.key] = shard


def _meta(item: InputConfig, kind: str) -> dict[str, str]:
    if item.fields.parts is not None and kind not in ("jsonl", "parquet"):
        raise UserError(
            f"{item.path}: `fields.parallel` and `fields.exercise` are for rows of JSONL and "
            f"Parquet (input {item.source!r} is {kind}); leave them out"
        )
    unique = item.unique_urls
    if unique is None:
        unique = kind in ("warc", "html", "mediawiki")
    return {
        "source": item.source,
        "kind": kind,
        "lang": item.lang or "",
        "unique_urls": "yes" if unique else "",
        "fields": item.fields.model_dump_json(exclude_none=True),
        "url_prefix": item.url_prefix if item.url_prefix is not None else "",
        "form": "text" if item.markup == "none" else item.markup,
    }


def _page_shard(item: InputConfig, kind: str, base: str, folder: str, members: list[str]) -> Shard:
    key = f"{item.source}/{_inside(folder, base)}".removesuffix("/")
    digest, size = hashlib.sha256(), 0
    for path in members:
        known, bytes_ = storage.identity(path)
        digest.update(f"{path.rpartition('/')[2]}\0{known}\n".encode())
        size += bytes_
    # The files of a page shard are named one by one: a later file in the folder is no part of it.
    names = "\n".join([folder, *(path.rpartition("/")[2] for path in members)])
    return Shard(names, digest.hexdigest(), size, len(members), key, _meta(item, kind))


# ---------------------------------------------------------------- reading


def read_records(shard: Shard, path: str, max_bytes: int) -> Iterator[Record]:
    """The records of a source shard, in the order of its file; `path` is where it stands.

    A shard that is a part of a file (see `skywright.corpus.sources.split`) gives the records that
    begin in its part, under the names that they have in the whole.
    """
    kind, meta = shard.meta["kind"], shard.meta
    fields = FieldsConfig.model_validate_json(meta["fields"])
    name, form = meta.get("name", shard.key), meta["form"]
    start = int(meta.get("start", 0))
    end = int(meta["end"]) if meta.get("end") else None
    if kind in PAGES:
        yield from _read_pages(path, shard, name, max_bytes, start, end)
    elif kind == "parquet":
        with storage.open_file(path) as file:
            yield from read_parquet_source(file, path, name, fields, max_bytes, form, (start, end))
    else:
        with storage.open_input(path) as source:
            if kind == "warc":
                yield from read_warc(source, name, max_bytes, start, end)
            elif kind == "mediawiki":
                yield from read_mediawiki(source, name, max_bytes, start, end)
            else:
                first = int(meta.get("first", 1))
                yield from read_jsonl(source, name, fields, max_bytes, form, start, end, first)


def _read_pages(
    path: str, shard: Shard, key: str, max_bytes: int, start: int, end: int | None
) -> Iterator[Record]:
    folder, *names = path.split("\n")
    form = "html" if shard.meta["kind"] == "html" else "latex"
    media = "text/html" if form == "html" else "text/x-tex"
    prefix = shard.meta["url_prefix"] or "file:///"
    for name in names[start:end]:
        record, url = f"{key}/{name}:0", prefix + quote(f"{key}/{name}")
        if shard.meta["url_prefix"]:
            url = prefix + quote(f"{key.partition('/')[2]}/{name}".lstrip("/"))
        with storage.open_file(f"{folder}/{name}") as file:
            payload = file.read(max_bytes + 1)
            size = len(payload) if len(payload) <= max_bytes else file.seek(0, 2)
        if size > max_bytes:
            yield Record(
                record, url, rule="too_large", message=f"{size} bytes", bytes=size,
                value=float(size), threshold=float(max_bytes),
            )  # fmt: skip
        else:
            yield Record(record, url, None, payload, form, None, media, bytes=size)
