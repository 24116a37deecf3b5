import json
import math
import shutil

import numpy as np
import pytest
import torch

from skywright import checkpoint
from skywright.engine.files import read_json
from skywright.errors import UserError
from skywright.evaluate.backends.windows import windows_nll
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.hf import load_hf, verify
from tests.train.small import MODEL, SEGMENTS, TRAIN


def journal(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def without_clock(lines):
    return [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in lines]


def test_the_loss_falls_from_uniform_guessing(finished):
    losses = [line["loss_nats"] for line in journal(finished / "metrics.jsonl")]
    assert losses[0] == pytest.approx(math.log(MODEL.vocab_size), abs=0.5)
    assert np.mean(losses[-5:]) < losses[0] - 1.0


def test_every_step_has_one_line_and_every_token_is_counted(finished):
    lines = journal(finished / "metrics.jsonl")
    # 220 samples of 32 tokens are 28 steps of 8 samples, 100 samples are 13; the last are short.
    assert [line["step"] for line in lines] == list(range(1, 42))
    assert [line["segment"] for line in lines] == ["one"] * 28 + ["two"] * 13
    assert [lines[i]["tokens"] for i in (0, 26, 27, 28, 40)] == [256, 6912, 7040, 7296, 10240]
    assert lines[27]["lr"] == 3e-4
    assert {line["lr"] for line in lines[28:]} == {3e-4}
    assert all(line["grad_norm"] > 0 and line["tokens_per_s"] > 0 for line in lines)


def test_domain_losses_are_journalled_and_fall(finished):
    lines = journal(finished / "validation.jsonl")
    assert [line["step"] for line in lines] == [8, 16, 24, 28, 33, 41]
    first, last = (line["domains"]["held_out"] for line in (lines[0], lines[-1]))
    assert last["nats_per_token"] < first["nats_per_token"]
    assert last["documents"] == 5
    assert 0 < last["bpb"] < 8


def test_segment_ends_and_the_newest_checkpoints_are_kept(finished):
    names = sorted(path.name for path in (finished / "checkpoints").iterdir())
    assert names == ["step-00000028", "step-00000037", "step-00000041"]


def test_exports_are_what_transformers_reads_and_are_listed(finished):
    summary = read_json(finished / "summary.json")
    assert [(row["name"], row["segment"]) for row in summary["checkpoints"]] == [
        ("step-00000028", "one"),
        ("step-00000041", "two"),
    ]
    for row in summary["checkpoints"]:
        folder = finished / row["path"]
        record = read_json(folder / "export.json")
        assert record["max_logit_difference"] <= 1e-4
        assert (record["tokens"], record["segment"]) == (row["tokens"], row["segment"])
        assert f"{row['tokens']:,} tokens" in (folder / "README.md").read_text(encoding="utf-8")
        assert verify(folder, load_hf(folder)) == record["max_logit_difference"]
    trained = checkpoint.load_model(finished / "checkpoints" / "step-00000041").state_dict()
    exported = load_hf(finished / "hf" / "step-00000041").state_dict()
    assert all(torch.equal(trained[name], exported[name]) for name in trained)


def test_the_summary_says_what_the_run_was(finished):
    summary = read_json(finished / "summary.json")
    assert (summary["steps"], summary["tokens"]) == (41, 10_240)
    assert summary["parameters"] == sum(
        p.numel() for p in load_hf(finished / "hf" / "step-00000041").parameters()
    )
    assert len(summary["weights_sha256"]) == 64
    assert summary["flops_per_token"]["convention"] == "body_and_head"


def test_training_again_changes_nothing(small, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    small.train(out)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_the_same_run_gives_the_same_weights(small, finished, tmp_path):
    summary = small.train(tmp_path / "again", sets=[])
    assert summary["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]
    other = small.train(tmp_path / "other", sets=[], seed=4)
    assert other["weights_sha256"] != summary["weights_sha256"]


def test_micro_batches_do_not_change_the_losses(small, tmp_path):
    # fp32, so that only the order of sums differs; a step of 100 samples' rest is split 4 + 0.
    runs = {}
    for micro in (32, 96, 256):
        out = tmp_path / str(micro)
        small.train(out, sets=[], micro_batch_tokens=micro, precision="fp32")
        runs[micro] = [line["loss_nats"] for line in journal(out / "metrics.jsonl")]
    assert runs[32] == pytest.approx(runs[256], abs=1e-4)
    assert runs[96] == pytest.approx(runs[256], abs=1e-4)


def test_bf16_trains_to_the_losses_of_fp32(small, tmp_path):
    runs = {}
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        small.train(out, sets=[], precision=precision)
        runs[precision] = [line["loss_nats"] for line in journal(out / "metrics.jsonl")]
    assert runs["bf16"] == pytest.approx(runs["fp32"], abs=0.05)


def test_a_segment_can_be_appended_to_a_finished_run(small, finished, tmp_path):
    out = tmp_path / "run"
    small.train(out, segments=SEGMENTS[:1])
    summary = small.train(out)
    assert summary["weights_sha256"] == read_json(finished / "summary.json")["weights_sha256"]
    assert without_clock(journal(out / "metrics.jsonl")) == without_clock(
        journal(finished / "metrics.jsonl")
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 9}, "seed was 3, now 9"),
        ({"plan_seed": 8}, "plan.seed was 7, now 8"),
        ({"optimizer": {"clip": 0.5}}, "optimizer.clip was 1.0, now 0.5"),
        ({"global_batch_tokens": 512}, "global_batch_tokens was 256, now 512"),
        ({"model": MODEL.model_copy(update={"ffn_hidden": 96})}, "model.ffn_hidden was 64, now 96"),
        ({"segments": [SEGMENTS[0] | {"tokens": 32 * 210}, SEGMENTS[1]]}, "segments.one.tokens"),
        ({"segments": [SEGMENTS[0] | {"mixture": {"en": 1.0}}, SEGMENTS[1]]}, "one.mixture.zh"),
    ],
)
def test_a_run_does_not_go_on_as_another_run(small, finished, tmp_path, changes, message):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    with pytest.raises(UserError, match=message):
        small.train(out, **changes)


def test_periods_and_unbegun_segments_may_change_on_resume(small, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for name in ("step-00000037", "step-00000041"):
        shutil.rmtree(out / "checkpoints" / name)
    later = SEGMENTS[1] | {"name": "three", "mixture": {"en": 1.0}}
    summary = small.train(out, segments=[SEGMENTS[0], later], keep=5, validate_every=None)
    assert [row["segment"] for row in summary["checkpoints"]] == ["one", "three"]
    assert [line["segment"] for line in journal(out / "metrics.jsonl")][27:29] == ["one", "three"]


def test_a_branch_starts_from_another_runs_weights(small, finished, tmp_path):
    sources = (finished / "checkpoints" / "step-00000041", finished / "hf" / "step-00000041")
    first_losses = set()
    for number, initial in enumerate(sources):
        out = tmp_path / str(number)
        small.train(out, segments=SEGMENTS[1:], initial=initial, sets=[])
        first_losses.add(journal(out / "metrics.jsonl")[0]["loss_nats"])
    assert len(first_losses) == 1
    assert first_losses.pop() < 5.0
    with pytest.raises(UserError, match="must have the shape"):
        small.train(
            tmp_path / "bad", model=MODEL.model_copy(update={"layers": 3}), initial=sources[0]
        )


class _Broken:
    """A loader whose `at`-th sample has an id that the model lacks."""

    def __init__(self, loader, at, token):
        self._loader, self._at, self._token = loader, at, token
        self.plan, self.shards = loader.plan, loader.shards
        self.packing, self.infilling = loader.packing, loader.infilling

    def batches(self, samples, documents=False):
        for numbers in samples:
            batch = self._loader.batch(numbers)
            if self._at in numbers:
                batch.inputs[self._at - numbers[0]] = self._token
            yield batch


def test_ids_beyond_the_vocabulary_are_refused_by_step_and_sample(small, tmp_path):
    with pytest.raises(UserError, match=r"step 3, samples 16 to 23: token id 60000"):
        small.train(tmp_path / "run", sets=[], loader_wrapper=lambda x: _Broken(x, 17, 60000))


def test_a_loss_that_is_not_finite_stops_the_run_and_harms_nothing(small, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished / "checkpoints" / "step-00000028", tmp_path / "initial")
    poisoned = checkpoint.load_model(tmp_path / "initial")
    with torch.no_grad():
        poisoned.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    checkpoint.save(
        tmp_path / "poisoned",
        {"weights": {name: p.detach() for name, p in poisoned.named_parameters()}},
        {"model": MODEL.model_dump(mode="json")},
    )
    with pytest.raises(UserError, match=r"step 1, samples 0 to 7: the loss is nan"):
        small.train(out, sets=[], initial=tmp_path / "poisoned")
    assert journal(out / "metrics.jsonl") == []
    assert checkpoint.latest(out / "checkpoints") is None


def test_a_folder_without_a_tokenizer_and_one_of_another_are_refused(small, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(small.tokenizer, other)
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    changed = type(small)(tmp_path)
    shutil.copytree(small.folder / "tokens", tmp_path / "tokens")
    shutil.copytree(other, tmp_path / "tokenizer")
    with pytest.raises(UserError, match="not the tokenizer that made"):
        changed.train(tmp_path / "run", sets=[])
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no such file"):
        changed.train(tmp_path / "run", sets=[])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"global_batch_tokens": 250}, "not a multiple of the length"),
        ({"micro_batch_tokens": 512}, "larger than global_batch_tokens"),
        ({"segments": [SEGMENTS[0], SEGMENTS[0]]}, "share a name"),
    ],
)
def test_batches_and_segments_that_do_not_fit_are_refused(change, message):
    from skywright.train import TrainConfig

    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate(TRAIN | change)


def test_a_gpt_with_dropout_goes_on_to_the_weights_of_a_run_that_was_never_stopped(small, tmp_path):
    gpt = ModelConfig(
        architecture="gpt", dropout=0.1, z_loss=1e-4, vocab_size=MODEL.vocab_size, hidden=32,
        layers=2, heads=2, ffn_hidden=128, context_tokens=64,
    )  # fmt: skip
    whole = small.train(tmp_path / "whole", model=gpt)
    small.train(tmp_path / "parts", model=gpt, segments=SEGMENTS[:1])
    assert small.train(tmp_path / "parts", model=gpt)["weights_sha256"] == whole["weights_sha256"]
    losses = [line["loss_nats"] for line in journal(tmp_path / "whole" / "metrics.jsonl")]
    assert np.mean(losses[-5:]) < losses[0] - 1.0


def test_a_model_that_was_scored_first_can_go_on_learning() -> None:
    model = Decoder(MODEL)
    model.initialise(0)
    ids = torch.arange(48)[None] % MODEL.vocab_size

    def states(batch: torch.Tensor) -> torch.Tensor:
        return model(batch)

    windows_nll(states, lambda hidden: hidden @ model.head.weight.T, [ids[0].numpy()], [1], "cpu")
    model.head(model(ids), ids).total.backward()
    assert model.embed_tokens.weight.grad is not None


def test_attention_within_documents_gives_other_weights_and_goes_on_to_the_bit(small, tmp_path):
    plain = small.train(tmp_path / "plain")
    whole = small.train(tmp_path / "whole", within_documents=True, packing="best_fit")
    small.train(
        tmp_path / "parts", within_documents=True, packing="best_fit", segments=SEGMENTS[:1]
    )
    again = small.train(tmp_path / "parts", within_documents=True, packing="best_fit")
    assert whole["weights_sha256"] != plain["weights_sha256"]
    assert again["weights_sha256"] == whole["weights_sha256"]
