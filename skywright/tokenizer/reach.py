"""Which words a vocabulary can take: those that its merges reach.

A word is reached when cutting it alone gives one piece. Then every text that leaves it whole gives
that piece too, and no text gives it otherwise: merges inside a word come in the same order
wherever it stands. A word that has no split into two pieces is never reached, and one that has may
be cut off by a merge that comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Scores = Mapping[str, float]
"""Score of each piece that merges make, single characters among them."""


def segment(text: str, scores: Scores) -> list[str]:
    """The pieces that merging makes of a text: highest score first, then leftmost."""
    parts = list(text)
    while len(parts) > 1:
        best, place = None, 0
        for i in range(len(parts) - 1):
            score = scores.get(parts[i] + parts[i + 1])
            if score is not None and (best is None or score > best):
                best, place = score, i
        if best is None:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def without_split(words: Sequence[str], scores: Scores) -> list[str]:
    """The words that are not two pieces side by side, whatever the pieces' scores."""
    return [
        word
        for word in words
        if not any(word[:cut] in scores and word[cut:] in scores for cut in range(1, len(word)))
    ]


@dataclass(frozen=True)
class Selection:
    """Words that fit, most frequent first; pieces added only to reach them; words left out."""

    words: list[str]
    bridges: list[str]
    dropped: list[str]


class Selector:
    """Chooses words for `slots` free places behind pieces of the given scores.

    Words and bridges get falling scores in this order, below `lowest`: that order is the order of
    their ids.
    """

    def __init__(self, scores: Scores, lowest: float, ranked: Sequence[str], slots: int) -> None:
        """`ranked`: distinct words that are no pieces yet, most frequent first."""
        self._base, self._lowest = scores, lowest
        self._ranked, self._slots = ranked, slots

    def _with(self, pieces: Sequence[str]) -> dict[str, float]:
        added = {piece: self._lowest - place for place, piece in enumerate(pieces, 1)}
        return {**self._base, **added}

    def without_split(self) -> list[str]:
        """Words among the first `slots` that have no split into two pieces of base and words."""
        words = self._ranked[: self._slots]
        return without_split(words, self._with(words))

    def drop(self) -> Selection:
        """Leave out words that cannot be reached, and give their places to the next ones."""
        dropped: dict[str, None] = {}
        while True:
            left = (word for word in self._ranked if word not in dropped)
            words = [word for word, _ in zip(left, range(self._slots), strict=False)]
            scores = self._with(words)
            lost = [word for word in words if segment(word, scores) != [word]]
            if not lost:
                return Selection(words, [], list(dropped))
            dropped.update(dict.fromkeys(lost))

    def bridge(self) -> Selection:
        """Add the pieces that are missing on the way to a word: its parts joined from the left.

        They come behind all words, so that they fire only where nothing else can, and change the
        way to no word that was reached without them.
        """
        count = min(self._slots, len(self._ranked))
        while True:
            words = list(self._ranked[:count])
            bridges = self._bridges(words)
            if len(words) + len(bridges) <= self._slots:
                break
            count = min(count - 1, self._slots - len(bridges))
        # A place or two may be left over: for the next words that need no bridge.
        for word in self._ranked[count:]:
            if len(words) + len(bridges) == self._slots:
                break
            if word not in bridges and self._bridges([*words, word]) == bridges:
                words.append(word)
        return Selection(words, bridges, [])

    def _bridges(self, words: Sequence[str]) -> list[str]:
        scores = self._with(words)
        bridges: dict[str, None] = {}
        for word in words:
            parts = segment(word, scores)
            while len(parts) > 1:
                joined = parts[0] + parts[1]
                bridges[joined] = None
                scores[joined] = self._lowest - len(words) - len(bridges)
                parts = segment(word, scores)
        return list(bridges)
