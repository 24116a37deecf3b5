"""Named characters of HTML as tables that a kernel can read.

The names are those of the HTML standard (section 13.5), which Python ships in `html.entities`.
"""

from __future__ import annotations

from html.entities import html5

import numpy as np

from skywright.corpus.extract.words import fnv, table

LONGEST = max(map(len, html5))
BARE = 1 << 62
"""Bit of a value whose name is one even without a semicolon, as `&copy` is."""


def names() -> tuple[np.ndarray, np.ndarray]:
    """(keys, values int64): the code point, times 2^21 that of a second one, `BARE`, by the hash of
    the name without its semicolon."""
    found: dict[str, int] = {}
    for name, shown in html5.items():
        first, second = [*map(ord, shown), 0][:2]
        found.setdefault(name.rstrip(";"), first | second << 21)
    for name in html5:
        if not name.endswith(";"):
            found[name] |= BARE
    return table(found, 8192)


def controls() -> np.ndarray:
    """What the numbers 128 to 159 mean on pages: characters of windows-1252, int64 (32)."""
    shown = (bytes((number,)).decode("cp1252", "ignore") for number in range(128, 160))
    return np.array([ord(c) if c else 128 + i for i, c in enumerate(shown)], np.int64)


assert len({fnv(name.rstrip(";")) for name in html5}) == len({n.rstrip(";") for n in html5})
