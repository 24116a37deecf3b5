"""A model grown to a larger vocabulary says about old texts what it said."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoTokenizer

from skywright import tokenizer as tokenizer_room
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.hf import export, load_hf, verify
from skywright.model.vocabulary import grow, grow_folder, old_ids
from skywright.tokenizer import ExtendConfig, Tokenizer, TokenizerConfig

TEXT = "我们今天看见一条河。the quick brown fox 今天我们看见河 def return sum values len\n"
WORDS = "河我们\t3\n我看\t2\n天河\t1\n条看见\t1\n"
CHARACTERS = "鸟\n龘\n①\n"
OLD_TEXT = "the quick brown fox\ndef return  sum"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tokenizer's folder and that of the same grown by 3 characters, 4 words, 2 symbols."""
    root = tmp_path_factory.mktemp("tokenizers")
    base = TokenizerConfig(vocab_size=340, sample_bytes=50_000, character_coverage=1.0)
    documents = [("zh-Hans", "made", TEXT * 20 + str(i)) for i in range(10)]
    tokenizer_room.train(base, documents, root / "old")
    (root / "words.tsv").write_text(WORDS, encoding="utf-8")
    (root / "characters.txt").write_text(CHARACTERS, encoding="utf-8")
    extend = ExtendConfig(
        model=root / "old" / "tokenizer.model",
        characters=root / "characters.txt",
        words=root / "words.tsv",
    )
    config = TokenizerConfig(vocab_size=349, reserved=2, extend=extend)
    tokenizer_room.extend(config, [], root / "new")
    return root / "old", root / "new"


@pytest.fixture(scope="module")
def tokenizers(folders):
    return tuple(Tokenizer.load(folder) for folder in folders)


def made(tied: bool) -> Decoder:
    model = Decoder(
        ModelConfig(
            vocab_size=340, hidden=32, layers=2, heads=4, ffn_hidden=48, context_tokens=64,
            tie_embeddings=tied,
        )
    )  # fmt: skip
    model.initialise(3)
    return model


def tables(model: Decoder) -> tuple[torch.Tensor, torch.Tensor]:
    return model.embed_tokens.weight.detach(), model.head.weight.detach()


@pytest.mark.parametrize("tied", [False, True])
def test_old_rows_are_kept_to_the_bit_and_new_ones_are_means(tokenizers, tied):
    old, new = tokenizers
    model = made(tied)
    grown = grow(model, old, new)
    assert grown.config.vocab_size == new.vocab_size
    for before, after in zip(tables(model), tables(grown), strict=True):
        assert torch.equal(after[:340], before)
        for i in range(340, new.vocab_size):
            # A piece has no space before it; behind a newline none is put there either.
            ids = old.encode("\n" + new.pieces[i])[1:].tolist()
            rows = before if i in new.reserved_ids else before[ids]
            torch.testing.assert_close(after[i], rows.mean(0))
    assert (grown.head.weight is grown.embed_tokens.weight) == tied
    # A character without a piece begins as the mean of its three bytes.
    assert len(old.encode_piece("龘")) == 3


@pytest.mark.parametrize("tied", [False, True])
def test_old_text_gives_the_same_logits_on_old_ids(tokenizers, tied):
    old, new = tokenizers
    model = made(tied)
    ids = torch.from_numpy(old.encode(OLD_TEXT)).long()[None]
    assert new.encode(OLD_TEXT).tolist() == ids[0].tolist()
    grown = grow(model, old, new)
    with torch.no_grad():
        assert torch.equal(grown(ids), model(ids))
        torch.testing.assert_close(grown.logits(ids)[..., :340], model.logits(ids))


def test_the_given_model_is_left_as_it_is_and_shares_its_other_weights(tokenizers):
    old, new = tokenizers
    model = made(False)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    grown = grow(model, old, new)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])
    assert grown.norm.weight.data_ptr() == model.norm.weight.data_ptr()
    assert all(parameter.requires_grad for parameter in grown.parameters())


def test_padding_rows_of_a_model_are_dropped(tokenizers):
    old, new = tokenizers
    padded = Decoder(made(False).config.model_copy(update={"vocab_size": 352}))
    padded.initialise(3)
    grown = grow(padded, old, new)
    assert torch.equal(tables(grown)[0][:340], tables(padded)[0][:340])
    assert len(tables(grown)[0]) == new.vocab_size
    short = Decoder(made(False).config.model_copy(update={"vocab_size": 300}))
    with pytest.raises(UserError, match="the model has 300 rows, its tokenizer 340 ids"):
        grow(short, old, new)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_hugging_face_folder_grows(folders, tokenizers, tmp_path, dtype):
    model = made(False)
    (tmp_path / "old").mkdir()
    export(model, folders[0], tmp_path / "old", dtype)
    grow_folder(tmp_path / "old", folders[1], tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text())["vocab_size"] == 349
    before, after = (load_hf(tmp_path / name, dtype) for name in ("old", "new"))
    assert torch.equal(tables(after)[0][:340], tables(before)[0])
    assert verify(tmp_path / "new", after.float()) < 1e-4
    theirs = AutoTokenizer.from_pretrained(tmp_path / "new")
    text = "天河我看①龘 the fox"
    assert max(theirs(text)["input_ids"]) >= 340
    assert theirs(text)["input_ids"] == tokenizers[1].encode(text).tolist()


def test_another_tokenizer_is_refused_with_the_id_that_differs(tokenizers, tmp_path):
    old, new = tokenizers
    with pytest.raises(UserError, match="fewer than the old one's"):
        old_ids(new, old)
    documents = [("en", "made", "an entirely different text, in English alone " * 50)]
    config = TokenizerConfig(vocab_size=300, sample_bytes=50_000, character_coverage=1.0)
    tokenizer_room.train(config, documents, tmp_path / "other")
    with pytest.raises(UserError, match=r"id \d+ is .* for the old tokenizer"):
        old_ids(old, Tokenizer.load(tmp_path / "other"))
