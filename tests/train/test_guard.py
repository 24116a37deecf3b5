import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright import checkpoint
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.train.guard import Guard, GuardConfig, judge
from skywright.train.steps import Steps
from tests.train.faults import Noisy, NotFinite
from tests.train.small import SEGMENTS

SPIKES = {"window_steps": 8, "sigmas": 4.7}
QUICK = {"sets": [], "export_at_segment_ends": False}
BAD = 130  # a sample of step 17, whose eight are 128 to 135


def journal(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def known(lines):
    """Lines without the clock and the wording of reasons."""
    return [{k: v for k, v in x.items() if k not in ("tokens_per_s", "skipped")} for x in lines]


def noisy(*samples):
    return lambda loader: Noisy(loader, samples)


def poisoned(*samples):
    return lambda loader: Noisy(loader, samples, poison=True)


# ---------------------------------------------------------------- the verdict


def test_six_deviations_above_the_mean_are_a_spike_and_less_or_below_is_none():
    config = GuardConfig(spike="skip", window_steps=8)
    losses, norms = [1.0, 3.0, 1.0, 3.0], [1.0, 1.1, 1.0, 1.1]  # means 2 and 1.05
    deviation = 2 / 3**0.5
    assert judge(config, losses, norms, 2 + 5.9 * deviation, 1.0).action == "apply"
    spike = judge(config, losses, norms, 2 + 6.1 * deviation, 1.0)
    assert (spike.action, "the loss is" in spike.reason) == ("skip", True)
    assert judge(config, losses, norms, -100.0, 0.0).action == "apply"
    spike = judge(config, losses, norms, 2.0, 3.0)
    assert (spike.action, "gradient" in spike.reason) == ("skip", True)


def test_spikes_are_looked_for_once_half_the_window_is_filled_and_only_if_asked():
    config = GuardConfig(spike="stop", window_steps=128)
    assert judge(config, [1.0] * 63, [1.0] * 63, 99.0, 1.0).action == "apply"
    assert judge(config, [1.0] * 64, [1.0] * 64, 99.0, 1.0).action == "stop"
    assert judge(GuardConfig(), [1.0] * 128, [1.0] * 128, 99.0, 1.0).action == "apply"


@given(
    st.sampled_from(["stop", "skip", "rollback"]),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.booleans(),
)
def test_what_is_not_finite_is_judged_at_any_time_by_its_policy(policy, value, in_loss):
    verdict = judge(
        GuardConfig(not_finite=policy),
        [],
        [],
        value if in_loss else 1.0,
        1.0 if in_loss else value,
    )
    assert verdict.action == policy
    assert str(value) in verdict.reason


@given(
    st.lists(
        st.tuples(st.floats(0, 10) | st.just(float("nan")) | st.floats(50, 1000), st.floats(0, 5)),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 59),
)
def test_a_guard_restored_from_json_decides_as_the_one_that_went_on(numbers, at):
    steps = Steps([64 * 4, 256], [4, 4], 16)
    config = GuardConfig(not_finite="skip", spike="skip", window_steps=8, max_skips=100)

    def run(guard, first, stop):
        actions = []
        for number in range(first, stop):
            step, (loss, norm) = steps[number + 1], numbers[number]
            verdict = guard.judge(step, loss, norm, 0)
            actions.append(verdict)
            if verdict.action == "apply":
                guard.applied(loss, norm)
            else:
                guard.skip(step, verdict.reason, loss, norm)
        return actions

    at = min(at, len(numbers))
    whole, first = Guard(config), Guard(config)
    expected = run(whole, 0, len(numbers))
    found = run(first, 0, at)
    again = Guard(config)
    again.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert found + run(again, at, len(numbers)) == expected
    assert again.state() == whole.state()


# ---------------------------------------------------------------- skip


@pytest.fixture(scope="module")
def skipping(small, tmp_path_factory):
    """A run that skips one spike, with a checkpoint after every step."""
    out = tmp_path_factory.mktemp("skipping") / "run"
    small.train(
        out, loader_wrapper=noisy(BAD), guard=SPIKES | {"spike": "skip"}, keep=100,
        checkpoint_every=256, **QUICK,
    )  # fmt: skip
    return out


def test_a_skipped_step_touches_neither_weights_nor_optimizer(skipping):
    def stored(step):
        path = skipping / "checkpoints" / checkpoint.name_of(step)
        return [p.read_bytes() for p in sorted(path.glob("*.distcp"))]

    assert stored(16) == stored(17)
    assert stored(15) != stored(16)


def test_a_skipped_step_is_told_with_its_samples_and_its_loss(skipping):
    lines = journal(skipping / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 42))
    (line,) = [line for line in lines if "skipped" in line]
    assert (line["step"], line["samples"]) == (17, [128, 135])
    assert line["loss_nats"] > 6
    assert "standard deviations" in line["skipped"]
    state = checkpoint.read_state(skipping / "checkpoints" / "step-00000041")
    (entry,) = state["guard"]["skipped"]
    assert (entry["step"], entry["first_sample"], entry["last_sample"]) == (17, 128, 135)
    assert entry["loss_nats"] == line["loss_nats"]
    assert read_json(skipping / "summary.json")["skipped"] == [entry]


def test_a_model_that_gives_nan_is_skipped_and_the_run_ends_finite(small, tmp_path, monkeypatch):
    monkeypatch.setattr("skywright.train.learner.Decoder", NotFinite)
    out = tmp_path / "run"
    small.train(out, loader_wrapper=poisoned(BAD, BAD + 8), guard={"not_finite": "skip"}, **QUICK)
    lines = journal(out / "metrics.jsonl")
    assert [line["step"] for line in lines if "skipped" in line] == [17, 18]
    assert [line["loss_nats"] for line in lines[16:18]] == [None, None]
    assert all(line["grad_norm"] > 0 for line in lines[18:])


def test_skips_in_a_row_are_bounded(small, tmp_path, monkeypatch):
    monkeypatch.setattr("skywright.train.learner.Decoder", NotFinite)
    guard = {"not_finite": "skip", "max_skips": 2}
    with pytest.raises(UserError, match=r"step 19, .*2 steps before it were skipped \(max_skips"):
        small.train(tmp_path / "run", loader_wrapper=poisoned(128, 136, 144), guard=guard, **QUICK)


def test_a_run_that_stopped_goes_on_when_the_policy_is_changed(small, skipping, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"step 17, samples 128 to 135: the loss is"):
        small.train(out, loader_wrapper=noisy(BAD), guard=SPIKES | {"spike": "stop"}, **QUICK)
    assert len(journal(out / "metrics.jsonl")) == 16
    again = small.train(out, loader_wrapper=noisy(BAD), guard=SPIKES | {"spike": "skip"}, **QUICK)
    assert again["weights_sha256"] == read_json(skipping / "summary.json")["weights_sha256"]
    assert known(journal(out / "metrics.jsonl")) == known(journal(skipping / "metrics.jsonl"))


# ---------------------------------------------------------------- rollback


@pytest.mark.parametrize("checkpoint_every", [1024, None])
def test_going_back_and_passing_over_one_step_is_skipping_it(
    small, skipping, tmp_path, checkpoint_every
):
    out = tmp_path / "run"
    summary = small.train(
        out, loader_wrapper=noisy(BAD), guard=SPIKES | {"spike": "rollback"},
        checkpoint_every=checkpoint_every, checkpoint_async=True, **QUICK,
    )  # fmt: skip
    expected = read_json(skipping / "summary.json")
    assert summary["weights_sha256"] == expected["weights_sha256"]
    (rollback,) = summary["rollbacks"]
    went_to = 16 if checkpoint_every else 0
    assert (rollback["bad_step"], rollback["to_step"]) == (17, went_to)
    (entry,) = summary["skipped"]
    assert (entry["first_sample"], entry["last_sample"]) == (128, 135)
    lines = journal(out / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 42))
    assert lines[16]["skipped"].startswith("rolled back at step 17: the loss is")
    assert lines[16]["loss_nats"] is None
    without = [{k: v for k, v in x.items() if k not in ("loss_nats", "grad_norm", "samples")}
               for x in known(journal(skipping / "metrics.jsonl"))]  # fmt: skip
    assert known(lines)[:16] == known(journal(skipping / "metrics.jsonl"))[:16]
    assert known(lines)[17:] == known(journal(skipping / "metrics.jsonl"))[17:]
    assert known(lines)[16]["tokens"] == without[16]["tokens"]
    if not checkpoint_every:
        cut = journal(out / "metrics.cut.jsonl")
        assert [line["step"] for line in cut] == list(range(1, 17))


def test_more_steps_are_passed_over_if_asked_and_never_before_the_checkpoint(small, tmp_path):
    spans = {}
    for count in (2, 9):
        summary = small.train(
            tmp_path / str(count), loader_wrapper=noisy(150),
            guard=SPIKES | {"spike": "rollback", "rollback_steps": count}, **QUICK,
        )  # fmt: skip
        spans[count] = [entry["step"] for entry in summary["skipped"]]
        again = checkpoint.read_state(tmp_path / str(count) / "checkpoints" / "step-00000041")
        assert again["guard"]["rollbacks"] == summary["rollbacks"]
    assert spans == {2: [18, 19], 9: [17, 18, 19]}  # step 19 is bad, 16 is saved
    cut = journal(tmp_path / "2" / "metrics.cut.jsonl")
    assert [line["step"] for line in cut] == [17, 18]


def test_exports_of_a_way_that_was_gone_back_from_are_made_anew(small, tmp_path):
    # A folder after every step: those of 17 and 18 are first made of weights that are then undone.
    out = tmp_path / "run"
    small.train(
        out, loader_wrapper=noisy(150), export_every=256, export_at_segment_ends=False, sets=[],
        guard=SPIKES | {"spike": "rollback", "rollback_steps": 2},
        checkpoint_every=1024, segments=[SEGMENTS[0] | {"tokens": 32 * 8 * 20}],
    )  # fmt: skip
    hashes = [read_json(out / "hf" / checkpoint.name_of(step) / "export.json")["weights_sha256"]
              for step in (16, 17, 18, 19, 20)]  # fmt: skip
    # Step 17 is applied; 18 and 19 are passed over.
    assert hashes[1] == hashes[2] == hashes[3]
    assert len(set(hashes)) == 3
    card = (out / "hf" / "step-00000020" / "README.md").read_text(encoding="utf-8")
    assert "| tokens seen | 4,608 |" in card
    assert "| tokens in skipped steps | 512 |" in card


def test_rollbacks_to_one_checkpoint_are_bounded(small, tmp_path, monkeypatch):
    monkeypatch.setattr("skywright.train.learner.Decoder", NotFinite)
    guard = {"not_finite": "rollback", "max_rollbacks": 2}
    with pytest.raises(UserError, match=r"step 19, .* after 2 rollbacks to step 16 \(max_rollb"):
        small.train(tmp_path / "run", loader_wrapper=poisoned(128, 136, 144), guard=guard, **QUICK)
    assert checkpoint.latest(tmp_path / "run" / "checkpoints").name == "step-00000016"
