"""Documents of the example crawl, and a small vocabulary trained on them once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from skywright.tokenizer import Tokenizer, TokenizerConfig, train

CRAWL = Path(__file__).parents[2] / "examples" / "crawl"
FILES = {
    "zh_wiki.jsonl.gz": "zh-Hans",
    "en_blogs.jsonl.gz": "en",
    "zh_poetry.jsonl.gz": "zh-Hant",
    "zh_javaguide.jsonl.gz": "zh-Hans",
}
SMALL = TokenizerConfig(vocab_size=3000, sample_bytes="600 kB", character_coverage=0.98)


def read_documents() -> list[tuple[str, str, str]]:
    """The first 120 documents of each file: language, source, text."""
    found = []
    for name, lang in FILES.items():
        with gzip.open(CRAWL / name, "rt", encoding="utf-8") as stream:
            for _, line in zip(range(120), stream, strict=False):
                found.append((lang, name, json.loads(line)["text"]))
    return found


@pytest.fixture(scope="session")
def documents() -> list[tuple[str, str, str]]:
    return read_documents()


@pytest.fixture(scope="session")
def folder(documents, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("vocabulary") / "made"
    train(SMALL, documents, out)
    return out


@pytest.fixture(scope="session")
def tokenizer(folder) -> Tokenizer:
    return Tokenizer.load(folder)
