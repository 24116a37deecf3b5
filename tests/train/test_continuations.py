"""What a model goes on with while it trains: at each checkpoint, and without touching training."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from skywright import checkpoint
from skywright.engine.files import read_json
from skywright.model.decoder import Decoder
from skywright.model.generate import SamplingConfig, Vocabulary, continuation
from skywright.model.hf import TORCH_DTYPES
from skywright.train import MonitorConfig
from skywright.train.continuations import continuations, in_one_line
from tests.train.small import MODEL, SEGMENTS

FEW = SamplingConfig(tokens=6, temperature=0)
DRAWN = SamplingConfig(tokens=6, temperature=1.0)


def lines(out):
    # Texts may hold U+2028, at which str.splitlines would cut.
    text = (out / "continuations.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def decoder(**changes):
    model = Decoder(MODEL.model_copy(update=changes))
    model.initialise(seed=1)
    return model


def test_there_is_a_line_for_each_checkpoint_that_is_due(finished):
    found = lines(finished)
    # Every 1,024 tokens of 256 a step, and the ends of segments at 28 and 41.
    assert [line["step"] for line in found] == [4, 8, 12, 16, 20, 24, 28, 29, 33, 37, 41]
    for line in found:
        assert [row["prompt"] for row in line["continuations"]] == MonitorConfig().prompts
        assert all(row.keys() == {"prompt", "text"} for row in line["continuations"])
    assert any(row["text"] for row in found[-1]["continuations"])


def test_the_text_is_what_the_weights_in_training_give(finished):
    newest = finished / "checkpoints" / "step-00000041"
    precision = read_json(finished / "summary.json")["precision"]
    model = checkpoint.load_model(newest).to(TORCH_DTYPES[precision])
    sampling = MonitorConfig().sampling
    assert sampling.tokens == 32
    for row in lines(finished)[-1]["continuations"]:
        pieces = continuation(model, Vocabulary(newest), row["prompt"], sampling)
        assert row["text"] == "".join(pieces)


def test_training_is_the_same_with_and_without_prompts_also_with_dropout(small, tmp_path):
    model = MODEL.model_copy(update={"architecture": "gpt", "dropout": 0.2})
    quick = {"model": model, "sets": [], "segments": SEGMENTS[:1], "export_at_segment_ends": False}
    prompts = {"prompts": ["the", "我们"], "continuation_temperature": 1.0}
    asked = small.train(tmp_path / "asked", monitor=prompts, **quick)
    not_asked = small.train(tmp_path / "not", monitor={"prompts": []}, **quick)
    assert asked["weights_sha256"] == not_asked["weights_sha256"]
    assert len(lines(tmp_path / "asked")) == 7
    assert lines(tmp_path / "not") == []


def test_mode_and_random_state_are_left_alone(small):
    model = decoder(architecture="gpt", dropout=0.5).train()
    before = torch.get_rng_state()
    first = continuations(model, small.tokenizer, ["the boat", "河上"], DRAWN)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(module.training for module in model.modules())
    assert continuations(model, small.tokenizer, ["the boat", "河上"], DRAWN) == first


def test_a_compiled_layer_is_not_compiled_for_the_lengths_of_texts(small):
    from torch._dynamo.utils import counters

    model = decoder()
    expected = continuations(model, small.tokenizer, ["the boat"], MonitorConfig().sampling)
    for layer in model.layers:
        layer.compile(backend="eager", fullgraph=True)
    before = counters["stats"]["unique_graphs"]
    found = continuations(model, small.tokenizer, ["the boat"], MonitorConfig().sampling)
    assert found == expected
    assert counters["stats"]["unique_graphs"] == before
    model(torch.zeros(1, 8, dtype=torch.long))
    assert counters["stats"]["unique_graphs"] > before, "outside they are compiled"


# ---------------------------------------------------------------- odd text


@pytest.fixture(scope="module")
def odd():
    return decoder()


@settings(max_examples=40, deadline=None)
@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_answered_by_a_text_or_a_problem_that_utf8_carries(small, odd, prompt):
    (found,) = continuations(odd, small.tokenizer, [prompt], DRAWN)
    assert found["prompt"] == prompt
    assert len(found) == 2
    assert found.keys() & {"text", "problem"}
    json.dumps(found, ensure_ascii=False).encode()


def test_what_does_not_fit_the_model_is_a_problem_and_the_others_are_answered(small):
    prompts = ["the " * 100, "the"]
    long, short = continuations(decoder(), small.tokenizer, prompts, FEW)
    assert "the model's context is 64; shorten it" in long["problem"]
    assert short.keys() == {"prompt", "text"}
    (wrong,) = continuations(decoder(vocab_size=8), small.tokenizer, ["the"], FEW)
    assert "wrong tokenizer" in wrong["problem"]


def test_a_folder_without_a_tokenizer_is_a_problem(tmp_path):
    (found,) = continuations(decoder(), tmp_path, ["the"], FEW)
    assert "tokenizer.json: is missing" in found["problem"]


def test_weights_that_are_no_numbers_are_a_problem(small):
    model = decoder()
    torch.nn.init.constant_(model.norm.weight, float("nan"))
    (found,) = continuations(model, small.tokenizer, ["the"], DRAWN)
    assert found["problem"]
    assert "\n" not in found["problem"]


def test_half_of_a_surrogate_pair_is_refused_when_the_recipe_is_read():
    with pytest.raises(ValidationError, match="half of a surrogate pair"):
        MonitorConfig(prompts=["good", "\ud83d"])


@given(text=st.text())
def test_one_line_holds_nothing_that_a_terminal_would_obey(text):
    shown = in_one_line(text)
    assert all(char.isprintable() for char in shown)
    assert in_one_line(f"a\x1b[2J{text}\r\n\x9b1Ab").startswith("a [2J")
