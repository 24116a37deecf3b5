"""Documents of the example crawl and a small vocabulary trained on them once; the real LLaMA
model and lists, where they are beside the checkout, and the vocabulary grown from them once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece

from skywright.tokenizer import ExtendConfig, Tokenizer, TokenizerConfig, extend, train

CRAWL = Path(__file__).parents[2] / "examples" / "crawl"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
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


def write_parquet(path: Path, documents: list[tuple[str, str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"lang": lang, "source": source, "text": text} for lang, source, text in documents]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


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


# ---------------------------------------------------------------- LLaMA's, grown


@pytest.fixture(scope="session")
def lists() -> Path:
    """The folder with LLaMA's model, BERT's Chinese vocabulary and a list of words."""
    if not (SHARED / "tokenizer" / "llama2_tokenizer.model").is_file():
        pytest.skip("the LLaMA model and the lists are not beside this checkout")
    return SHARED / "tokenizer"


def skywork_config(lists: Path, **changes) -> TokenizerConfig:
    """Skywork's 65,536 ids."""
    ext = {
        "model": lists / "llama2_tokenizer.model",
        "characters": lists / "bert_base_chinese_vocab.txt",
        "words": lists / "wordfreq_zh_multichar_60k.tsv.gz",
    }
    return TokenizerConfig(vocab_size=65536, reserved=17, extend=ExtendConfig(**(ext | changes)))


@pytest.fixture(scope="session")
def grown_folder(lists, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("grown") / "skywork"
    extend(skywork_config(lists), [], out)
    return out


@pytest.fixture(scope="session")
def grown(grown_folder) -> Tokenizer:
    return Tokenizer.load(grown_folder)


@pytest.fixture(scope="session")
def grown_model(grown_folder) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(grown_folder / "tokenizer.model"))


@pytest.fixture(scope="session")
def llama(lists) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(lists / "llama2_tokenizer.model"))
