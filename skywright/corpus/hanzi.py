"""Simplified or traditional: told by characters that only one of the two writes.

The table is derived from two national standards whose tables ship with Python as codecs, so it
carries no licence and no hand's choice. GB 2312 level 1 (rows 16-55) holds the 3,755 most common
characters of simplified text, Big5 level 1 (lead bytes A4-C6) the 5,401 most common of traditional
text. A common character of one standard that the other standard does not hold at all (in any
level) is written in that form only: 1,204 simplified and 2,073 traditional characters, among them
all common pairs (国/國, 这/這, 们/們).
"""

from __future__ import annotations

import re
from functools import lru_cache

_GB2312_LEVEL1 = (range(0xB0, 0xD8), range(0xA1, 0xFF))
_BIG5_LEVEL1 = (range(0xA4, 0xC7), (*range(0x40, 0x7F), *range(0xA1, 0xFF)))


def _characters(codec: str, leads: range, trails: range | tuple[int, ...]) -> set[str]:
    found = (bytes((lead, trail)).decode(codec, "ignore") for lead in leads for trail in trails)
    return {character for character in found if len(character) == 1 and "一" <= character <= "鿿"}


def _absent_from(codec: str, characters: set[str]) -> str:
    return "".join(sorted(c for c in characters if not c.encode(codec, "ignore")))


def simplified_only() -> str:
    """Common simplified characters that traditional text does not use."""
    return _absent_from("big5", _characters("gb2312", *_GB2312_LEVEL1))


def traditional_only() -> str:
    """Common traditional characters that simplified text does not use."""
    return _absent_from("gb2312", _characters("big5", *_BIG5_LEVEL1))


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(f"[{simplified_only()}]"), re.compile(f"[{traditional_only()}]")


def is_traditional(text: str) -> bool:
    """Whether a Chinese text is written in traditional characters: more of them than of
    simplified ones. A text without either (such as 山高水) counts as simplified.
    """
    simplified, traditional = _patterns()
    return len(traditional.findall(text)) > len(simplified.findall(text))
