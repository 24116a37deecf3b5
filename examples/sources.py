"""Read the sources of the example crawl: documents as rows with the crawl's fields."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text

SEED = 20231020
FIELDS = ("id", "url", "title", "date", "source", "license", "text")
GSM8K_LICENCE = "MIT (openai/grade-school-math)"
CPYTHON = "3.11.7"
CODE_BYTES = 1_500_000
HANDBOOK_LICENCE = "GPL-2+ or CC BY-SA 3.0 (Debian Administrator's Handbook)"
Row = dict[str, Any]


def by_hash(items: Iterable[Any], name: Callable[[Any], str]) -> list[Any]:
    """The items in order of the SHA-256 of seed and name."""
    return sorted(items, key=lambda i: hashlib.sha256(f"{SEED}:{name(i)}".encode()).digest())


def read_rows(path: Path) -> list[Row]:
    """A source's documents with the fields of the crawl; an open date interval keeps its month."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    for row in rows:
        if row["date"] and row["date"].endswith(".."):
            row["date"] = row["date"][:7]
    return [{field: row[field] for field in FIELDS} for row in rows]


def pep_url(row: Row) -> str:
    """The page of a Python Enhancement Proposal."""
    return f"https://peps.python.org/{row['title'].removesuffix('.rst')}/"


def zh_wiki_url(row: Row) -> str | None:
    """The page of a Chinese Wikipedia article, by its title."""
    title = row["title"].strip().replace(" ", "_")
    return f"https://zh.wikipedia.org/wiki/{quote(title)}" if title else None


def read_code(library: Path) -> list[Row]:
    """Modules of the Python standard library that carry no copyright notice of their own.

    Packages of tests and generated tables are left out, then modules are taken by hash of their
    path up to `CODE_BYTES`; listed in order of path.
    """
    left_out = {"test", "tests", "idlelib", "lib2to3", "encodings", "pydoc_data", "site-packages"}
    left_out |= {"turtledemo", "ensurepip", "__pycache__", "distutils"}
    modules = []
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library)
        if left_out & set(name.parts) or name.name.startswith("_sysconfigdata"):
            continue
        text = path.read_text(encoding="utf-8")
        if 300 <= len(text) <= 60_000 and "copyright" not in text.lower():
            modules.append((name.as_posix(), text))
    rows: list[Row] = []
    total_bytes = 0
    for name, text in by_hash(modules, lambda module: module[0]):
        total_bytes += len(text.encode())
        if total_bytes > CODE_BYTES:
            break
        rows.append(
            {
                "id": f"cpython-{name}",
                "url": f"https://github.com/python/cpython/blob/v{CPYTHON}/Lib/{name}",
                "title": name,
                "date": "2023-12-04",
                "source": "cpython",
                "license": "PSF-2.0 (python/cpython)",
                "text": text,
            }
        )
    return sorted(rows, key=lambda row: row["id"])


def read_gsm8k(path: Path, split: str) -> list[Row]:
    """Question, newline, answer."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        items = [json.loads(line) for line in stream]
    return [
        {
            "id": f"gsm8k-{split}-{number:05d}",
            "url": None,
            "title": None,
            "date": "2021-10",
            "source": "gsm8k",
            "license": GSM8K_LICENCE,
            "text": f"{item['question']}\n{item['answer']}",
        }
        for number, item in enumerate(items)
    ]


def read_handbook(path: Path) -> dict[str, dict[str, Row]]:
    """Pages of the Debian handbook: language, then page name, to the page's main text."""
    pages: dict[str, dict[str, Row]] = defaultdict(dict)
    with open(path, "rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
            url = record.headers["WARC-Target-URI"]
            match = re.search(r"/browse/(?:([a-z]{2}-[A-Z]{2})/)?stable/(.+)$", url)
            if not match:
                continue
            text = extract_plain_text(record.reader.read().decode(), main_content=True)
            pages[match[1] or "en"][match[2]] = {
                "id": url,
                "url": url,
                "title": match[2],
                "date": record.headers["WARC-Date"][:10],
                "source": "debian_handbook",
                "license": HANDBOOK_LICENCE,
                "text": text.removeprefix("Product SiteDocumentation Site").strip(),
            }
    return pages


def han_share(text: str) -> float:
    """Han characters over Han and Latin letters: many translated pages are partly English."""
    han = len(re.findall(r"[一-鿿]", text))
    return han / max(1, han + len(re.findall(r"[A-Za-z]", text)))
