"""GGUF files through llama.cpp itself; run where llama-cpp-python is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skywright.engine.files import sha256_file
from skywright.errors import UserError
from skywright.evaluate.backends import Backend, open_backend
from skywright.evaluate.backends.llama_library import library
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.doctor import examine
from skywright.evaluate.protocols import Protocol, protocol_hash, protocol_record
from skywright.evaluate.score import score
from skywright.evaluate.store import Store
from skywright.tokenizer import Tokenizer
from tests.evaluate.packaged import PACKAGED, NotInstalledError
from tests.evaluate.tiny import TEXTS, make, write_llama
from tests.evaluate.tiny_gguf import write_gguf

MISSING = [
    name for name in ("llama_cpp", "gguf", "accelerate") if importlib.util.find_spec(name) is None
]
needs_llama = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: skywright[llama-cpp,gguf]"
)
CONTEXT = 700


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("source") / "m", context=CONTEXT)


def llama(path: Path, **options: object) -> Backend:
    return open_backend(f"llama-cpp+{path}", options=BackendOptions.model_validate(options))


def unpacked(path: Path, cache: Path) -> Backend:
    return open_backend(path, options=BackendOptions(cache=cache))


def windows_of(backend: Backend, texts: Sequence[str] = TEXTS) -> list[np.ndarray]:
    return [np.concatenate([[backend.start_token_id], backend.encode(t).ids]) for t in texts]


def long_window(tokens: int) -> np.ndarray:
    return np.random.default_rng(0).integers(3, 400, tokens)


def losses(backend: Backend, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    return backend.token_nll(windows, [1] * len(windows))


@needs_llama
def test_a_file_in_full_precision_costs_what_transformers_says_of_it(
    folder: Path, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    found, expected = llama(path), unpacked(path, tmp_path / "cache")
    assert (found.name, found.dtype, found.device_kind) == ("llama-cpp", "all F32", "cpu")
    assert (found.vocab_size, found.context_tokens, found.start_token_id) == (400, CONTEXT, 1)
    assert found.fingerprint == sha256_file(path)
    assert found.frame == expected.frame
    for text in TEXTS:
        own, theirs = found.encode(text), expected.encode(text)
        assert np.array_equal(own.ids, theirs.ids)
        assert np.array_equal(own.byte_ends, theirs.byte_ends)
        assert (own.lossy, own.aligned) == (False, True)
    # One window goes through in three parts; what is not scored of it is not needed for the rest.
    windows = [*windows_of(found), long_window(CONTEXT + 1)]
    first = [1] * (len(windows) - 1) + [400]
    pairs = zip(found.token_nll(windows, first), expected.token_nll(windows, first), strict=True)
    for one, other in pairs:
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-3, rtol=0)


@needs_llama
def test_a_window_costs_the_same_whatever_was_scored_before_it(
    folder: Path, tmp_path: Path
) -> None:
    backend = llama(write_gguf(tmp_path / "m.gguf", folder, "Q8_0"))
    windows = [*windows_of(backend), long_window(300), long_window(600)]
    together = losses(backend, windows)
    for order in ([*range(len(windows))][::-1], [7, 0, 6, 0, 1, 7]):
        for place, again in zip(order, losses(backend, [windows[i] for i in order]), strict=True):
            assert np.array_equal(again, together[place])
    for place, window in enumerate(windows):
        assert np.array_equal(losses(backend, [window])[0], together[place])


@needs_llama
def test_a_window_beyond_the_context_is_refused(folder: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    with pytest.raises(UserError, match=f"a window of {CONTEXT + 1} tokens"):
        losses(llama(path), [long_window(CONTEXT + 2)])
    shorter = llama(path, context_tokens=16)
    assert len(losses(shorter, [long_window(17)])[0]) == 16
    with pytest.raises(UserError, match="the context is 16"):
        losses(shorter, [long_window(18)])


@needs_llama
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_1"])
def test_blocks_are_computed_as_llama_cpp_does_and_kept_apart_from_unpacked_ones(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder, kind)
    found, dequantised = llama(path), unpacked(path, tmp_path / "cache")
    windows = windows_of(found)
    one, other = (np.concatenate(losses(b, windows)) for b in (found, dequantised))
    # Activations are rounded too (to 11 bits, or to 8 in blocks): near, and not the same.
    assert 1e-6 < np.abs(one - other).mean() < 0.05
    record = protocol_record(Protocol(), found, "reference")
    assert (record["backend"], record["dtype"]) == ("llama-cpp", kind)
    assert record["llama-cpp-python"] == library().version
    assert protocol_hash(Protocol(), found, "r") != protocol_hash(Protocol(), dequantised, "r")
    store, reference = Store(tmp_path / "store"), Tokenizer.load(folder)
    tables = [score(b, make(TEXTS), Protocol(), reference, store) for b in (found, dequantised)]
    assert tables[0]["nll_nats"] != tables[1]["nll_nats"]
    assert tables[0].equals(score(llama(path), make(TEXTS), Protocol(), reference, store))


@needs_llama
def test_the_doctor_finds_nothing_to_refuse(folder: Path, tmp_path: Path) -> None:
    report = examine(llama(write_gguf(tmp_path / "m.gguf", folder, "Q8_0")), "m")
    verdicts = {check.name: check.verdict for check in report.checks}
    assert not report.refusals
    assert {verdicts[name] for name in ("vocabulary", "start token", "round trip")} == {"pass"}
    assert {verdicts[name] for name in ("reads left", "batch", "padding")} == {"pass"}
    assert report.noise_floor is not None
    assert report.noise_floor.batch.max() == 0.0
    assert verdicts["dtype"] == "skip"


@needs_llama
def test_another_tokenizer_can_be_named_and_is_part_of_the_identity(
    folder: Path, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    own, other = llama(path), llama(path, tokenizer=folder)
    for one, two in zip(windows_of(own), windows_of(other), strict=True):
        assert np.array_equal(one, two)
    assert own.fingerprint != other.fingerprint
    small = write_llama(tmp_path / "large", context=64, vocab_size=500)
    with pytest.raises(UserError, match="not of one model"):
        llama(path, tokenizer=small)


@needs_llama
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_cut_file_is_refused(folder: Path, tmp_path: Path, share: float) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cannot read this file \(.*; copy it again"):
        losses(llama(path), [long_window(8)])


@needs_llama
def test_a_file_without_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder, weights=False)
    with pytest.raises(UserError, match="holds a vocabulary and no weights"):
        llama(path)


@needs_llama
def test_weights_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = write_llama(tmp_path / "broken", context=64)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    backend = llama(write_gguf(tmp_path / "m.gguf", broken))
    with pytest.raises(UserError, match="cannot read this file"):
        losses(backend, [long_window(8)])


@needs_llama
@pytest.mark.parametrize(("device", "dtype"), [("cuda", "float32"), ("cpu", "bfloat16")])
def test_another_device_or_dtype_is_refused(
    folder: Path, tmp_path: Path, device: str, dtype: str
) -> None:
    path = write_gguf(tmp_path / "m.gguf", folder)
    with pytest.raises(UserError, match=f"not on {device} in {dtype}"):
        open_backend(f"llama-cpp+{path}", device, dtype)


def test_without_the_extra_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skywright.evaluate.backends.llama.library", library.__wrapped__)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'skywright\[llama-cpp\]'"):
        llama(tmp_path / "m.gguf")


@needs_llama
@pytest.mark.full
@pytest.mark.parametrize("model", PACKAGED.values(), ids=PACKAGED)
def test_a_pretrained_model_has_the_ids_and_nearly_the_losses_of_its_unpacked_self(
    model: Callable[[Path], Path], tmp_path: Path
) -> None:
    try:
        path = model(tmp_path)
    except NotInstalledError as error:
        pytest.skip(str(error))
    found, expected = llama(path), unpacked(path, tmp_path / "cache")
    windows = windows_of(found)
    for one, other in zip(windows, windows_of(expected), strict=True):
        assert np.array_equal(one, other)
    one, other = (np.concatenate(losses(b, windows)) for b in (found, expected))
    assert abs(one.mean() - other.mean()) < 0.05
