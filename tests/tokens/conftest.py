"""A small real tokenizer and real documents as the corpus writes them."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "corpus"
FILES = {
    "zh_wiki": ("wiki", "zh-Hans"),
    "en_wiki_2024_06": ("wiki", "en"),
    "code_python_2024_06": ("code", "code"),
    "other_langs_wiki_2024_08": ("wiki", "other"),
}
DOCUMENTS_A_FILE = 60

SCHEMA = pa.schema(
    [
        ("id", pa.binary(16)),
        ("url", pa.string()),
        ("date", pa.string()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("text", pa.string()),
        ("meta", pa.string()),
    ]
)


class SmallTokenizer:
    """Byte-level BPE with as much of the tokenizer's interface as token building uses."""

    def __init__(self, texts: list[str]) -> None:
        model = tokenizers.Tokenizer(models.BPE())
        model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        model.train_from_iterator(texts, trainer)
        self._model = model
        self.vocab_size = model.get_vocab_size()
        self.bos_id = model.token_to_id("<s>")
        self.eos_id = model.token_to_id("</s>")
        self.fingerprint = hashlib.sha256(model.to_str().encode()).hexdigest()

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        found = self._model.encode_batch(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in found]

    def encode_column(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        found = self.encode_batch(texts.to_pylist())
        return np.concatenate(found), np.cumsum([0, *map(len, found)])


def write_documents(path: Path, rows: list[dict]) -> Path:
    filled = [
        {
            "id": hashlib.sha256(row["text"].encode()).digest()[:16],
            "url": None,
            "date": None,
            "meta": "{}",
            **row,
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(filled, schema=SCHEMA), path)
    return path


@pytest.fixture(scope="session")
def rows() -> dict[str, list[dict]]:
    """Real documents by file, as rows of the corpus."""
    if not DATA.is_dir():
        pytest.skip("the shared corpus samples are not beside this checkout")
    result = {}
    for name, (source, lang) in FILES.items():
        with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
            texts = [json.loads(line)["text"] for line in stream][:DOCUMENTS_A_FILE]
        result[name] = [{"source": source, "lang": lang, "text": text} for text in texts]
    return result


@pytest.fixture(scope="session")
def tokenizer(rows: dict[str, list[dict]]) -> SmallTokenizer:
    return SmallTokenizer([row["text"] for part in rows.values() for row in part[:20]])


@pytest.fixture(scope="session")
def documents(rows: dict[str, list[dict]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("documents")
    return [write_documents(folder / f"{name}.parquet", part) for name, part in rows.items()]
