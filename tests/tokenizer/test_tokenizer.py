"""Encoding is lossless, agrees with SentencePiece, and never invents a special token."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from skywright.errors import UserError
from skywright.tokenizer import Tokenizer
from skywright.tokenizer.huggingface import vocabulary

HARD = [
    "",
    " ",
    "   ",
    "\n",
    "\n\n  \n",
    "\ttab\t\ttabs \t",
    " leading and trailing ",
    "runs     of          spaces" + " " * 77,
    "def f(x):\n    if x:\n        return  [1, 22, 333]\r\n",
    "中文，没有空格。繁體字龘靐齉",
    "mixed 中文 and English，全角ＡＢＣ１２３",
    "emoji 👩‍👩‍👧‍👦 🇨🇳 e\u0301 \u200b\ufeff",
    "<s></s><unk><0x0A> </s>",
    "nul \x00 and \x7f \x1b",
    "unknown mark ▅▅ in SentencePiece",
    "aaaaaaaaaaaaaaaaaaaaa ababababababab ------------- ==========",
    "\u2028\u2029\u0085\u00a0\u3000",
]
SPACE_MARK = ["▁", "a▁b ▁ c", "▁▁▁ "]

PIECES = st.sampled_from(
    [
        "   ",
        "  ",
        " ",
        "\n",
        "\t",
        "the",
        " the",
        "a",
        "ab",
        "-",
        "=",
        "中",
        "中国",
        "。",
        "１",
        "9",
        "é",
        "😀",
        "龘",
        "<s>",
        "</s>",
        "<0x0A>",
        "return",
        ".",
        "\u3000",
        "\r\n",
    ]
)
WOVEN = st.lists(PIECES, max_size=40).map("".join)
ANY = st.text(max_size=60)


@pytest.fixture(scope="session")
def model(folder) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.mark.parametrize("text", HARD + SPACE_MARK)
def test_hard_texts_come_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(WOVEN, ANY))
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", HARD)
def test_both_files_agree_on_hard_texts(tokenizer, model, text):
    assert tokenizer.encode(text).tolist() == model.encode(text)


@settings(max_examples=500, deadline=None)
@given(text=st.one_of(WOVEN, ANY, st.text(alphabet=" ab\n中", max_size=80)))
def test_both_files_agree_on_any_text_without_the_space_mark(tokenizer, model, text):
    text = text.replace("▁", "")
    assert tokenizer.encode(text).tolist() == model.encode(text)


def test_both_files_agree_on_real_documents(tokenizer, model, documents):
    texts = [text for _, _, text in documents]
    assert not any("▁" in text for text in texts)
    found = tokenizer.encode_batch(texts)
    assert [ids.tolist() for ids in found] == [model.encode(text) for text in texts]
    assert [tokenizer.decode(ids) for ids in found] == texts


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(WOVEN, ANY))
def test_no_text_makes_a_special_id(tokenizer, text):
    ids = tokenizer.encode(f"<s>{text}</s><unk>")
    assert not set(ids.tolist()) & {0, tokenizer.bos_id, tokenizer.eos_id}


def test_ids_are_laid_out_as_in_llama(folder, tokenizer, model):
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (1, 2, 3000)
    pieces = vocabulary(model)
    assert pieces[:3] == ["<unk>", "<s>", "</s>"]
    assert pieces[3:259] == [f"<0x{byte:02X}>" for byte in range(256)]
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert definition["model"]["vocab"] == {piece: i for i, piece in enumerate(pieces)}


def test_digits_stay_single_and_newlines_are_bytes(tokenizer):
    assert len(tokenizer.encode("2023")) == 4
    assert tokenizer.encode("\n\n").tolist() == [3 + 10, 3 + 10]


def test_transformers_reads_the_folder_and_gives_the_same_ids(folder, tokenizer, documents):
    other = AutoTokenizer.from_pretrained(folder)
    assert (other.unk_token_id, other.bos_token_id, other.eos_token_id) == (0, 1, 2)
    assert len(other) == tokenizer.vocab_size
    for text in HARD + SPACE_MARK + [text for _, _, text in documents[::20]]:
        ids = tokenizer.encode(text).tolist()
        assert other(text)["input_ids"] == ids
        assert other.decode(ids) == text


def test_batch_equals_one_by_one_and_is_int32(tokenizer):
    for text, ids in zip(HARD, tokenizer.encode_batch(HARD), strict=True):
        assert ids.dtype == np.int32
        assert ids.tolist() == tokenizer.encode(text).tolist()
    assert tokenizer.encode_batch([]) == []


def test_decode_leaves_special_tokens_out(tokenizer):
    ids = [tokenizer.bos_id, *tokenizer.encode("hello").tolist(), tokenizer.eos_id]
    assert tokenizer.decode(np.array(ids)) == "hello"


def test_half_a_surrogate_pair_is_refused_by_its_number(tokenizer):
    with pytest.raises(UserError, match="text 1: holds half of a surrogate pair"):
        tokenizer.encode_batch(["fine", "a\ud800b"])


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json: is missing"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is no Hugging Face tokenizer"):
        Tokenizer.load(tmp_path)
