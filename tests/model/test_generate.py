import json
import math
from collections import Counter

import pytest
import torch
from typer.testing import CliRunner

from skywright import checkpoint
from skywright import tokenizer as tokenizer_room
from skywright.cli.app import app
from skywright.errors import UserError
from skywright.model.generate import SamplingConfig, Vocabulary, _draw, continuation, sample
from skywright.model.hf import export, load_hf
from skywright.tokenizer import TokenizerConfig
from tests.model.small import SHAPES, decoder, draw_ids

GREEDY = SamplingConfig(tokens=40, temperature=0)
PROMPTS = ("The old boat goes under", "我们看见河上的小船，", "def mean(values):")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exported model with its tokenizer."""
    root = tmp_path_factory.mktemp("generate")
    text = "the old boat goes under the bridge. 今天我们看见河上的小船。 def mean(values): " * 20
    tokenizer_room.train(
        TokenizerConfig(vocab_size=340, sample_bytes=50_000, character_coverage=1.0),
        [("en", "made", text + str(i)) for i in range(10)],
        root / "tokenizer",
    )
    (root / "model").mkdir()
    made = decoder(SHAPES["llama"].model_copy(update={"vocab_size": 340, "context_tokens": 160}))
    export(made, root / "tokenizer", root / "model")
    return root / "model"


def text(folder, prompt, config):
    return "".join(continuation(load_hf(folder), Vocabulary(folder), prompt, config))


@pytest.mark.parametrize("shape", SHAPES)
def test_each_greedy_token_is_the_likeliest_of_the_uncached_logits(shape):
    model, ids = decoder(SHAPES[shape]).eval(), draw_ids(1, 30)[0].tolist()
    made = list(sample(model, ids, GREEDY, []))
    with torch.no_grad():
        logits = model.logits(torch.tensor([ids + made]))[0, len(ids) - 1 : -1]
    assert made == logits.argmax(-1).tolist()


def test_the_seed_alone_decides_the_text(folder):
    config = SamplingConfig(tokens=40, temperature=1.0, seed=3)
    for prompt in PROMPTS:
        torch.manual_seed(1)
        first = text(folder, prompt, config)
        torch.manual_seed(2)
        assert first
        assert text(folder, prompt, config) == first
        assert text(folder, prompt, config.model_copy(update={"seed": 4})) != first


def test_the_pieces_join_to_what_the_tokenizer_decodes(folder):
    model, vocabulary = load_hf(folder), Vocabulary(folder)
    config = SamplingConfig(tokens=100, temperature=1.5, top_p=1.0)
    for prompt in PROMPTS:
        ids = vocabulary.encode(prompt)
        made = list(sample(model, ids, config, vocabulary.end_ids))
        whole = vocabulary.decode(ids + made)
        pieces = list(continuation(model, vocabulary, prompt, config))
        assert len(pieces) >= 10
        joined = prompt + "".join(pieces)
        # An ASCII byte may be shown before it turns out to stand among bytes that are no UTF-8.
        assert all(
            b in (a, "\N{REPLACEMENT CHARACTER}") for a, b in zip(joined, whole, strict=True)
        )


def test_an_end_token_is_the_last_and_a_full_context_stops():
    model = decoder(SHAPES["llama"]).eval()
    ids = draw_ids(1, 90)[0].tolist()
    assert len(list(sample(model, ids, SamplingConfig(tokens=50), []))) == 6
    made = list(sample(model, ids[:10], GREEDY, []))
    stop = made[4]
    assert list(sample(model, ids[:10], GREEDY, [stop])) == made[: made.index(stop) + 1]


def test_a_model_in_training_speaks_without_dropout_and_stays_in_training():
    model, ids = decoder(SHAPES["gpt"].model_copy(update={"dropout": 0.5})), [1, 2, 3]
    spoken = list(sample(model.train(), ids, GREEDY, []))
    assert model.training
    assert model.layers[0].dropout.training
    assert spoken == list(sample(model.eval(), ids, GREEDY, []))
    assert not model.training


def test_tokens_are_drawn_by_their_probabilities_within_the_nucleus():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()[[2, 0, 3, 1]]  # ids 1, 3, 0, 2 by rank
    generator = torch.Generator().manual_seed(0)

    def shares(temperature, top_p):
        config = SamplingConfig(temperature=temperature, top_p=top_p)
        drawn = Counter(_draw(logits, config, generator) for _ in range(4000))
        return [drawn[i] / 4000 for i in (1, 3, 0, 2)]

    assert shares(1.0, 1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert shares(1.0, 0.7) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(1.0, 0.0) == [1, 0, 0, 0]
    weights = [math.sqrt(p) for p in (0.5, 0.3, 0.15, 0.05)]
    halved = [w / sum(weights) for w in weights]
    assert shares(2.0, 1.0) == pytest.approx(halved, abs=0.03)


def test_prompts_and_folders_that_cannot_be_used_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="the model's context is 160; shorten it"):
        text(folder, "boat 船" * 200, GREEDY)
    with pytest.raises(UserError, match=r"tokenizer.json: is missing"):
        Vocabulary(tmp_path)
    with pytest.raises(UserError, match="half of a surrogate pair"):
        text(folder, "boat \ud83d", GREEDY)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(UserError, match="names a BOS or EOS"):
        Vocabulary(tmp_path)
    narrow = decoder(SHAPES["llama"])
    with pytest.raises(UserError, match=r"the model 101 rows; wrong tokenizer"):
        continuation(narrow, Vocabulary(folder), "boat", GREEDY)


def test_special_tokens_are_found_where_other_tools_write_them(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    vocabulary = Vocabulary(tmp_path)
    assert (vocabulary.start_id, vocabulary.end_ids) == (2, [2])
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": [2, 7]}))
    vocabulary = Vocabulary(tmp_path)
    assert (vocabulary.start_id, vocabulary.end_ids) == (1, [2, 7])
    assert vocabulary.encode("<s>")[1:] != [1]


def test_a_training_checkpoint_speaks_as_its_export_does(folder, tmp_path):
    model = load_hf(folder)
    checkpoint.save(
        tmp_path / "step-00000001",
        {"weights": {name: p.detach() for name, p in model.named_parameters()}},
        {"step": 1, "model": model.config.model_dump(mode="json")},
        beside=[folder / "tokenizer.json", folder / "tokenizer_config.json"],
    )
    command = ["generate", str(tmp_path / "step-00000001"), PROMPTS[0], "--tokens", "20"]
    printed = CliRunner().invoke(app, command).stdout
    expected = text(folder, PROMPTS[0], SamplingConfig(tokens=20))
    assert printed == f"{PROMPTS[0]}{expected}\n"


def test_the_command_prints_the_prompt_and_its_continuation(folder):
    arguments = ["generate", str(folder), PROMPTS[1], "--tokens", "20", "--seed", "5"]
    config = SamplingConfig(tokens=20, seed=5)
    expected = text(folder, PROMPTS[1], config)
    runner = CliRunner()
    assert runner.invoke(app, arguments).stdout == f"{PROMPTS[1]}{expected}\n"
    from_stdin = [*arguments[:2], "-", *arguments[3:], "--json"]
    answer = json.loads(runner.invoke(app, from_stdin, input=PROMPTS[1]).stdout)
    assert (answer["prompt"], answer["continuation"]) == (PROMPTS[1], expected)
