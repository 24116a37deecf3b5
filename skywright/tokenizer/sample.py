"""The text a vocabulary is trained on: documents by hash, languages balanced by weight."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Document = tuple[str, str, str]
"""Language, source, text."""

RESERVED = "▁▅\x00"
"""SentencePiece's own marks for a space (U+2581) and for the unknown (U+2585), and NUL, which it
skips with a warning. A line with one of them teaches nothing right and is left out."""

LINE_BYTES = 4000
"""Longest line given to SentencePiece; its default `max_sentence_length` (4,192 bytes, above which
it drops a line) with room for the mark before each space, which takes three bytes for one."""


@dataclass
class _Kept:
    """The documents of one language with the lowest hashes, about `budget` bytes of them."""

    budget: int
    held_bytes: int = 0
    heap: list[tuple[int, str, str]] = field(default_factory=list)  # (-hash, source, text)

    def offer(self, key: int, source: str, text: str) -> None:
        if self.held_bytes >= self.budget and key > -self.heap[0][0]:
            return
        heapq.heappush(self.heap, (-key, source, text))
        self.held_bytes += len(text.encode())
        while True:
            highest = len(self.heap[0][2].encode())
            if self.held_bytes - highest < self.budget:
                return
            heapq.heappop(self.heap)
            self.held_bytes -= highest

    def in_order(self) -> list[tuple[str, str]]:
        ordered = sorted(self.heap, key=lambda entry: (-entry[0], entry[1], entry[2]))
        return [(source, text) for _, source, text in ordered]


def shares(
    available: Mapping[str, int], weights: Mapping[str, float], total: int
) -> dict[str, int]:
    """Divide `total` bytes by weight; what a language cannot fill goes to the others by weight.

    `available` are the bytes there are. A language without a weight, or with weight 0, gets none.
    """
    result = dict.fromkeys(available, 0)
    waiting = {lang for lang in available if available[lang] and weights.get(lang, 0) > 0}
    left = total
    while waiting:
        unit = left / sum(weights[lang] for lang in sorted(waiting))
        full = {lang for lang in waiting if available[lang] <= unit * weights[lang]}
        for lang in full or waiting:
            result[lang] = available[lang] if full else int(unit * weights[lang])
        left -= sum(result[lang] for lang in full)
        waiting = waiting - full if full else set()
    return result


def sample(
    documents: Iterable[Document], weights: Mapping[str, float], sample_bytes: int, seed: int
) -> dict[str, list[str]]:
    """Choose about `sample_bytes` UTF-8 bytes of documents, a list of texts a language.

    A document's place is the hash of seed, language and text, so that neither the order of arrival
    nor the number of readers matters, and more documents of one language do not change the choice
    among another's unless its share changes. Each language's last document is cut to its share.
    Memory: `sample_bytes` for each weighted language.
    """
    kept: dict[str, _Kept] = defaultdict(lambda: _Kept(sample_bytes))
    for lang, source, text in documents:
        if weights.get(lang, 0) > 0 and text:
            content = f"{seed}\n{lang}\n{text}".encode()
            key = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())
            kept[lang].offer(key, source, text)
    available = {lang: min(kept[lang].held_bytes, sample_bytes) for lang in sorted(kept)}
    chosen: dict[str, list[str]] = {}
    for lang, share in shares(available, weights, sample_bytes).items():
        texts, left = [], share
        for _, text in kept[lang].in_order():
            if left <= 0:
                break
            part = text.encode()[:left].decode(errors="ignore")
            left -= len(text.encode())
            if part:
                texts.append(part)
        chosen[lang] = texts
    return chosen


def lines(texts: Iterable[str]) -> Iterator[str]:
    """The texts' lines, long ones cut at character boundaries, without lines that hold a reserved
    character. A newline is always a byte piece, so nothing is learned across it."""
    for text in texts:
        for line in text.split("\n"):
            if not line.strip() or any(mark in line for mark in RESERVED):
                continue
            # A space takes three bytes inside SentencePiece.
            data = line.replace(" ", RESERVED[0]).encode()
            while data:
                part = data[:LINE_BYTES].decode(errors="ignore")
                yield part.replace(RESERVED[0], " ")
                data = data[len(part.encode()) :]
