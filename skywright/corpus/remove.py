"""Takedown: pages that must leave a corpus, by address or by domain, and must not come back.

What was asked for stands in `takedown.json` beside the corpus's stages and is an input of every
build there: a rebuild, or a corpus that has grown, leaves the same pages out. It is the last step,
after duplicates: the copies that were dropped in favour of a page do not come back in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from skywright.config import Config
from skywright.corpus.ledger import LEDGER
from skywright.corpus.schemas import DROP_SCHEMA, TAKEDOWN, drop, drop_table
from skywright.corpus.urls import normalise
from skywright.corpus.urls.hosts import ascii_host, host_of, registrable, with_parents
from skywright.corpus.urls.lists import entries as list_entries
from skywright.engine.files import read_json, write_json
from skywright.engine.stage import MapStage, Shard, Tables
from skywright.errors import UserError

FILE = "takedown.json"
Kind = Literal["url", "domain"]


class Entry(Config):
    """One request: `key` is what is compared, `entry` what was written, `added` a date."""

    kind: Kind
    key: str
    entry: str
    added: str
    reason: str = ""


class Asked(Config):
    """What leaves, without who asked for it and when: this alone names outputs."""

    urls: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


class Takedown(Config):
    """All requests of one corpus."""

    version: Literal[1] = 1
    entries: tuple[Entry, ...] = ()

    def asked(self) -> Asked:
        """The distinct keys, sorted."""
        keys: dict[Kind, set[str]] = {"url": set(), "domain": set()}
        for item in self.entries:
            keys[item.kind].add(item.key)
        return Asked(urls=tuple(sorted(keys["url"])), domains=tuple(sorted(keys["domain"])))

    def with_entries(self, entries: Iterable[Entry]) -> Takedown:
        """These requests and the new ones among `entries`."""
        known = {(item.kind, item.key): item for item in self.entries}
        for item in entries:
            known.setdefault((item.kind, item.key), item)
        return Takedown(entries=tuple(known.values()))


def read_takedown(folder: Path) -> Takedown:
    """The requests in a folder; none where there is no file. UserError if it is damaged."""
    path = Path(folder) / FILE
    if not path.exists():
        return Takedown()
    try:
        return Takedown.model_validate(read_json(path))
    except (ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a list of takedowns ({reason}); restore it") from None


def write_takedown(folder: Path, takedown: Takedown) -> None:
    """Replace the requests in a folder, atomically."""
    write_json(Path(folder) / FILE, takedown.model_dump(mode="json"))


def url_entries(lines: Iterable[str], added: str, reason: str, where: str) -> Iterator[Entry]:
    """Requests for single pages; raises UserError for a line that is no address."""
    for number, line in enumerate(lines, 1):
        local = line.startswith("file:///")  # pages of a folder that has no `url_prefix`
        if not local and not host_of(line if "://" in line else f"//{line}"):
            raise UserError(f"{where}: entry {number}: {line!r} is no address; correct it")
        key = normalise(line if "://" in line else f"//{line}")
        yield Entry(kind="url", key=cast(str, key), entry=line, added=added, reason=reason)


def domain_entries(lines: Iterable[str], added: str, reason: str, where: str) -> Iterator[Entry]:
    """Requests for domains or hosts with all that is below them.

    Raises UserError for a line that is no host, and for a public suffix: nobody owns all of it.
    """
    for number, line in enumerate(lines, 1):
        key = ascii_host(line).removeprefix("www.")
        if registrable(key) is None:
            raise UserError(
                f"{where}: entry {number}: {line!r} is no domain that someone owns; name a domain "
                "such as example.org, without scheme or path"
            )
        yield Entry(kind="domain", key=key, entry=line, added=added, reason=reason)


def requests(urls: Path | None, domains: Path | None, added: str, reason: str) -> list[Entry]:
    """The requests in two lists (one a line, `#` for comments); UserError if there are none."""
    found: list[Entry] = []
    for path, parse in ((urls, url_entries), (domains, domain_entries)):
        if path is not None:
            if not path.is_file():
                raise UserError(f"{path}: no such file; check the path")
            found += parse(list_entries(path, lower=False), added, reason, str(path))
    if not found:
        raise UserError("nothing is asked for; give --urls FILE or --domains FILE with entries")
    return found


# ---------------------------------------------------------------- matching


class Matcher:
    """Tells which request an address falls under."""

    def __init__(self, asked: Asked) -> None:
        self._urls, self._domains = frozenset(asked.urls), frozenset(asked.domains)

    def __call__(self, url: str | None) -> tuple[Kind, str] | None:
        """Kind and key of the request, or None."""
        if not url:
            return None
        if self._urls and (key := normalise(url)) in self._urls:
            return "url", key
        if self._domains:
            for host in with_parents(host_of(url)):
                if host in self._domains:
                    return "domain", host
        return None


def _read_addresses(shard: Shard, params: Config) -> Iterator[pa.Table]:
    yield pq.read_table(shard.path, columns=["record", "url"])


def _take_down(table: pa.Table, params: Config, side: Tables) -> Tables:
    matcher = Matcher(cast(Asked, params))
    rows = []
    for record, url in zip(table["record"].to_pylist(), table["url"].to_pylist(), strict=True):
        found = matcher(url)
        if found is not None:
            rows.append(drop(record, TAKEDOWN, found[0], message=found[1]))
    return {"dropped": drop_table(rows)}


TAKE_DOWN = MapStage(
    TAKEDOWN, "1", _take_down, {"dropped": DROP_SCHEMA}, _read_addresses, rowwise=False
)

# ---------------------------------------------------------------- looking before it is done


def matches(documents: Sequence[Path], asked: Asked) -> dict[Path, list[dict[str, Any]]]:
    """Documents of a finished corpus that fall under requests, by file: `row, id, url, source,
    lang`, `row` counting from 0 in the file.
    """
    matcher = Matcher(asked)
    found: dict[Path, list[dict[str, Any]]] = {}
    for path in documents:
        table = pq.read_table(path, columns=["id", "url", "source", "lang"])
        rows = [row for row, url in enumerate(table["url"].to_pylist()) if matcher(url)]
        if rows:
            told = table.take(pa.array(rows)).to_pylist()
            found[path] = [{"row": n, **row} for n, row in zip(rows, told, strict=True)]
    return found


def kept_copies(folder: Path, asked: Asked) -> list[dict[str, Any]]:
    """Documents that stay although a page that is to leave was dropped as a copy of them.

    Their text is that page's, or nearly; rows of the ledger (`record, id, url, source`).
    """
    ledger = pq.read_table(
        Path(folder) / LEDGER, columns=["record", "id", "url", "source", "kept", "kept_id"]
    )
    matcher = Matcher(asked)
    copies = ledger.filter(pc.is_valid(ledger["kept_id"]))
    pairs = zip(copies["url"].to_pylist(), copies["kept_id"].to_pylist(), strict=True)
    wanted = {kept for url, kept in pairs if matcher(url)}
    known = pa.array(sorted(wanted), ledger.schema.field("id").type)
    rows = ledger.filter(pc.and_(ledger["kept"], pc.is_in(ledger["id"], value_set=known)))
    rows = rows.select(["record", "id", "url", "source"])
    return [row for row in rows.to_pylist() if not matcher(row["url"])]
