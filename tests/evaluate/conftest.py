from __future__ import annotations

from pathlib import Path

import pytest

from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import write_llama


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with a context that every test document fits."""
    return write_llama(tmp_path_factory.mktemp("wide"), context=512)


@pytest.fixture(scope="session")
def tokenizer(llama: Path) -> Tokenizer:
    return Tokenizer.load(llama)
