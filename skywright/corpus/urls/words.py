"""Scored words in an address, as RefinedWeb scores them (arXiv 2306.01116, appendix G.1).

A strict word drops a page wherever it stands in the address, a hard word as a whole word, soft
words only together. Han words have no spaces around them, so they are looked for anywhere. What
then stands inside a longer, harmless word is told by a list of those: 色情 in 特色情景, "sexvideo"
in "essexvideos".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

import ahocorasick

from skywright.corpus.urls.hosts import unicode_host
from skywright.corpus.urls.normalise import readable

_WORD = re.compile(r"[^\W_]+")
_GLUE = re.compile(r"[-._+\s]+")


class Scored(NamedTuple):
    """The words that decide, sorted; `rule` names their kind, `threshold` how many it takes."""

    rule: str
    words: tuple[str, ...]
    threshold: int


def shown(url: str) -> str:
    """The address as a reader sees it: no scheme, escapes and punycode undone, NFKC, lower case."""
    scheme, separator, rest = url.partition("://")
    rest = rest if separator else scheme
    if "xn--" in rest:
        try:
            host = urlsplit("//" + rest).netloc
        except ValueError:  # such as an unclosed IPv6 bracket
            host = ""
        rest = unicode_host(host.lower()) + rest[len(host) :]
    text = readable(rest)
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()


class Words:
    """The word lists, ready to be asked; entries in lower case."""

    def __init__(
        self,
        strict: Iterable[str],
        hard: Iterable[str],
        soft: Iterable[str],
        allowed: Iterable[str] = (),
        max_soft_words: int = 1,
    ) -> None:
        hard, soft, allowed = frozenset(hard), frozenset(soft), frozenset(allowed)
        self.max_soft_words = max_soft_words
        self._hard = frozenset(word for word in hard if word.isascii())
        self._soft = frozenset(word for word in soft if word.isascii())
        self._strict = _Inside((_glued(w) for w in strict), (_glued(w) for w in allowed))
        self._hard_han = _Inside(hard - self._hard, allowed)
        self._soft_han = _Inside(soft - self._soft, allowed)

    def score(self, url: str) -> Scored | None:
        """The words that drop the address, or None."""
        text = shown(url)
        strict = self._strict.found(_glued(text))
        if strict:
            return Scored("strict_word", _ordered(strict), 1)
        words = set(_WORD.findall(text))
        plain = text.isascii()
        hard = words & self._hard
        if not plain:
            hard |= self._hard_han.found(text)
        if hard:
            return Scored("hard_word", _ordered(hard), 1)
        soft = words & self._soft
        if not plain:
            soft |= self._soft_han.found(text)
        if len(soft) > self.max_soft_words:
            return Scored("soft_words", _ordered(soft), self.max_soft_words + 1)
        return None


def _ordered(words: set[str]) -> tuple[str, ...]:
    return tuple(sorted(words))


def _glued(text: str) -> str:
    return _GLUE.sub("", text)


class _Inside:
    """Looks for words anywhere in a text, but not cut out of allowed words (Aho-Corasick)."""

    def __init__(self, words: Iterable[str], allowed: Iterable[str]) -> None:
        self._automaton = ahocorasick.Automaton()
        for word in sorted(set(allowed) - {""}):
            self._automaton.add_word(word, (word, True))
        wanted = set(words) - {""}
        for word in sorted(wanted):
            self._automaton.add_word(word, (word, False))
        self._empty = not wanted
        if not self._empty:
            self._automaton.make_automaton()

    def found(self, text: str) -> set[str]:
        """The words in the text."""
        if self._empty:
            return set()
        hits: list[tuple[int, int, str]] = []
        harmless: list[tuple[int, int, str]] = []
        for last, (word, is_allowed) in self._automaton.iter(text):
            span = (last - len(word) + 1, last, word)
            (harmless if is_allowed else hits).append(span)
        return {
            word
            for start, end, word in hits
            if not any(_voids(first, last, start, end) for first, last, _ in harmless)
        }


def _voids(first: int, last: int, start: int, end: int) -> bool:
    """Whether an allowed word (first..last) says that a hit (start..end) is cut out of it: it
    covers the hit, or one of the hit's ends stands in its midst (`essex videos`, 地下 注浆).
    """
    covers = first <= start and end <= last
    return covers or first < start <= last or first <= end < last
