"""The text a vocabulary is trained on: documents by hash, languages or sources by weight."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

Document = tuple[str, str, str]
"""Language, source, text."""

RESERVED = "▁▅\x00"
"""SentencePiece's own marks for a space (U+2581) and for the unknown (U+2585), and NUL, which it
skips with a warning. A line with one of them teaches nothing right and is left out."""

LINE_BYTES = 4000
"""Longest line given to SentencePiece; its default `max_sentence_length` (4,192 bytes, above which
it drops a line) with room for the mark before each space, which takes three bytes for one."""


def read_documents(paths: Iterable[Path]) -> Iterator[Document]:
    """(language, source, text) of every document of Parquet files, as the corpus writes them."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["lang", "source", "text"]):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


@dataclass
class _Kept:
    """The documents of one group with the lowest hashes, about `budget` bytes of them."""

    budget: int
    held_bytes: int = 0
    heap: list[tuple[int, Document]] = field(default_factory=list)  # (-hash, document)

    def offer(self, key: int, document: Document) -> None:
        if self.held_bytes >= self.budget and key > -self.heap[0][0]:
            return
        heapq.heappush(self.heap, (-key, document))
        self.held_bytes += len(document[2].encode())
        while True:
            highest = len(self.heap[0][1][2].encode())
            if self.held_bytes - highest < self.budget:
                return
            heapq.heappop(self.heap)
            self.held_bytes -= highest

    def in_order(self) -> list[Document]:
        return [document for _, document in sorted(self.heap, key=lambda kept: (-kept[0], kept[1]))]


def shares(
    available: Mapping[str, int], weights: Mapping[str, float], total: int
) -> dict[str, int]:
    """Divide `total` bytes by weight; what a group cannot fill goes to the others by weight.

    `available` are the bytes there are. A group without a weight, or with weight 0, gets none.
    """
    result = dict.fromkeys(available, 0)
    waiting = {group for group in available if available[group] and weights.get(group, 0) > 0}
    left = total
    while waiting:
        whole = sum(weights[group] for group in sorted(waiting))
        share = {group: left * (weights[group] / whole) for group in waiting}
        full = {group for group in waiting if available[group] <= share[group]}
        for group in full or waiting:
            result[group] = available[group] if full else int(share[group])
        left -= sum(result[group] for group in full)
        waiting = waiting - full if full else set()
    return result


def _lowest(
    documents: Iterable[Document],
    group_of: Callable[[str, str], str | None],
    budget: int,
    seed: int,
) -> dict[str, _Kept]:
    """The documents of each group with the lowest hashes, about `budget` bytes a group.

    `group_of(lang, source)` is None for documents that are not wanted. A document's place is the
    hash of seed, group and text, so that neither the order of arrival nor the number of readers
    matters.
    """
    kept: dict[str, _Kept] = defaultdict(lambda: _Kept(budget))
    for lang, source, text in documents:
        group = group_of(lang, source)
        if group is not None and text:
            content = f"{seed}\n{group}\n{text}".encode()
            key = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())
            kept[group].offer(key, (lang, source, text))
    return dict(sorted(kept.items()))


def sample(
    documents: Iterable[Document],
    weights: Mapping[str, float],
    sample_bytes: int,
    seed: int,
    by: Literal["lang", "source"] = "lang",
) -> dict[str, list[Document]]:
    """Choose about `sample_bytes` UTF-8 bytes, a list of documents for each language or source.

    More documents of one group do not change the choice among another's unless its share changes.
    Each group's last document is cut to its share. Memory: `sample_bytes` for each weighted group.
    """

    def group_of(lang: str, source: str) -> str | None:
        group = lang if by == "lang" else source
        return group if weights.get(group, 0) > 0 else None

    kept = _lowest(documents, group_of, sample_bytes, seed)
    available = {group: min(kept[group].held_bytes, sample_bytes) for group in kept}
    chosen: dict[str, list[Document]] = {}
    for group, share in shares(available, weights, sample_bytes).items():
        chosen[group], left = [], share
        for lang, source, text in kept[group].in_order():
            if left <= 0:
                break
            part = text.encode()[:left].decode(errors="ignore")
            left -= len(text.encode())
            if part:
                chosen[group].append((lang, source, part))
    return chosen


def each_lang_and_source(
    documents: Iterable[Document], budget: int, seed: int
) -> dict[tuple[str, str], list[str]]:
    """Whole texts of about `budget` bytes of every source in every language."""
    kept = _lowest(documents, lambda lang, source: f"{lang}\n{source}", budget, seed)
    found = {}
    for group in kept.values():
        texts = group.in_order()
        found[texts[0][:2]] = [text for _, _, text in texts]
    return found


def by_lang(chosen: Mapping[str, Iterable[Document]]) -> dict[str, list[str]]:
    """The texts of a sample by language."""
    found: dict[str, list[str]] = defaultdict(list)
    for documents in chosen.values():
        for lang, _, text in documents:
            found[lang].append(text)
    return dict(sorted(found.items()))


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
