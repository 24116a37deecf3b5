from pathlib import Path

import pytest

from tests.train.small import Small, make


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Small:
    folder: Path = tmp_path_factory.mktemp("small")
    make(folder)
    return Small(folder)


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    small.train(out)
    return out
