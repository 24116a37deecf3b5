import logging
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright import checkpoint
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder

MODEL = ModelConfig(vocab_size=50, hidden=16, layers=1, heads=2, ffn_hidden=24, context_tokens=16)


def tensors(value: float = 1.0):
    return {
        "weights": {"a.weight": torch.full((3, 4), value), "b": torch.arange(5.0) * value},
        "exp_avg": {"a.weight": torch.full((3, 4), -value)},
    }


def saved(folder, step, value=1.0):
    path = folder / checkpoint.name_of(step)
    checkpoint.save(path, tensors(value), {"step": step})
    return path


def test_what_is_saved_is_loaded_in_place_to_the_bit(tmp_path):
    path = saved(tmp_path, 3, 1 / 3)
    empty = tensors(0.0)
    held = empty["weights"]["a.weight"]
    assert checkpoint.load(path, empty) == {"step": 3}
    assert torch.equal(held, tensors(1 / 3)["weights"]["a.weight"])
    assert torch.equal(empty["exp_avg"]["a.weight"], tensors(1 / 3)["exp_avg"]["a.weight"])


def test_a_part_can_be_loaded_alone(tmp_path):
    path = saved(tmp_path, 3, 2.0)
    part = {"weights": {"b": torch.zeros(5)}}
    checkpoint.load(path, part)
    assert torch.equal(part["weights"]["b"], torch.arange(5.0) * 2)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"weights": {"c": torch.zeros(1)}}, "weights.c: absent"),
        ({"weights": {"b": torch.zeros(6)}}, r"weights.b: of shape \(5,\)"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, wanted, message):
    with pytest.raises(UserError, match=message):
        checkpoint.load(saved(tmp_path, 1), wanted)


def torn(path, how):
    if how == "no seal":
        (path / "COMPLETE").unlink()
    elif how == "half a seal":
        (path / "COMPLETE").write_text('{".metadata": "')
    elif how == "missing file":
        next(path.glob("*.distcp")).unlink()
    elif how == "short file":
        file = next(path.glob("*.distcp"))
        file.write_bytes(file.read_bytes()[:-7])
    elif how == "other state":
        (path / "trainer.json").write_text('{"step": 7}')


TEARS = ["no seal", "half a seal", "missing file", "short file", "other state"]


@pytest.mark.parametrize("how", TEARS)
def test_a_torn_checkpoint_is_passed_over_aloud_and_refused_by_name(tmp_path, caplog, how):
    good, bad = saved(tmp_path, 9), saved(tmp_path, 10)
    torn(bad, how)
    with caplog.at_level(logging.WARNING, logger="skywright.checkpoint"):
        assert checkpoint.latest(tmp_path) == good
    assert "step-00000010 is passed over" in caplog.text
    with pytest.raises(UserError, match="not a usable checkpoint"):
        checkpoint.load(bad, tensors())
    checkpoint.save(bad, tensors(5.0), {"step": 10})
    assert checkpoint.latest(tmp_path) == bad
    assert checkpoint.read_state(bad) == {"step": 10}


@settings(max_examples=30, deadline=None)
@given(which=st.integers(0, 2), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_one_changed_byte_anywhere_is_noticed(tmp_path_factory, which, where, flip):
    path = saved(tmp_path_factory.mktemp("one"), 1)
    file = sorted(p for p in path.iterdir() if p.name != "COMPLETE")[which]
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= flip
    file.write_bytes(content)
    assert checkpoint.problem(path) == f"{file.name} differs from its checksum in COMPLETE"


def test_the_newest_is_by_step_not_by_name_length_or_time(tmp_path):
    for step in (90, 100, 8):
        saved(tmp_path, step)
    assert checkpoint.latest(tmp_path) == tmp_path / "step-00000100"
    assert checkpoint.latest(tmp_path / "absent") is None


def test_an_intact_checkpoint_is_not_written_again(tmp_path):
    path = saved(tmp_path, 4, 1.0)
    checkpoint.save(path, tensors(2.0), {"step": 4})
    again = tensors(0.0)
    checkpoint.load(path, again)
    assert torch.equal(again["weights"]["b"], torch.arange(5.0))


def test_keep_leaves_the_newest_and_the_named_ones_and_never_counts_what_lies_ahead(tmp_path):
    for step in (1, 2, 3, 4):
        saved(tmp_path, step)
    torn(saved(tmp_path, 9), "no seal")
    deleted = checkpoint.keep(tmp_path, "step-00000004", 1, ["step-00000002"])
    assert deleted == ["step-00000001", "step-00000003"]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["step-00000002", "step-00000004", "step-00000009"]


def test_what_a_writer_has_not_finished_is_never_read(tmp_path):
    good = saved(tmp_path, 1)
    shutil.copytree(good, tmp_path / ".tmp-step-00000002.abc")
    assert checkpoint.latest(tmp_path) == good


def test_a_model_is_read_from_a_checkpoint_by_itself(tmp_path):
    model = Decoder(MODEL)
    model.initialise(1)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    path = tmp_path / "step-00000001"
    checkpoint.save(path, {"weights": weights}, {"model": MODEL.model_dump(mode="json")})
    again = checkpoint.load_model(path).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in model.state_dict().items())
    with pytest.raises(UserError, match="neither a checkpoint nor a Hugging Face folder"):
        checkpoint.load_model(tmp_path)
