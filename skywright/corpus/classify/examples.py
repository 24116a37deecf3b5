"""Labelled texts: read, capped by host, split by host.

Pages of one host look alike, so a split by page measures how well a host is remembered. Every
split here is by host.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from skywright.engine.lines import text_lines
from skywright.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examples:
    """texts, their languages and hosts; targets float64 (n, labels): 1, 0, or nan for unknown."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    langs: tuple[str, ...]
    hosts: tuple[str, ...]
    targets: np.ndarray

    def take(self, rows: Sequence[int] | np.ndarray) -> Examples:
        """The examples of these rows."""
        texts, langs, hosts = (
            tuple(column[i] for i in rows) for column in (self.texts, self.langs, self.hosts)
        )
        return Examples(self.labels, texts, langs, hosts, self.targets[np.asarray(rows, int)])


def host_of(url: str) -> str:
    """The host of an address without `www.`; the text itself when it is no address."""
    name = urlsplit(url).hostname if "://" in url else None
    return (name or url).lower().removeprefix("www.")


def place(text: str, seed: int = 0) -> int:
    """A number that a text always has: 64 bits of BLAKE2b."""
    digest = hashlib.blake2b(
        text.encode("utf-8", "replace"), digest_size=8, salt=seed.to_bytes(8, "little")
    )
    return int.from_bytes(digest.digest(), "little")


def capped(examples: Examples, pages_a_host: int, seed: int = 0) -> Examples:
    """At most so many examples of each host and combination of labels, chosen by their hash.

    Repeated texts count once, as the first is labelled; that others say otherwise is warned of.
    """
    groups: dict[tuple[str, bytes], list[tuple[int, int]]] = defaultdict(list)
    seen: dict[int, int] = {}
    disputed: list[int] = []
    for row, (text, host) in enumerate(zip(examples.texts, examples.hosts, strict=True)):
        key = place(text, seed)
        first = seen.setdefault(key, row)
        if first == row:
            groups[host, examples.targets[row].tobytes()].append((key, row))
        elif np.any(np.abs(examples.targets[first] - examples.targets[row]) > 0):  # nan: unknown
            disputed.append(first)
    if disputed:
        logger.warning(
            "%d lines repeat a text with another label than its first line, which counts; one of "
            "them begins %r",
            len(disputed), examples.texts[disputed[0]][:60],
        )  # fmt: skip
    rows = [row for group in groups.values() for _, row in sorted(group)[:pages_a_host]]
    return examples.take(sorted(rows))


def folds(hosts: Sequence[str], count: int, seed: int = 0) -> np.ndarray:
    """The fold of each example, 0..count-1: all pages of a host share one.

    Hosts, in the order of their hash, go where there are fewest examples so far.
    """
    sizes: dict[str, int] = defaultdict(int)
    for host in hosts:
        sizes[host] += 1
    filled = np.zeros(count, np.int64)
    fold = {}
    for host in sorted(sizes, key=lambda name: (-sizes[name], place(name, seed))):
        fold[host] = int(np.argmin(filled))
        filled[fold[host]] += sizes[host]
    return np.array([fold[host] for host in hosts], np.int64)


def read_examples(paths: Iterable[Path], labels: Sequence[str]) -> Examples:
    """Read JSON lines (plain, .gz, .zst) with `text`, `url` or `host`, and each label as 0 or 1.

    A label that a line does not have is unknown there. Raises UserError naming file and line.
    """
    rows: list[tuple[str, str, str, list[float]]] = []
    for path in paths:
        for number, line in enumerate(text_lines(Path(path)), 1):
            where = f"{path}, line {number}"
            try:
                row: Any = json.loads(line)
                text, address = row["text"], row.get("host") or row["url"]
                host = host_of(address)
                text.encode()
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(
                    f"{where}: needs `text`, and `url` or `host`, each a text; mend the line"
                ) from None
            targets = [_target(row.get(label), label, where) for label in labels]
            rows.append((text, str(row.get("lang", "")), host, targets))
    if not rows:
        raise UserError("no example to learn from; give JSON lines with `text` and the labels")
    texts, langs, hosts, values = zip(*rows, strict=True)
    return Examples(tuple(labels), texts, langs, hosts, np.array(values, float))


def _target(value: Any, label: str, where: str) -> float:
    if value is None:
        return float("nan")
    if value not in (0, 1):
        raise UserError(f"{where}, {label}: is {value!r}; use 0 or 1, or leave it out")
    return float(value)
