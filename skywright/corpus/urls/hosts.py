"""Hosts: their one form, the hosts above them, and where a site begins.

A site is a registrable domain: one label more than a public suffix. The suffixes are those of the
Public Suffix List (publicsuffix.org, MPL 2.0, shipped unchanged, see
assets/PUBLIC_SUFFIX_LICENCE.txt), its private part included: `user.github.io` is a site of its
own, and a list that names `github.io` does not mean all of its users.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

SUFFIXES = Path(__file__).parents[1] / "assets" / "public_suffix_list.txt"

_ADDRESS = re.compile(r"[0-9.]+|.*:.*")  # IPv4, IPv6
_DOTS = str.maketrans("。．｡", "...")  # full stops that IDNA reads as dots (UTS 46)
_PUNYCODE = "xn--"


def ascii_host(host: str) -> str:
    """A host in lower case and ASCII: labels in other scripts as punycode; no dot at either end."""
    host = host.strip().lower().strip(".")
    if host.isascii():
        return host
    host = unicodedata.normalize("NFKC", host.translate(_DOTS)).lower().strip(".")
    return ".".join(
        label if label.isascii() else _PUNYCODE + label.encode("punycode").decode()
        for label in host.split(".")
    )


def unicode_host(host: str) -> str:
    """A host as it is read: punycode labels in their own script, broken ones as they stand."""
    if _PUNYCODE not in host:
        return host
    return ".".join(_unicode_label(label) for label in host.split("."))


def _unicode_label(label: str) -> str:
    if not label.startswith(_PUNYCODE):
        return label
    try:
        return label.removeprefix(_PUNYCODE).encode().decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label


def host_of(url: str) -> str:
    """The host of an address in its one form; "" when it has none or cannot be read."""
    try:
        return ascii_host(urlsplit(url.strip()).hostname or "")
    except ValueError:  # such as an unclosed IPv6 bracket
        return ""


def with_parents(host: str) -> Iterator[str]:
    """The host and every host above it: a.b.org, b.org, org."""
    while host:
        yield host
        host = host.partition(".")[2]


@lru_cache(maxsize=1)
def _rules() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Suffixes, hosts below which every label is a suffix (`*.ck`), exceptions (`!www.ck`)."""
    plain, wild, exceptions = set(), set(), set()
    for line in SUFFIXES.read_text(encoding="utf-8").splitlines():
        rule = line.strip()
        if not rule or rule.startswith("//"):
            continue
        if rule.startswith("!"):
            exceptions.add(ascii_host(rule[1:]))
        elif rule.startswith("*."):
            wild.add(ascii_host(rule[2:]))
        else:
            plain.add(ascii_host(rule))
    return frozenset(plain), frozenset(wild), frozenset(exceptions)


@lru_cache(maxsize=1 << 16)
def registrable(host: str) -> str | None:
    """The site a host belongs to, by the list's algorithm (publicsuffix.org/list), or None.

    None stands for what no one can register: a public suffix itself, a single label, an IP
    address. `host` is in the form of `ascii_host`.
    """
    if _ADDRESS.fullmatch(host):
        return None
    plain, wild, exceptions = _rules()
    names = list(with_parents(host))
    for at, name in enumerate(names):  # from the longest: the longest rule prevails
        if name in exceptions:
            return name
        parent = names[at + 1] if at + 1 < len(names) else ""
        if name in plain or parent in wild:
            return names[at - 1] if at else None
    return names[-2] if len(names) > 1 else None  # an unknown ending counts as a suffix
