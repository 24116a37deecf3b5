from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skywright.engine.files import sha256_file
from skywright.errors import UserError
from skywright.evaluate.backends import Backend, open_backend
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, make, write_llama
from tests.evaluate.tiny_gguf import write_gguf

MISSING = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
needs_extra = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install 'skywright[gguf]'"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "m", context=256)


def opened(path: Path, cache: Path, **options: object) -> Backend:
    return open_backend(path, options=BackendOptions.model_validate({"cache": cache, **options}))


def losses(backend: Backend) -> list[float]:
    windows = [
        np.concatenate([[backend.start_token_id], backend.encode(text).ids]) for text in TEXTS
    ]
    found = backend.token_nll(windows, [1] * len(windows))
    return [float(loss.sum(dtype=np.float64)) for loss in found]


@needs_extra
def test_a_file_in_full_precision_scores_as_the_folder_it_was_made_of(
    folder: Path, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    backend = opened(path, tmp_path / "cache")
    source = HFBackend(folder)
    for text in TEXTS:
        assert np.array_equal(backend.encode(text).ids, source.encode(text).ids)
    assert (backend.name, backend.dtype) == ("gguf", "float32")
    assert (backend.vocab_size, backend.context_tokens, backend.start_token_id) == (400, 256, 1)
    assert backend.fingerprint == sha256_file(path)
    np.testing.assert_allclose(losses(backend), losses(source), rtol=1e-5)
    reference = Tokenizer.load(folder)
    one, other = (score(b, make(TEXTS), Protocol(), reference) for b in (backend, source))
    np.testing.assert_allclose(one["nll_nats"], other["nll_nats"], rtol=1e-5)


@needs_extra
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16"])
def test_blocks_are_unpacked_to_the_values_that_they_stand_for(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    import gguf

    quants, named = gguf.quants, gguf.GGMLQuantizationType[kind]
    expected = write_llama(tmp_path / "expected", context=256)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if weight.ndim == 2:
            values = quants.dequantize(quants.quantize(weight, named), named)
            weights[name] = np.asarray(values, dtype=np.float32)
    save_file(weights, expected / "model.safetensors", metadata={"format": "pt"})
    backend = opened(write_gguf(tmp_path / "m.gguf", folder, kind), tmp_path / "cache")
    found = losses(backend)
    np.testing.assert_allclose(found, losses(HFBackend(expected)), rtol=1e-5)
    assert np.abs(np.array(found) - losses(HFBackend(folder))).max() > 1e-4


@needs_extra
def test_a_file_is_unpacked_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    first = losses(opened(path, tmp_path / "cache"))
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")}
    # A copy under another name is the same file; from now on the packages are not needed.
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert losses(opened(copy, tmp_path / "cache")) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")} == made
    monkeypatch.undo()
    other = write_gguf(tmp_path / "other.gguf", folder, "Q8_0")
    assert losses(opened(other, tmp_path / "cache")) != first


@needs_extra
def test_another_tokenizer_can_be_named_and_is_part_of_the_identity(
    folder: Path, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    own = opened(path, tmp_path / "cache")
    other = opened(path, tmp_path / "cache", tokenizer=folder)
    np.testing.assert_allclose(losses(own), losses(other), rtol=1e-6)
    assert own.fingerprint != other.fingerprint


@needs_extra
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_cut_file_is_refused_and_leaves_nothing_behind(
    folder: Path, tmp_path: Path, share: float
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match="cannot unpack this file"):
        opened(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        open_backend(tmp_path / "m.gguf")
    (tmp_path / "m.gguf").write_bytes(b"<html>")
    with pytest.raises(UserError, match="is no GGUF file"):
        open_backend(tmp_path / "m.gguf")
    (tmp_path / "m-00001-of-00003.gguf").write_bytes(b"GGUF....")
    with pytest.raises(UserError, match="join the parts"):
        open_backend(tmp_path / "m-00001-of-00003.gguf")


def test_without_the_extra_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF....")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'skywright\[gguf\]'"):
        opened(tmp_path / "m.gguf", tmp_path / "cache")
