"""Whether an address is refused: block lists by site, host and address, then scored words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import ahocorasick
import numpy as np
import pyarrow as pa

from skywright.corpus.urls.hosts import host_of, registrable, with_parents
from skywright.corpus.urls.lists import (
    BLOCK_KINDS,
    WORD_KINDS,
    BlockKind,
    UrlParams,
    block_lists,
    blocked_form,
    entries,
    hashed,
    key_hash,
    merged,
)
from skywright.corpus.urls.words import Words, shown

_RULES = {
    "blocked_domains": "blocked_domain", "blocked_hosts": "blocked_host",
    "blocked_urls": "blocked_url",
}  # fmt: skip


class Verdict(NamedTuple):
    """Why an address is dropped; `value` counts hits (words) or is None (lists).

    `message` has the words, or the list's entry and the list's name.
    """

    rule: str
    value: float | None
    threshold: float | None
    message: str


class UrlRules:
    """The lists, ready to be asked. Build it once with `rules_of`."""

    def __init__(self, params: UrlParams, blocked: pa.Table) -> None:
        """`blocked` is the table of `lists.BLOCKED_SCHEMA` that these params compile to."""
        self._hashes = blocked["hash"].combine_chunks().to_numpy()
        self._owners = blocked["list"].combine_chunks().to_numpy()
        self._names = [(item.kind, item.name) for item in block_lists(params)]
        self._kinds = {kind for kind, _ in self._names}
        self._words, self._substrings = _word_lists(params)

    def check(self, url: str | None) -> Verdict | None:
        """The first rule that drops the address, or None."""
        if not url or url.startswith("file:"):
            return None
        found = self._blocked(url)
        if found is not None:
            return found
        if len(self._substrings):
            for _, part in self._substrings.iter(shown(url)):
                return Verdict("blocked_substring", None, None, part)
        scored = self._words.score(url)
        if scored is None:
            return None
        return Verdict(
            scored.rule, float(len(scored.words)), float(scored.threshold), ", ".join(scored.words)
        )

    def _blocked(self, url: str) -> Verdict | None:
        keys: list[tuple[BlockKind, str]] = []
        host = host_of(url)
        if "blocked_domains" in self._kinds:
            keys.append(("blocked_domains", registrable(host) or host))
        if "blocked_hosts" in self._kinds:
            keys += [("blocked_hosts", name) for name in _blockable(host)]
        if "blocked_urls" in self._kinds:
            keys += [("blocked_urls", part) for part in _folders(blocked_form(url))]
        if not keys:
            return None
        wanted = np.array([key_hash(kind, key) for kind, key in keys], dtype=np.uint64)
        places = np.searchsorted(self._hashes, wanted)
        for (_, key), hash_, place in zip(keys, wanted, places.tolist(), strict=True):
            if place < len(self._hashes) and self._hashes[place] == hash_:
                kind, name = self._names[self._owners[place]]
                return Verdict(_RULES[kind], None, None, f"{key} ({name})")
        return None


def _blockable(host: str) -> list[str]:
    """The host and those above it that a list may mean.

    A list that names a public suffix, such as github.io, means that one host and not the sites
    under it.
    """
    host = host.removeprefix("www.")
    site = registrable(host)
    names = []
    for name in with_parents(host):
        names.append(name)
        if site is None or name == site:
            break
    return names


def _folders(address: str) -> list[str]:
    """The address and every folder above it, the longest first."""
    parts = [address]
    bare = address.partition("?")[0]
    while bare:
        parts.append(bare)
        bare = bare.rpartition("/")[0]
    return parts


@lru_cache(maxsize=2)
def _word_lists(params: UrlParams) -> tuple[Words, ahocorasick.Automaton]:
    found: dict[str, list[str]] = {kind: [] for kind in WORD_KINDS}
    for item in params.lists:
        if item.kind in found:
            found[item.kind] += entries(Path(item.path))
    substrings = ahocorasick.Automaton()
    for part in sorted(set(found["blocked_substrings"])):
        substrings.add_word(part, part)
    substrings.make_automaton()
    words = Words(
        found["strict_words"],
        found["hard_words"],
        found["soft_words"],
        found["allowed_words"],
        params.max_soft_words,
    )
    return words, substrings


def rules_of(params: UrlParams, blocked: pa.Table | None = None) -> UrlRules:
    """The rules of `params`; block lists that are not compiled yet are compiled here."""
    return UrlRules(params, _compiled(params) if blocked is None else blocked)


@lru_cache(maxsize=2)
def _compiled(params: UrlParams) -> pa.Table:
    lists = block_lists(params)
    parts: Sequence[np.ndarray] = [
        hashed(Path(item.path), kind) for item in lists for kind in BLOCK_KINDS if kind == item.kind
    ]
    return merged(parts)
