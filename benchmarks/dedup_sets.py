"""Documents with planted near copies, in English and Chinese, and what is true of them.

Real paragraphs of the example crawl are drawn into documents; each may get copies: edited at random
places, cut short, or sharing a template (a header and a footer) with others that differ. Similarity
is not planned but measured: exactly, between all documents, by plain Python n-gram sets that share
no code with the product.
"""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

WIDTH = 5  # tokens of an n-gram
REMOVE, FIND = 0.8, 0.85  # a removal is right from the first on; the second should be found
TEMPLATES, OF_TEMPLATE = 12, 24  # families whose members share 60 to 79 % of their n-grams
LENGTH = (7.6, 0.7)  # of a document, log of characters: median 2,000, a tenth above 4,900

Texts = dict[str, list[str]]


def tokens(text: str) -> list[str]:
    """Han characters one by one, runs of letters and digits whole; NFKC and lower case."""
    found, run = [], ""
    for c in unicodedata.normalize("NFKC", text).lower() + " ":
        han = "\u4e00" <= c <= "\u9fff" or "\u3400" <= c <= "\u4dbf"
        if c.isalnum() and not han:
            run += c
            continue
        if run:
            found.append(run)
            run = ""
        if han:
            found.append(c)
    return found


def grams(text: str) -> set[int]:
    """64-bit hashes of the n-grams of a text."""
    t = tokens(text)
    parts = [" ".join(t[i : i + WIDTH]) for i in range(max(1, len(t) - WIDTH + 1))]
    return {
        int.from_bytes(hashlib.blake2b(p.encode(), digest_size=8).digest(), "little") for p in parts
    }


class Similarities:
    """Exact Jaccard similarities, from .5 up, between all documents of a set."""

    def __init__(self, texts: Sequence[str]) -> None:
        sets = [grams(text) for text in texts]
        sizes = np.array([len(s) for s in sets])
        every = np.fromiter((g for s in sets for g in s), np.uint64, sizes.sum())
        _, columns, counts = np.unique(every, return_inverse=True, return_counts=True)
        rows = np.repeat(np.arange(len(texts)), sizes)
        shared = counts[columns] > 1
        data = (np.ones(shared.sum(), np.int32), (rows[shared], columns[shared]))
        matrix = scipy.sparse.csr_matrix(data, (len(texts), len(counts)))
        common = (matrix @ matrix.T).tocoo()
        keep = common.row != common.col
        a, b, n = common.row[keep], common.col[keep], common.data[keep]
        value = n / (sizes[a] + sizes[b] - n)
        self.near: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for x, y, s in zip(a.tolist(), b.tolist(), value.tolist(), strict=True):
            if s >= 0.5:
                self.near[x].append((y, s))

    def judge(self, kept: set[int], order: Sequence[int]) -> dict[str, Any]:
        """Precision and recall of a decision: which documents it keeps.

        A removal is right if a kept document is at least .8 like it. A document should go if a
        kept one, before it in `order`, is at least .85 like it; with the removals of which the
        same is true that gives recall. `hard_removed`: documents whose nearest neighbour of all is
        below .8, removed all the same; of `hard` that have one at .6 or more.
        """
        n = len(order)
        right = found = missed = hard = hard_removed = 0
        for d in range(n):
            near = [(o, s) for o, s in self.near[d] if o in kept]
            best = max((s for _, s in near), default=0.0)
            if d not in kept:
                right += best >= REMOVE
                found += best >= FIND
            elif any(s >= FIND and order[o] < order[d] for o, s in near):
                missed += 1
            nearest = max((s for _, s in self.near[d]), default=0.0)
            if 0.6 <= nearest < REMOVE:
                hard += 1
                hard_removed += d not in kept
        removed = n - len(kept)
        return {
            "removed": removed,
            "right": right,
            "precision": right / removed if removed else 1.0,
            "found": found,
            "missed": missed,
            "recall": found / (found + missed) if found + missed else 1.0,
            "hard": hard,
            "hard_removed": hard_removed,
        }


# ---------------------------------------------------------------- planting


def _words(text: str, lang: str) -> list[str]:
    return list(text) if lang == "zh" else text.split(" ")


def _joined(words: Sequence[str], lang: str) -> str:
    return ("" if lang == "zh" else " ").join(words)


def _edited(text: str, lang: str, share: float, stock: Sequence[str], draw: random.Random) -> str:
    """The text with that share of its words replaced, left out or doubled, at random places."""
    words = _words(text, lang)
    for _ in range(max(1, int(share * len(words)))):
        at = draw.randrange(len(words))
        kind = draw.random()
        if kind < 0.6:
            words[at] = draw.choice(stock)
        elif kind < 0.8 and len(words) > 20:
            del words[at]
        else:
            words.insert(at, draw.choice(stock))
    return _joined(words, lang)


def _cut(text: str, lang: str, share: float) -> str:
    words = _words(text, lang)
    return _joined(words[: max(20, int(len(words) * (1 - share)))], lang)


def planted(paragraphs: Mapping[str, Sequence[str]], seed: int = 1) -> Texts:
    """For each language documents with near copies among them, in random order."""
    result = {}
    for lang, group in paragraphs.items():
        draw = random.Random(f"{seed} {lang}")
        blocks = [p for p in dict.fromkeys(group) if len(tokens(p)) >= 40]
        draw.shuffle(blocks)
        stock = [w for p in blocks[:200] for w in _words(p, lang) if w.strip()]
        templates = [blocks.pop() for _ in range(2 * TEMPLATES)]
        documents = []
        while blocks:
            wanted, parts = draw.lognormvariate(*LENGTH), []
            while blocks and sum(map(len, parts)) < wanted:
                parts.append(blocks.pop())
            text = "\n".join(parts)
            documents.append(text)
            for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 4))):
                kind = draw.random()
                if kind < 0.65:
                    share = draw.choice((0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05))
                    documents.append(_edited(text, lang, share, stock, draw))
                else:
                    documents.append(_cut(text, lang, draw.uniform(0.02, 0.4)))
        for t in range(TEMPLATES):
            around = templates[2 * t : 2 * t + 2]
            shared = sum(len(tokens(part)) for part in around)
            for _ in range(OF_TEMPLATE):
                # Own words o beside s shared ones give s / (s + 2 o).
                own = int(shared * (1 / draw.uniform(0.62, 0.77) - 1) / 2)
                middle = _joined([draw.choice(stock) for _ in range(max(6, own))], lang)
                documents.append("\n".join((around[0], middle, around[1])))
        draw.shuffle(documents)
        result[lang] = documents
    return result
