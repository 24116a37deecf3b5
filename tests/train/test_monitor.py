"""Who watches a run: journals, the view, mirrors."""

import importlib.util
import io
import json
import sys

import pytest
from rich.console import Console

from skywright.errors import UserError
from skywright.model.flops import flops_per_token
from skywright.train import TrainConfig, Watcher
from skywright.train.journal import Journal
from skywright.train.utilisation import measured_peak
from skywright.train.view import View
from tests.train.faults import Noisy
from tests.train.small import MODEL, TRAIN, Small

QUICK = {"export_at_segment_ends": False, "checkpoint_every": None}


def watched(small: Small, out, watcher, sets=True, **changes):
    """Train with a watcher where `progress` goes."""
    given = {"peak_flops": 1e12} | changes.pop("monitor", {})
    return small.train(
        out,
        sets=None if sets else [],
        progress=watcher,
        monitor=given,
        **(QUICK | changes),
    )


# ---------------------------------------------------------------- journals


def lines(path):
    # Not str.splitlines, which cuts at characters that a text may hold.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_a_journal_is_cut_to_the_checkpoint_and_what_is_cut_is_kept_aside(tmp_path):
    path, aside = tmp_path / "metrics.jsonl", tmp_path / "metrics.cut.jsonl"
    with Journal(path, 0) as journal:
        for step in range(1, 6):
            journal.write({"step": step, "loss_nats": 0.5})
    path.write_text(path.read_text() + '{"step": 6, "loss')  # a kill in the middle of a line
    with Journal(path, 3) as journal:
        journal.write({"step": 4, "loss_nats": 0.25})
        journal.cut(3)
        journal.write({"step": 4, "loss_nats": 0.125})
    assert [row["step"] for row in lines(path)] == [1, 2, 3, 4]
    assert lines(path)[-1]["loss_nats"] == 0.125
    kept = aside.read_text().splitlines()
    assert [json.loads(line)["step"] for line in (*kept[:2], kept[3])] == [4, 5, 4]
    assert kept[2] == '{"step": 6, "loss'


def test_a_journal_that_needs_no_cut_is_not_touched(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Journal(path, 0) as journal:
        journal.write({"step": 1})
    before = path.stat().st_mtime_ns, path.stat().st_ino
    with Journal(path, 1):
        pass
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert not (tmp_path / "metrics.cut.jsonl").exists()


def test_a_journal_takes_no_number_that_json_lacks(tmp_path):
    with Journal(tmp_path / "x.jsonl", 0) as journal, pytest.raises(ValueError, match="JSON"):
        journal.write({"step": 1, "loss_nats": float("nan")})


# ---------------------------------------------------------------- watchers


class Recorder:
    """A mirror into lists, as anyone may write one."""

    def __init__(self):
        self.told = []

    def __call__(self, done, total, text):
        pass

    def begin(self, about):
        self.about = about
        self.told.append(("begin", about.done_step))

    def step(self, line):
        self.told.append(("step", line))

    def validation(self, line):
        self.told.append(("validation", line))

    def continuations(self, line):
        self.told.append(("continuations", line))

    def end(self):
        self.told.append(("end", None))


def test_a_watcher_is_told_what_the_journals_hold_and_the_utilisation(small, tmp_path):
    recorder = Recorder()
    assert isinstance(recorder, Watcher)
    watched(small, tmp_path / "run", recorder)
    kinds = [kind for kind, _ in recorder.told]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    told = [line for kind, line in recorder.told if kind == "step"]
    journal = lines(tmp_path / "run" / "metrics.jsonl")
    assert [{k: v for k, v in line.items() if k != "mfu"} for line in told] == journal
    operations = flops_per_token(MODEL, 32, "causal")
    assert told[5]["mfu"] == pytest.approx(told[5]["tokens_per_s"] * operations / 1e12)
    for name in ("validation", "continuations"):
        told = [line for kind, line in recorder.told if kind == name]
        assert told == lines(tmp_path / "run" / f"{name}.jsonl")
        assert told


def test_the_formula_of_the_utilisation_is_the_one_that_is_printed():
    # (6 (body + head) + 6 layers width T), worked out by hand for the small model.
    body = 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    assert flops_per_token(MODEL, 32, "causal") == 6 * (body + 420 * 32) + 6 * 2 * 32 * 32


def test_the_peak_is_measured_only_if_someone_watches_and_none_is_given(
    small, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "skywright.train.run.measured_peak", lambda dtype: asked.append(dtype) or 1e11
    )
    small.train(tmp_path / "alone", sets=[], **QUICK)
    watched(small, tmp_path / "given", Recorder(), sets=False)
    assert not asked
    watched(small, tmp_path / "none", Recorder(), sets=False, monitor={"peak_flops": None})
    assert len(asked) == 1


def test_a_measured_peak_is_a_speed():
    import torch

    assert 1e8 < measured_peak(torch.float32, tries=1) < 1e17


# ---------------------------------------------------------------- the view


def seen(small, out, terminal, **changes):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=110)
    with View(console) as view:
        watched(small, out, view, **changes)
    return stream.getvalue()


def test_elsewhere_than_on_a_terminal_lines_are_printed_and_no_escapes(small, tmp_path):
    text = seen(small, tmp_path / "run", terminal=False)
    assert "\x1b" not in text
    assert "MFU = (6 (body + head) + 6 layers width T) tokens/s / peak; peak 1,000 GFLOP/s" in text
    assert "step 41 held out: held_out " in text
    assert "step 41 after 'The capital of France is': " in text
    last = text.splitlines()[-1]
    for part in ("step 41/41", "segment two", "tokens 10,240", "loss ", "MFU ", "memory ", "left"):
        assert part in last


def test_on_a_terminal_the_picture_shows_losses_domains_and_speed(small, tmp_path):
    text = seen(small, tmp_path / "run", terminal=True)
    last = text[text.rindex("╭") :]
    for part in (
        "41/41",
        "tokens/s",
        "MFU",
        "GiB",
        "left",
        "held_out",
        "nats/token",
        "▁",
        "█",
        "The capital of France is",
        "goes on (step 41)",
        "peak 1,000 GFLOP/s",
    ):
        assert part in last


@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_model_says_does_not_steer_the_terminal(small, tmp_path, monkeypatch, terminal):
    said = [{"prompt": "a\x1b[2J", "text": "b\r\x1b]0;title\x07\u202ec"}]
    monkeypatch.setattr("skywright.train.run.continuations", lambda *_: said)
    text = seen(small, tmp_path / "run", terminal=terminal, sets=False)
    assert "b ]0;title c" in text
    for code in ("\x1b[2J", "\x1b]", "\x07", "\u202e"):
        assert code not in text


def test_a_view_that_is_used_again_shows_nothing_of_the_run_before(small, tmp_path):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=110)
    with View(console) as view:
        watched(small, tmp_path / "first", view)
        assert "held_out" in stream.getvalue()
        before = len(stream.getvalue())
        watched(small, tmp_path / "second", view, sets=False, monitor={"prompts": []})
    later = stream.getvalue()[before:]
    assert "41/41" in later
    assert "held_out" not in later
    assert "goes on" not in later


def test_a_skipped_step_is_told_at_once(small, tmp_path):
    guard = {"spike": "skip", "window_steps": 8, "sigmas": 4}
    text = seen(
        small, tmp_path / "run", terminal=False, guard=guard,
        loader_wrapper=lambda x: Noisy(x, {130}),
    )  # fmt: skip
    assert "step 17 skipped: the loss is" in text
    assert text.splitlines()[-1].endswith("skipped 1")


def test_a_quiet_view_prints_nothing(small, tmp_path):
    stream = io.StringIO()
    with View(Console(file=stream), quiet=True) as view:
        watched(small, tmp_path / "run", view)
    assert stream.getvalue() == ""


# ---------------------------------------------------------------- mirrors

SERVICE = """
import json, pathlib
FILE = pathlib.Path(__file__).with_suffix(".calls")
def _note(*call):
    with FILE.open("a") as stream:
        stream.write(json.dumps(call) + "\\n")
def init(**settings):
    _note("init", settings)
def log(values, step):
    _note("log", step, values)
def finish():
    _note("finish")
"""


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracking_service_is_sent_the_journals_numbers(small, tmp_path, monkeypatch, name):
    # A module of the service's name and calls that writes them to a file.
    (tmp_path / f"{name}.py").write_text(SERVICE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, name, None)  # so that what is imported is forgotten after
    del sys.modules[name]
    out = tmp_path / "run"
    small.train(out, monitor={name: "tests", "peak_flops": 1e12}, **QUICK)
    calls = lines(tmp_path / f"{name}.calls")
    settings = calls[0][1]
    assert calls[0][0] == "init"
    assert (settings["project"], settings["resume"]) == ("tests", "allow")
    assert ("id" in settings) == (name == "wandb")
    assert calls[-1] == ["finish"]
    sent = [call for call in calls if call[0] == "log" and "loss_nats" in call[2]]
    journal = lines(out / "metrics.jsonl")
    assert [call[1] for call in sent] == [row["step"] for row in journal]
    assert [call[2]["loss_nats"] for call in sent] == [row["loss_nats"] for row in journal]
    domains = [call for call in calls if "domain/held_out/bpb" in str(call)]
    assert len(domains) == len(lines(out / "validation.jsonl"))
    texts = [call[2] for call in calls if call[0] == "log" and "continuation/4" in call[2]]
    said = [line["continuations"] for line in lines(out / "continuations.jsonl")]
    assert texts == [
        {f"continuation/{i}": row["prompt"] + row["text"] for i, row in enumerate(rows, 1)}
        for rows in said
    ]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_mirror_whose_package_is_absent_is_refused_by_name(small, tmp_path, name):
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    monitor = {name: True if name == "tensorboard" else "tests"}
    with pytest.raises(UserError, match=rf"train.monitor.{name}: .* not installed; `pip install"):
        small.train(tmp_path / "run", sets=[], monitor=monitor, **QUICK)


def test_tensorboard_gets_event_files(small, tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard here"
    )
    out = tmp_path / "run"
    small.train(out, monitor={"tensorboard": True, "peak_flops": 1e12}, **QUICK)
    events = reader.EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss_nats")] == list(range(1, 42))
    (text,) = events.Tensors("continuation/1/text_summary")[-1].tensor_proto.string_val
    row = lines(out / "continuations.jsonl")[-1]["continuations"][0]
    assert "".join(text.decode().split()) == "".join((row["prompt"] + row["text"]).split())


def test_what_watches_a_run_is_no_part_of_what_names_it():
    bare = TrainConfig.model_validate(TRAIN)
    full = TrainConfig.model_validate(
        TRAIN | {"monitor": {"wandb": "x"}, "hang_after": "5 min", "checkpoint_async": True}
    )
    assert bare.model_dump(mode="json") == full.model_dump(mode="json")
