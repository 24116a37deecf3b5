"""Pages whose main content is known, and how near an extracted text comes to it.

Four sets; each page has its gold text, its site (so that folds keep sites together) and its HTML:

- `en_web`: 181 pages of scrapinghub/article-extraction-benchmark (MIT), with its gold;
- `zh_web`, `zh_docs`, `en_docs`: 29 Chinese web pages, 35 pages of Chinese manuals, 24 of English
  manuals and reference pages, labelled line by line for this project, before any model was trained;
  the labels stand in tests/corpus/extract/labels.json, the pages in the shared WARC files and in
  Debian packages (`apt-get download NAME`, `dpkg -x` into a folder NAME).

Score: multisets of 4-grams of mixed tokens; precision and recall of a page are averaged over pages,
F1 is their harmonic mean, as scrapinghub's benchmark does it.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pyarrow as pa

from skywright.corpus import kernels
from skywright.corpus.charset import decode
from skywright.corpus.extract.own import page_lines
from skywright.corpus.sources.warc import read_warc_file

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
ARTICLES = DATA / "extraction" / "article_extraction_benchmark_181.jsonl.gz"
LABELS = ROOT / "tests" / "corpus" / "extract" / "labels.json"
NGRAM = 4
_LIMIT = 8 << 20


@dataclass
class Page:
    """name: address or path; kept: whether each line is main content (None: gold is text alone)."""

    set: str
    name: str
    site: str
    html: str
    gold: str
    kept: np.ndarray | None = None
    tokens: list[int] = field(default_factory=list)  # of the gold


def lines_of(html: str) -> list[str]:
    """Text of every line of a page."""
    found = page_lines(html)
    text = found.text.tobytes()
    return [text[a:b].decode() for a, b in zip(found.starts, found.ends, strict=True)]


def mask(ranges: str, count: int) -> np.ndarray:
    """Bool (count) of line numbers written as "3 5-9"."""
    found = np.zeros(count, bool)
    for part in ranges.split():
        first, _, last = part.partition("-")
        found[int(first) : int(last or first) + 1] = True
    return found


def ranges(found: np.ndarray) -> str:
    """The inverse of `mask`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], found, [False]]).astype(np.int8)))
    spans = zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
    return " ".join(f"{a}-{b}" if a < b else str(a) for a, b in spans)


def token_lists(texts: Sequence[str]) -> list[list[int]]:
    """Hashes of the mixed tokens of each text."""
    found: list[list[int]] = []
    for view in kernels.views(pa.array(texts, pa.string())):
        tokens = kernels.tokens(view)
        bounds = zip(tokens.offsets, tokens.offsets[1:], strict=False)
        found += [tokens.hashes[a:b].tolist() for a, b in bounds]
    return found


def grams(tokens: list[int]) -> Counter[tuple[int, ...]]:
    """4-grams with their counts; a shorter text is one gram."""
    if not tokens:
        return Counter()
    places = range(max(1, len(tokens) - NGRAM + 1))
    return Counter(tuple(tokens[i : i + NGRAM]) for i in places)


def overlap(found: list[int], gold: list[int]) -> tuple[float, float]:
    """(precision, recall); nothing found where nothing is to be found is right."""
    ours, theirs = grams(found), grams(gold)
    common = sum((ours & theirs).values())
    return (
        common / sum(ours.values()) if ours else float(not theirs),
        common / sum(theirs.values()) if theirs else float(not ours),
    )


def f1(pairs: np.ndarray) -> float:
    """F1 of (n, 2) precisions and recalls."""
    precision, recall = pairs.mean(axis=0)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def articles() -> Iterator[Page]:
    """The English web pages."""
    with gzip.open(ARTICLES, "rt") as file:
        for line in file:
            row = json.loads(line)
            site = urlparse(row["url"]).netloc.removeprefix("www.")
            yield Page("en_web", row["url"], site, row["html"], row["gold_text"])


def labelled(packages: Path | None) -> Iterator[Page]:
    """Pages with labels of our own; without a folder of packages those of the WARC files only."""
    in_warc: dict[tuple[str, str], tuple[bytes, str | None]] = {}
    for entry in json.loads(LABELS.read_text()):
        form, _, name = entry["page"].partition(":")
        if form == "deb":
            if packages is None:
                continue
            data = (packages / name / entry["url"].lstrip("/")).read_bytes()
            html = decode(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data, None).text
            site = re.sub(r"-zh-(cn|tw)$|-zh$", "", name)
        else:
            if not any(key[0] == name for key in in_warc):
                for record in read_warc_file(DATA / "warc" / name, "gold", _LIMIT):
                    if record.payload and record.url:
                        in_warc[name, record.url] = (record.payload, record.charset)
            payload, charset = in_warc[name, entry["url"]]
            html, site = decode(payload, charset).text, _site(entry["url"])
        lines = lines_of(html)
        if len(lines) != entry["lines"]:
            raise ValueError(
                f"{entry['url']}: {len(lines)} lines, but {entry['lines']} in its label"
            )
        kept = mask(entry["kept"], len(lines))
        text = "\n".join(line for line, keep in zip(lines, kept, strict=True) if keep)
        yield Page(entry["set"], entry["url"], site, html, text, kept)


def _site(url: str) -> str:
    """Host of a page; the pages of GeneralNewsExtractor share one, so their first folder."""
    parts = urlparse(url)
    if parts.netloc.startswith("gne-fixture"):
        return parts.path.split("/")[1]
    return ".".join(parts.netloc.split(".")[-3:]).removeprefix("www.").split(".", 1)[-1]


def load(packages: Path | None) -> list[Page]:
    """All pages that are there, with the tokens of their gold."""
    pages = [*articles(), *labelled(packages)]
    for page, tokens in zip(pages, token_lists([p.gold for p in pages]), strict=True):
        page.tokens = tokens
    return pages


def folds(pages: list[Page], count: int, seed: int) -> np.ndarray:
    """Fold int (n) of every page; a site is in one fold only."""
    sites = sorted({page.site for page in pages})
    np.random.default_rng(seed).shuffle(sites)
    of_site = {site: i % count for i, site in enumerate(sites)}
    return np.array([of_site[page.site] for page in pages])
