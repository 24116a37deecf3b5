"""Tokenizers are measured side by side, and dead ids are told from merely unused ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from skywright.errors import UserError
from skywright.sets import EvaluationDocument, freeze
from skywright.tokenizer.model_file import Piece, add_pieces
from skywright.tokenizer.readers import open_reader
from skywright.tokenizer.report import TOTAL, report, texts_of_corpus, texts_of_sets

from .conftest import write_parquet

TEXTS = {
    ("en", "wiki"): ["the cat", "9\n"],
    ("zh", "poems"): ["中国", "龘"],
    ("zh", "wiki"): ["中▁国"],
}


@pytest.fixture(scope="module")
def byte_level(documents, tmp_path_factory):
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator([text for _, _, text in documents[:100]], trainer)
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    model.save(str(path))
    return path


def test_a_folder_and_its_model_file_are_the_same_tokenizer(folder, documents):
    readers = [
        open_reader(folder, "folder"),
        open_reader(folder / "tokenizer.json", "json"),
        open_reader(folder / "tokenizer.model", "model"),
    ]
    texts = {("", ""): [text for _, _, text in documents[::8]]}
    found = report(readers, texts)
    first, *others = found["rows"]
    for row in others:
        assert row | {"tokenizer": "folder"} == first
    spaces = [[piece.replace("▁", " ") for piece in reader.pieces] for reader in readers]
    assert spaces[0] == spaces[1] == spaces[2]
    one, *more = found["vocabularies"]
    for vocabulary in more:
        assert vocabulary["unreachable_ids"] == one["unreachable_ids"]
        assert vocabulary["unused_ids"] == one["unused_ids"]


def test_rows_by_hand(folder, tokenizer):
    found = report([open_reader(folder, "ours")], TEXTS)
    rows = {(row["lang"], row["domain"]): row for row in found["rows"]}
    assert set(rows) == {*TEXTS, ("zh", TOTAL)}
    en = rows["en", "wiki"]
    assert (en["documents"], en["chars"], en["bytes"]) == (2, 9, 9)
    assert en["tokens"] == len(tokenizer.encode("the cat")) + 2
    assert en["chars_per_token"]["value"] == 9 / en["tokens"]
    assert en["byte_fallback_share"]["value"] == 0  # a newline is a byte by design
    zh = rows["zh", TOTAL]
    assert (zh["documents"], zh["chars"], zh["bytes"]) == (3, 6, 18)
    # The rare character and the space mark are three bytes each.
    assert zh["byte_fallback_share"]["value"] == 6 / zh["tokens"]
    assert zh["documents_altered"] == 0
    assert zh["tokens_against_first"]["value"] == 1


def test_intervals_are_over_documents_and_comparisons_are_paired(folder, grown_folder, documents):
    texts = {("en", "x"): [text for lang, _, text in documents if lang == "en"]}
    readers = [open_reader(folder, "small"), open_reader(grown_folder, "large")]
    small, large = report(readers, texts)["rows"]
    assert small["tokens_against_first"] == {"value": 1, "low": 1, "high": 1, "n": 120}
    ratio = large["tokens_against_first"]
    assert ratio["value"] == large["tokens"] / small["tokens"]
    assert ratio["low"] < ratio["value"] < ratio["high"] < 1
    chars = large["chars_per_token"]
    # Documents differ much in characters a token, and alike for both tokenizers.
    width = (chars["high"] - chars["low"]) / chars["value"]
    assert (ratio["high"] - ratio["low"]) / ratio["value"] < width


def test_what_decoding_alters_is_counted(grown_folder):
    (vocabulary,) = report([open_reader(grown_folder, "grown")], TEXTS)["vocabularies"]
    assert vocabulary["documents_altered"] == 1  # the one with U+2581


def test_dead_ids_of_llama_are_bytes_that_no_character_needs(lists):
    reader = open_reader(lists / "llama2_tokenizer.model", "llama")
    dead = np.flatnonzero(reader.unreachable()).tolist()
    assert all(3 <= i < 259 for i in dead)
    values = {i - 3 for i in dead}
    # Never in UTF-8: C0, C1, F5 to FF. Printable ASCII has pieces.
    assert {0xC0, 0xC1, *range(0xF5, 0x100), ord("a"), ord(" ")} <= values
    assert not values & {0x0A, 0x00, 0xE4, 0x80, 0xBF}


def test_pieces_that_other_merges_cut_off_are_found(lists, tmp_path):
    # Chinese-LLaMA's way: pieces with score 0 come before all of LLaMA's, equals from the left.
    base = (lists / "llama2_tokenizer.model").read_bytes()
    added = [Piece("中国", 0.0), Piece("国人", 0.0), Piece("中国人民", 0.0), Piece("人民", 0.0)]
    added += [Piece("甲乙丙", 0.0)]
    (tmp_path / "merged.model").write_bytes(add_pieces(base, added))
    reader = open_reader(tmp_path / "merged.model", "merged")
    dead = [reader.pieces[i] for i in np.flatnonzero(reader.unreachable()) if i >= 32_000]
    assert dead == ["甲乙丙"]


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_no_text_ever_gives_an_unreachable_id(folder, grown_folder, byte_level, texts):
    for place in (folder, folder / "tokenizer.model", grown_folder, byte_level):
        reader, dead = opened(place)
        for ids in reader.encode_batch(texts):
            assert not dead[ids].any()


_OPENED: dict = {}


def opened(place):
    if place not in _OPENED:
        reader = open_reader(place, "x")
        _OPENED[place] = reader, reader.unreachable()
    return _OPENED[place]


def test_byte_level_vocabularies_are_read_too(byte_level, documents):
    reader = open_reader(byte_level, "bytes")
    assert reader.byte_level
    assert reader.special.tolist() == [True] + [False] * 799
    texts = {("zh", "x"): ["龘", "a\n"]}
    (row,) = report([reader], texts)["rows"]
    # A rare character is two or three parts of a character; a letter and a newline are none.
    assert 4 <= row["tokens"] <= 5
    assert row["byte_fallback_share"]["value"] == (row["tokens"] - 2) / row["tokens"]
    dead = [reader.pieces[i] for i in np.flatnonzero(reader.unreachable())]
    assert {"À", "Á", "õ", "ÿ"} <= set(dead)  # the bytes C0, C1, F5, FF
    assert not {"a", "Ġthe", "Ċ"} & set(dead)


def test_sets_and_corpora_give_texts_by_language_and_domain(documents, tmp_path):
    made = [EvaluationDocument.of(text, "wiki", "zh-Hans", "CC0") for text in ("甲", "乙")]
    item = freeze(tmp_path / "set", "s", "wiki", "zh", made, "domain", "two letters")
    assert texts_of_sets([item]) == {("zh", "wiki"): [d.text for d in item.documents]}
    path = write_parquet(tmp_path / "a.parquet", documents)
    found = texts_of_corpus([path])
    assert set(found) == {(lang, source) for lang, source, _ in documents}
    whole = {text for _, _, text in documents}
    assert all(text in whole for texts in found.values() for text in texts)


def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path, folder):
    for name in ("x.model", "x.json"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(UserError, match=r"is no tokenizer \(") as error:
            open_reader(tmp_path / name, "x")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"absent.model: cannot be read"):
        open_reader(tmp_path / "absent.model", "x")
    with pytest.raises(UserError, match="there is no text to measure on"):
        report([open_reader(folder, "x")], {("en", "x"): []})


def test_the_report_can_be_written_as_json(folder):
    found = report([open_reader(folder, "x")], {("en", "x"): ["one document"]})
    assert json.loads(json.dumps(found)) == found
    assert found["rows"][0]["chars_per_token"]["low"] is None  # one document: no interval


def test_special_ids_of_a_model_file(folder):
    reader = open_reader(folder / "tokenizer.model", "x")
    assert np.flatnonzero(reader.special).tolist() == [0, 1, 2]
    assert sentencepiece.SentencePieceProcessor(
        model_file=str(folder / "tokenizer.model")
    ).IsControl(1)
