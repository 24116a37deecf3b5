"""Rules on a page's address: block lists, scored words, and one form for addresses that are one.

The word scoring is RefinedWeb's (arXiv 2306.01116, appendix G.1): a strict word drops a page
wherever it stands in the address, a hard word as a whole word, soft words only together.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import ahocorasick

from skywright.config import Config
from skywright.corpus.config import UrlsConfig
from skywright.engine.files import sha256_file
from skywright.errors import UserError

ASSETS = Path(__file__).parent / "assets"
ListKind = Literal["blocked_hosts", "blocked_urls", "strict_words", "hard_words", "soft_words"]
KINDS: tuple[ListKind, ...] = (
    "blocked_hosts", "blocked_urls", "strict_words", "hard_words", "soft_words",
)  # fmt: skip

_WORD = re.compile(r"[^\W_]+")
_GLUE = re.compile(r"[-._]+")
_PORTS = {"http": ":80", "https": ":443"}
_TRACKING = re.compile(
    r"^(?:utm_\w+|fbclid|gclid|spm|from_source|share_token|sessionid|sid)$", re.I
)


class ListFile(Config):
    """A list that rules read; named by its content, so that a changed list changes the output."""

    kind: ListKind
    path: str
    sha256: str


class UrlParams(Config):
    """What the URL rules depend on."""

    lists: tuple[ListFile, ...]
    max_soft_words: int


class Verdict(NamedTuple):
    """Why an address is dropped; `value` counts hits (words) or is None (lists)."""

    rule: str
    value: float | None
    threshold: float | None
    message: str


def params_of(config: UrlsConfig) -> UrlParams:
    """The lists of a recipe with their checksums; raises UserError for a missing file."""
    lists = []
    for kind in KINDS:
        shipped = ASSETS / f"{kind}.txt"
        paths = [str(path) for path in getattr(config, kind)]
        if config.shipped_lists and shipped.is_file():
            # A name instead of a path: the same output wherever the package is installed.
            lists.append(ListFile(kind=kind, path=shipped.name, sha256=sha256_file(shipped)))
        for path in paths:
            if not Path(path).is_file():
                raise UserError(f"{path}: no such list (urls.{kind}); check the path")
            lists.append(ListFile(kind=kind, path=path, sha256=sha256_file(Path(path))))
    return UrlParams(lists=tuple(lists), max_soft_words=config.max_soft_words)


def _entries(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list in UTF-8 ({error})") from None
    lines = (line.strip() for line in text.splitlines())
    return [line.lower() for line in lines if line and not line.startswith("#")]


class UrlRules:
    """The lists, ready to be asked. Build it once with `rules_of`."""

    def __init__(self, entries: dict[ListKind, list[str]], max_soft_words: int) -> None:
        self.hosts = frozenset(entry.strip(".") for entry in entries["blocked_hosts"])
        self.urls = frozenset(_bare(entry) for entry in entries["blocked_urls"])
        self.hard = frozenset(entries["hard_words"])
        self.soft = frozenset(entries["soft_words"])
        self.max_soft_words = max_soft_words
        # Han words have no spaces around them in an address, so a whole word cannot be told.
        self._hard_han = _automaton(word for word in self.hard if not word.isascii())
        self._soft_han = _automaton(word for word in self.soft if not word.isascii())
        self._strict = _automaton(_GLUE.sub("", word) for word in entries["strict_words"])

    def check(self, url: str | None) -> Verdict | None:
        """The first rule that drops the address, or None."""
        if not url or url.startswith("file:"):
            return None
        text = unquote(url).lower()
        host = _host(url)
        parent = host
        while parent:
            if parent in self.hosts:
                return Verdict("blocked_host", None, None, parent)
            parent = parent.partition(".")[2]
        if self.urls and any(part in self.urls for part in _prefixes(_bare(url.lower()))):
            return Verdict("blocked_url", None, None, url)
        strict = _hits(self._strict, _GLUE.sub("", text))
        if strict:
            return Verdict("strict_word", float(len(strict)), 1.0, ", ".join(sorted(strict)))
        words = set(_WORD.findall(text))
        hard = (words & self.hard) | _hits(self._hard_han, text)
        if hard:
            return Verdict("hard_word", float(len(hard)), 1.0, ", ".join(sorted(hard)))
        soft = (words & self.soft) | _hits(self._soft_han, text)
        if len(soft) > self.max_soft_words:
            return Verdict(
                "soft_words",
                float(len(soft)),
                float(self.max_soft_words + 1),
                ", ".join(sorted(soft)),
            )
        return None


def _automaton(words: Iterable[str]) -> ahocorasick.Automaton | None:
    automaton = ahocorasick.Automaton()
    for word in sorted(set(words)):
        automaton.add_word(word, word)
    if not len(automaton):
        return None
    automaton.make_automaton()
    return automaton


def _hits(automaton: ahocorasick.Automaton | None, text: str) -> set[str]:
    return {word for _, word in automaton.iter(text)} if automaton is not None else set()


@lru_cache(maxsize=2)
def rules_of(params: UrlParams) -> UrlRules:
    """The rules of `params`, read once a process."""
    entries: dict[ListKind, list[str]] = {kind: [] for kind in KINDS}
    for item in params.lists:
        path = Path(item.path)
        entries[item.kind] += _entries(path if path.is_file() else ASSETS / item.path)
    return UrlRules(entries, params.max_soft_words)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # such as an unclosed IPv6 bracket
        return ""


def _bare(url: str) -> str:
    """An address without scheme, leading www. and closing slash: the form of block lists."""
    return url.split("://", 1)[-1].removeprefix("www.").rstrip("/")


def _prefixes(url: str) -> Iterable[str]:
    """The address and every folder above it."""
    yield url
    bare = url.partition("?")[0].partition("#")[0]
    while bare:
        yield bare
        bare = bare.rpartition("/")[0]


def normalise(url: str | None) -> str | None:
    """One form for addresses of one page, or None when there is no address.

    Scheme and www. are dropped, the host is lower-cased, the fragment, tracking parameters, a
    default port and a closing slash are removed, and parameters are sorted. A fragment that
    starts with `!` or `/` is a route of a script page and stays.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").rstrip(".").removeprefix("www.")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.strip()
    if not host:
        return url.strip()
    port = "" if port == _PORTS.get(parts.scheme.lower()) else port
    query = urlencode(
        sorted(
            (key, value)
            for key, value in parse_qsl(
                parts.query, keep_blank_values=True, errors="surrogateescape"
            )
            if not _TRACKING.match(key)
        ),
        errors="surrogateescape",
    )
    fragment = parts.fragment if parts.fragment[:1] in ("!", "/") else ""
    return urlunsplit(("", host + port, parts.path.rstrip("/"), query, fragment))
