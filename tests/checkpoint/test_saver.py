import logging

import pytest
import torch

from skywright import checkpoint
from skywright.checkpoint import Saver

NAMES = [checkpoint.name_of(step) for step in range(1, 6)]


def tensors(value, size=4):
    return {"weights": {"w": torch.full((size,), float(value))}}


def checked_until_it_raises(saver):
    while True:
        saver.check()


def failing(folder, error=None):
    """Leave a saver whose save is about to fail, with an error of one's own or without."""
    with Saver(folder, 1, asynchronous=True) as saver:
        saver.save(NAMES[0], tensors(0), {}, beside=[folder / "absent"])
        if error is not None:
            raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_newest_and_the_named_ones_stay(tmp_path, asynchronous):
    with Saver(tmp_path, 2, asynchronous) as saver:
        for step, name in enumerate(NAMES):
            saver.save(name, tensors(step), {"step": step}, always=[NAMES[1]])
    assert names(tmp_path) == [NAMES[1], NAMES[3], NAMES[4]]
    assert checkpoint.read_state(tmp_path / NAMES[4]) == {"step": 4}


def test_what_is_saved_behind_training_is_what_stood_when_it_was_asked_for(tmp_path):
    # 80 MB take far longer to write than to overwrite.
    held, state = tensors(1.0, 20_000_000), {"step": 1, "window": [1, 2]}
    with Saver(tmp_path, 1, asynchronous=True) as saver:
        saver.save(NAMES[0], held, state)
        held["weights"]["w"].fill_(7.0)
        state["window"].append(3)
        assert not (tmp_path / NAMES[0]).exists()
        saver.wait()
    stored = tensors(0.0, 20_000_000)
    assert checkpoint.load(tmp_path / NAMES[0], stored) == {"step": 1, "window": [1, 2]}
    assert torch.equal(stored["weights"]["w"], torch.full((20_000_000,), 1.0))


def test_one_save_is_in_flight_at_most(tmp_path):
    with Saver(tmp_path, 5, asynchronous=True) as saver:
        saver.save(NAMES[0], tensors(0, 5_000_000), {"step": 0})
        saver.save(NAMES[1], tensors(1), {"step": 1})
        assert checkpoint.problem(tmp_path / NAMES[0]) is None
    assert names(tmp_path) == NAMES[:2]


def test_a_save_that_failed_raises_at_the_next_call_and_removes_nothing(tmp_path):
    with Saver(tmp_path, 1, asynchronous=True) as saver:
        saver.save(NAMES[0], tensors(0), {})
        saver.wait()
        saver.save(NAMES[1], tensors(1), {}, beside=[tmp_path / "absent"])
        with pytest.raises(FileNotFoundError):
            checked_until_it_raises(saver)
        assert names(tmp_path) == NAMES[:1]
        saver.save(NAMES[2], tensors(2), {})
    assert names(tmp_path) == [NAMES[2]]


def test_leaving_raises_a_failure_unless_another_error_is_on_its_way(tmp_path, caplog):
    with pytest.raises(FileNotFoundError):
        failing(tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="first"):
        failing(tmp_path, ValueError("first"))
    assert "could not be saved" in caplog.text
