from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from skywright.cli.evaluate import app
from skywright.errors import UserError
from skywright.evaluate import EvaluateConfig, run
from skywright.evaluate.alignment import Encoding
from skywright.evaluate.backends import Backend
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.backends.server import ServerBackend
from skywright.evaluate.backends.skywright import SkywrightBackend
from skywright.evaluate.doctor import (
    Check,
    NoiseFloor,
    Report,
    Sample,
    examine,
    examined,
    probe_start,
    quick_checks,
    shipped_texts,
    texts_of,
    tokens_of,
)
from skywright.evaluate.doctor import numerics as of_numbers
from skywright.evaluate.doctor import tokenizer as of_tokenizer
from skywright.tokenizer import Tokenizer
from tests.evaluate.contract_server import contract_server
from tests.evaluate.tiny import TEXTS, make, write_llama

Losses = Callable[[Sequence[np.ndarray], list[np.ndarray]], list[np.ndarray]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("sound"), context=512)


class Bent:
    """A back-end with one thing wrong: how it encodes, or what losses it gives for windows."""

    def __init__(
        self,
        backend: Backend,
        losses: Losses | None = None,
        encode: Callable[[np.ndarray], np.ndarray] | None = None,
        **attributes: object,
    ) -> None:
        self._backend, self._losses, self._encode = backend, losses, encode
        self.calls = 0
        vars(self).update(attributes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def encode(self, text: str) -> Any:
        encoding = self._backend.encode(text)
        if self._encode is None:
            return encoding
        return Encoding(self._encode(encoding.ids), encoding.byte_ends)

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        self.calls += 1
        found = self._backend.token_nll(windows, first_scored)
        return found if self._losses is None else self._losses(windows, found)


def by_name(checks: Sequence[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_sound_model_passes_and_its_report_is_whole(sound: Path) -> None:
    report = examine(
        HFBackend(sound),
        "m",
        open_other=lambda: HFBackend(sound, dtype="bfloat16"),
        set_tokens=10**6,
    )
    checks = by_name(report.checks)
    assert list(checks) == [
        "vocabulary", "start token", "round trip", "losses", "reads left", "batch", "padding",
        "start probe", "context", "throughput", "dtype",
    ]  # fmt: skip
    assert report.refusals == ()
    # An untrained model does no better than guessing; nothing else is wrong with it.
    assert {name for name, check in checks.items() if check.verdict == "warn"} <= {
        "losses", "dtype", "start probe",
    }  # fmt: skip
    for name in ("vocabulary", "start token", "round trip", "reads left", "batch", "padding"):
        assert checks[name].verdict == "pass", checks[name]
    assert checks["throughput"].figures["tokens_s"] > 0
    assert "take about" in checks["throughput"].finding
    ratio = checks["dtype"].figures["speed_ratio"]
    assert ratio > 0
    assert f"bfloat16 reads {ratio:.2g} times as many tokens a second" in checks["dtype"].finding
    floor = report.noise_floor
    assert floor is not None
    assert floor.dtype is not None
    assert floor.batch.max() < 1e-5 < floor.dtype.max()
    assert floor.maximum == floor.dtype.max()
    written = json.loads(json.dumps(report.as_json()))
    assert written["noise_floor"]["max"] == pytest.approx(floor.maximum)
    assert written["noise_floor"]["documents"] == len(shipped_texts())
    assert [check["name"] for check in written["checks"]] == list(checks)


def test_our_own_checkpoints_and_servers_can_be_examined(sound: Path) -> None:
    ours = SkywrightBackend.from_checkpoint(sound)
    assert all(check.verdict != "refuse" for check in quick_checks(ours))
    with contract_server(sound) as server:
        backend = ServerBackend(
            f"vllm+{server.address}", BackendOptions(tokenizer=sound, attempts=1)
        )
        report = examine(backend, "served", TEXTS)
        assert report.refusals == ()
        assert by_name(report.checks)["dtype"].verdict == "skip"
        server.fault = "truncates"
        broken = examine(backend, "served", TEXTS)
        assert broken.verdict == "refuse"
        assert "truncates prompts" in broken.refusals[0].finding


def test_a_start_token_that_stands_twice_is_refused(sound: Path) -> None:
    bent = Bent(HFBackend(sound), encode=lambda ids: np.concatenate([[1], ids]))
    check = of_tokenizer.start_once(bent, TEXTS[0])
    assert check.verdict == "refuse"
    assert "stand twice" in check.finding


def test_a_special_token_that_text_can_write_is_refused(sound: Path) -> None:
    class Careless(HFBackend):
        def encode(self, text: str) -> Any:
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            return Encoding(np.asarray(ids), np.zeros(len(ids), dtype=np.int64))

    check = of_tokenizer.start_once(Careless(sound), TEXTS[0])
    assert check.verdict == "refuse"
    assert "'<s>' written in a text becomes the start token" in check.finding


def test_a_tokenizer_that_adds_its_own_start_token_is_kept_from_it_and_said_so(
    tmp_path: Path,
) -> None:
    folder = write_llama(tmp_path / "m")
    path = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(path))
    check = of_tokenizer.start_once(HFBackend(folder), TEXTS[0])
    assert check.verdict == "pass"
    assert check.figures == {"id": 1, "added_by_tokenizer": True}


def spoil_tokenizer(folder: Path, change: Callable[[tokenizers.Tokenizer], None]) -> HFBackend:
    path = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    change(tokenizer)
    tokenizer.save(str(path))
    return HFBackend(folder)


def test_text_that_comes_back_in_another_form_is_warned_about(tmp_path: Path) -> None:
    def normalise(tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.normalizer = tokenizers.normalizers.NFKC()

    backend = spoil_tokenizer(write_llama(tmp_path / "m"), normalise)
    check = of_tokenizer.round_trip(backend, shipped_texts())
    assert check.verdict == "warn"
    assert check.figures["lost"] == 0
    assert "，" in check.finding  # the full-width comma became another


def test_text_that_does_not_come_back_is_refused(tmp_path: Path) -> None:
    def lower(tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.normalizer = tokenizers.normalizers.Lowercase()

    backend = spoil_tokenizer(write_llama(tmp_path / "m"), lower)
    check = of_tokenizer.round_trip(backend, shipped_texts())
    assert check.verdict == "refuse"
    assert 0 < check.figures["lost"] < check.figures["texts"]
    assert "came back as" in check.finding


def test_a_tokenizer_that_knows_few_of_the_rows_is_suspect(sound: Path) -> None:
    bent = Bent(HFBackend(sound), vocab_size=40_000)
    assert of_tokenizer.fits(bent, TEXTS).verdict == "warn"
    assert of_tokenizer.fits(Bent(HFBackend(sound), vocab_size=150), TEXTS).verdict == "refuse"


def test_losses_that_are_no_numbers_are_refused(sound: Path) -> None:
    bent = Bent(HFBackend(sound), losses=lambda windows, found: [loss * np.nan for loss in found])
    report = examine(bent, "m", TEXTS)
    assert [check.name for check in report.refusals] == ["losses"]


def test_a_model_that_learnt_something_beats_guessing(sound: Path) -> None:
    bent = Bent(HFBackend(sound), losses=lambda windows, found: [loss * 0.1 for loss in found])
    assert of_numbers.sane(Sample.of(bent, TEXTS)).verdict == "pass"


def test_a_model_that_reads_both_ways_is_refused(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    torch.manual_seed(3)
    transformers.BertLMHeadModel(
        transformers.BertConfig(
            vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=512, initializer_range=0.5,
        )
    ).save_pretrained(folder)  # fmt: skip
    checks = by_name(quick_checks(HFBackend(folder)))
    assert checks["reads left"].verdict == "refuse"


def test_losses_that_depend_on_the_batch_are_refused_and_small_ones_set_the_floor(
    sound: Path,
) -> None:
    def crowded(step: float) -> Losses:
        return lambda windows, found: [loss + step * (len(windows) - 1) for loss in found]

    bad = Sample.of(Bent(HFBackend(sound), losses=crowded(0.1)), TEXTS)
    assert of_numbers.batch_invariance(bad).verdict == "refuse"
    noisy = Sample.of(Bent(HFBackend(sound), losses=crowded(0.001)), TEXTS)
    check = of_numbers.batch_invariance(noisy)
    assert check.verdict == "warn"
    differences = of_numbers.batch_differences(noisy)
    np.testing.assert_allclose(differences, 0.001 * (len(TEXTS) - 1), rtol=1e-3)
    assert NoiseFloor(differences).p95 == pytest.approx(0.001 * (len(TEXTS) - 1), rel=1e-3)


def test_padding_that_is_seen_is_refused(sound: Path) -> None:
    def seen(windows: Sequence[np.ndarray], found: list[np.ndarray]) -> list[np.ndarray]:
        longest = max(map(len, windows))
        return [
            loss + np.where(np.arange(len(loss)) == 0, float(longest - len(window)), 0.0)
            for window, loss in zip(windows, found, strict=True)
        ]

    sample = Sample.of(Bent(HFBackend(sound), losses=seen), TEXTS)
    assert of_numbers.left_padding(sample).verdict == "refuse"


def test_a_tokenizer_that_pads_on_the_left_is_told_of(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "left"}))
    check = of_numbers.left_padding(Sample.of(HFBackend(folder), TEXTS))
    assert check.verdict == "pass"
    assert "pads on the left" in check.advice
    assert check.figures["visible_nats_per_token"] != 0


def test_dtypes_that_disagree_are_warned_about(sound: Path) -> None:
    sample = Sample.of(HFBackend(sound), TEXTS)
    rng = np.random.default_rng(0)
    near = [loss + rng.normal(0, 1e-3, len(loss)) for loss in sample.alone]
    assert of_numbers.dtype_gap(sample, near, "bfloat16").verdict == "pass"
    biased = [loss + 0.01 for loss in sample.alone]
    check = of_numbers.dtype_gap(sample, biased, "bfloat16")
    assert check.verdict == "warn"
    assert check.figures["bias_nats_per_token"]["value"] == pytest.approx(-0.01, rel=1e-2)
    assert check.advice == "compare models in one dtype only"
    broken = [loss * np.nan for loss in sample.alone]
    assert "no numbers" in of_numbers.dtype_gap(sample, broken, "float16").finding


@pytest.mark.parametrize("ratio", [0.01, 0.5, 100.0])
def test_the_speed_of_another_dtype_is_told_and_decides_nothing(sound: Path, ratio: float) -> None:
    sample = Sample.of(HFBackend(sound), TEXTS)
    check = of_numbers.dtype_gap(sample, sample.alone, "bfloat16", ratio)
    assert check.verdict == "pass"
    assert check.figures["speed_ratio"] == ratio
    assert check.finding.endswith(f"bfloat16 reads {ratio:.2g} times as many tokens a second here")


def test_a_model_is_warmed_up_before_it_is_timed(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call takes 100 s, each after it 1 s."""
    clock = iter([100.0, 101.0])
    bent = Bent(HFBackend(sound))

    def now() -> float:
        assert bent.calls > 0
        return next(clock)

    monkeypatch.setattr(of_numbers.time, "perf_counter", now)
    windows = [np.array([1, 10, 20], dtype=np.int32)] * 4
    assert of_numbers.tokens_per_second(bent, windows) == 12
    assert bent.calls == 2


def test_a_context_that_does_not_run_to_its_end_is_refused(sound: Path) -> None:
    def short(windows: Sequence[np.ndarray], found: list[np.ndarray]) -> list[np.ndarray]:
        if max(map(len, windows)) > 300:
            raise UserError("too long for me")
        return found

    report = examine(Bent(HFBackend(sound), losses=short), "m", TEXTS)
    assert [check.finding for check in report.refusals] == ["too long for me"]
    assert report.refusals[0].name == "context"


def test_a_loss_that_rises_towards_the_end_of_the_window_is_warned_about(sound: Path) -> None:
    def rising(windows: Sequence[np.ndarray], found: list[np.ndarray]) -> list[np.ndarray]:
        return [loss + 0.02 * np.maximum(0, np.arange(len(loss)) - 256) for loss in found]

    backend = Bent(HFBackend(sound), losses=rising)
    check = of_numbers.context_limit(backend, Sample.of(backend, TEXTS))
    assert check.verdict == "warn"
    assert "the loss rises" in check.finding


@pytest.mark.parametrize("favourite", ["bos", "eos", "newline"])
def test_the_probe_finds_the_start_token_that_a_model_wants(sound: Path, favourite: str) -> None:
    """A model that pays 0.3 nats more a token after anything but its favourite."""
    backend = HFBackend(sound)
    wanted = {"bos": 1, "eos": 2, "newline": int(backend.encode("\n").ids[-1])}[favourite]

    def fond(windows: Sequence[np.ndarray], found: list[np.ndarray]) -> list[np.ndarray]:
        return [
            np.zeros_like(loss) + (0.0 if int(window[0]) == wanted else 0.3) + 1.0
            for window, loss in zip(windows, found, strict=True)
        ]

    probe = probe_start(Sample.of(Bent(backend, losses=fond), shipped_texts()))
    assert [start.name for start in probe.starts] == ["none", "bos", "eos", "newline"]
    assert (probe.own, probe.best) == ("bos", favourite)
    assert probe[favourite].nats.value == pytest.approx(1.0)
    assert probe["none"].nats.value == pytest.approx(1.3)
    assert probe["none"].first_token_nats is None
    assert probe.gains == (favourite != "bos")
    if favourite != "bos":
        gap = probe[favourite].against_own
        assert gap is not None
        assert gap.value == pytest.approx(-0.3)
        assert gap.low <= gap.value <= gap.high < 0


def test_the_probe_counts_the_tokens_that_every_start_scores(sound: Path) -> None:
    backend = HFBackend(sound)
    sample = Sample.of(backend, TEXTS)
    probe = probe_start(sample)
    for start in probe.starts:
        total, tokens = 0.0, 0
        for ids in sample.tokens:
            window = ids if start.id is None else np.concatenate([[start.id], ids])
            loss = backend.token_nll([window.astype(np.int32)], [1])[0]
            total += float(loss[-(len(ids) - 1) :].sum())
            tokens += len(ids) - 1
        assert start.nats.value == pytest.approx(total / tokens, rel=1e-5)
        assert start.nats.n == len(sample.texts)


def test_the_examination_waits_for_the_first_loss_and_is_made_once(sound: Path) -> None:
    inner = Bent(HFBackend(sound))
    backend = examined(inner, "m")
    assert backend.fingerprint == inner.fingerprint
    assert backend.vocab_size == 400
    assert inner.calls == 0
    window = np.array([1, 10, 20], dtype=np.int32)
    expected = HFBackend(sound).token_nll([window], [1])[0]
    np.testing.assert_array_equal(backend.token_nll([window], [1])[0], expected)
    first = inner.calls
    assert first > 1
    backend.token_nll([window], [1])
    assert inner.calls == first + 1


def test_an_unsound_model_is_not_scored(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    path = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.save(str(path))
    models: Any = [{"name": "m", "path": str(folder), "tokens": 0, "segment": ""}]
    reference = Tokenizer.load(folder)
    with pytest.raises(UserError, match=r"m: round trip: .* texts do not come back"):
        run(EvaluateConfig(), models, [make(TEXTS)], reference, tmp_path / "out", examine=True)
    assert not list((tmp_path / "out").rglob("docs.parquet"))
    run(EvaluateConfig(), models, [make(TEXTS)], reference, tmp_path / "out")
    # What stands in the store is read, not computed: nothing is left to examine.
    run(EvaluateConfig(), models, [make(TEXTS)], reference, tmp_path / "out", examine=True)


def test_what_a_back_end_refuses_is_told_once_and_with_its_own_advice(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    backend = examined(HFBackend(folder), "m")
    with pytest.raises(UserError) as refused:
        backend.token_nll([np.array([1, 10, 20], dtype=np.int32)], [1])
    assert str(refused.value) == (
        f"{folder}, model.norm.weight: holds values that are no number in float32; the weights are"
        " damaged: copy or export the model again"
    )


def test_texts_of_several_sets_come_in_turn() -> None:
    one, two = make(("a1", "a2", "a3"), "one"), make(("b1",), "two")
    first, second, _ = (document.text for document in one.documents)
    assert texts_of([one, two], 3) == [first, "b1", second]
    assert {len(text) for text in texts_of([make(("x" * 9_000,))], 3)} == {2_000}


def test_the_size_of_a_set_is_near_what_it_is(sound: Path) -> None:
    whole = make(tuple(f"{text} {number}" for number in range(40) for text in TEXTS))
    backend = HFBackend(sound)
    exact = sum(len(backend.encode(d.text).ids) for d in whole.documents)
    assert tokens_of(backend, [whole]) == pytest.approx(exact, rel=0.05)


def test_the_worst_check_is_the_verdict() -> None:
    def verdict(*found: Any) -> str:
        return Report("m", "b", "d", tuple(Check("c", v, "") for v in found)).verdict

    assert verdict("pass", "skip") == "pass"
    assert verdict("pass", "warn", "skip") == "warn"
    assert verdict("warn", "refuse", "pass") == "refuse"


def test_the_command_prints_a_table_or_json_and_fails_where_it_refuses(
    sound: Path, tmp_path: Path
) -> None:
    runner = CliRunner()
    told = runner.invoke(app, ["doctor", str(sound), "--context-tokens", "128"])
    assert told.exit_code == 0, told.output
    assert "noise floor:" in told.stdout
    broken = write_llama(tmp_path / "m")
    spoil_tokenizer(broken, lambda t: setattr(t, "normalizer", tokenizers.normalizers.Lowercase()))
    refused = runner.invoke(app, ["doctor", str(broken), "--json"])
    assert refused.exit_code == 1
    report = json.loads(refused.stdout)
    assert report["verdict"] == "refuse"
    assert report["noise_floor"] is None
