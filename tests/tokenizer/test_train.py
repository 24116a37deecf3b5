"""Training is a pure function of the documents, and the sample is balanced by weight."""

from __future__ import annotations

import random

import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from skywright.engine.files import read_json, sha256_file
from skywright.errors import UserError
from skywright.tokenizer import Tokenizer, TokenizerConfig, train
from skywright.tokenizer.fertility import fertility
from skywright.tokenizer.huggingface import vocabulary
from skywright.tokenizer.sample import LINE_BYTES, by_lang, lines, sample, shares
from skywright.tokenizer.train import train_model

from .conftest import SMALL

NAMES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "summary.json")


def test_the_same_documents_in_any_order_give_the_same_bytes(documents, folder, tmp_path):
    shuffled = documents.copy()
    random.Random(11).shuffle(shuffled)
    train(SMALL, iter(shuffled), tmp_path / "again")
    for name in NAMES:
        assert sha256_file(tmp_path / "again" / name) == sha256_file(folder / name), name


def test_the_number_of_threads_changes_no_piece(documents):
    text = list(lines(text for _, _, text in documents[:200]))
    made = [train_model(SMALL, iter(text), threads) for threads in (1, 4)]
    models = [sentencepiece.SentencePieceProcessor(model_proto=model) for model in made]
    assert vocabulary(models[0]) == vocabulary(models[1])


def test_a_finished_folder_is_left_alone(folder):
    before = {name: (folder / name).stat().st_mtime_ns for name in NAMES}
    summary = train(SMALL, iter(()), folder)
    assert summary == read_json(folder / "summary.json")
    assert {name: (folder / name).stat().st_mtime_ns for name in NAMES} == before


def test_the_summary_measures_every_language(folder, tokenizer):
    summary = read_json(folder / "summary.json")
    assert summary["vocab_size"] == 3000
    assert summary["fingerprint"] == tokenizer.fingerprint == sha256_file(folder / "tokenizer.json")
    rows = {row["lang"]: row for row in summary["rows"]}
    assert set(rows) == {"en", "zh-Hans", "zh-Hant"}
    for row in rows.values():
        assert row["bytes_per_token"] == row["bytes"] / row["tokens"]
        assert row["chars_per_token"] == row["chars"] / row["tokens"]
        assert 0 <= row["byte_fallback_share"] < 1
    # A poem is Han characters and full-width marks of three bytes, and newlines of one.
    poems = rows["zh-Hant"]
    assert 2.5 < poems["bytes_per_token"] / poems["chars_per_token"] < 3
    # A rare character is spelt in three bytes; common English letters never are.
    assert rows["zh-Hant"]["byte_fallback_share"] > rows["en"]["byte_fallback_share"]


def test_fertility_by_hand(tokenizer):
    row = fertility(tokenizer, "en", ["9 9\n", "\U0001f9ff"])
    # "9", " ", "9" or " 9", newline; then one emoji that no piece has: four bytes.
    tokens = len(tokenizer.encode("9 9\n")) + 4
    assert (row["documents"], row["chars"], row["bytes"]) == (2, 5, 8)
    assert row["tokens"] == tokens
    assert row["byte_fallback_share"] == 4 / tokens


def test_shares_follow_the_weights_and_pass_on_what_is_missing():
    weights = {"en": 1.0, "zh": 1.0, "code": 0.5}
    plenty = {"en": 10_000, "zh": 10_000, "code": 10_000}
    assert shares(plenty, weights, 1000) == {"en": 400, "zh": 400, "code": 200}
    assert shares({**plenty, "code": 100}, weights, 1000) == {"en": 450, "zh": 450, "code": 100}
    assert shares({"en": 10, "zh": 10, "fr": 99}, weights, 1000) == {"en": 10, "zh": 10, "fr": 0}
    assert shares({"en": 500, "zh": 500}, {"en": 1.0, "zh": 0.0}, 100) == {"en": 100, "zh": 0}


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10_000)),
    st.dictionaries(
        st.sampled_from("abcdef"), st.one_of(st.just(0.0), st.floats(1e-6, 10)), min_size=1
    ),
    st.integers(1, 20_000),
)
@example({"a": 2}, {"a": 5e-324}, 1)
def test_shares_never_pass_the_total_or_what_there_is(available, weights, total):
    found = shares(available, weights, total)
    assert set(found) == set(available)
    assert all(0 <= found[lang] <= available[lang] for lang in found)
    assert sum(found.values()) <= total


def test_the_sample_fills_its_bytes_and_keeps_whole_characters(documents):
    chosen = sample(documents, {"en": 1.0, "zh-Hans": 1.0}, 300_000, seed=1)
    assert set(chosen) == {"en", "zh-Hans"}
    for lang, texts in by_lang(chosen).items():
        size_bytes = sum(len(text.encode()) for text in texts)
        assert 150_000 - 3 <= size_bytes <= 150_000
        whole = [text for other, _, text in documents if other == lang]
        assert all(any(text.startswith(part) for text in whole) for part in texts)
        assert "\ufffd" not in texts[-1]


def test_another_seed_chooses_other_documents(documents):
    one, two = (sample(documents, {"en": 1.0}, 100_000, seed) for seed in (1, 2))
    assert set(one["en"]) != set(two["en"])


@given(st.lists(st.text(), max_size=5))
def test_lines_are_short_and_lose_only_what_is_reserved(texts):
    found = list(lines(texts))
    assert all("\n" not in line and len(line.replace(" ", "▁").encode()) <= LINE_BYTES
               for line in found)  # fmt: skip
    kept = [
        line
        for text in texts
        for line in text.split("\n")
        if line.strip() and not set(line) & set("▁▅\x00")
    ]
    assert "".join(found) == "".join(kept)


def test_long_lines_are_cut_not_dropped():
    text = "没有空格的长句。" * 2000 + " spaced words" * 2000
    found = list(lines([text]))
    assert len(found) > 10
    assert "".join(found) == text


def test_no_document_in_a_weighted_language_is_refused(tmp_path):
    with pytest.raises(UserError, match="no document is in code, en, zh-Hans, zh-Hant"):
        train(TokenizerConfig(), [("fr", "x", "Bonjour")], tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_too_large_a_vocabulary_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="vocab_size 8192: SentencePiece cannot") as error:
        train(TokenizerConfig(), [("en", "x", "only a few words here")], tmp_path / "t")
    assert "\n" not in str(error.value)


def test_weights_must_make_sense():
    with pytest.raises(ValidationError, match="must not be negative"):
        TokenizerConfig(weights={"en": -1.0})
    with pytest.raises(ValidationError, match="above zero"):
        TokenizerConfig(weights={"en": 0.0})


def test_weights_may_name_sources(documents, tmp_path):
    config = SMALL.model_copy(update={"by": "source", "weights": {"zh_poetry.jsonl.gz": 1.0}})
    train(config.model_copy(update={"vocab_size": 1900}), documents, tmp_path / "poems")
    rows = read_json(tmp_path / "poems" / "summary.json")["rows"]
    assert [row["lang"] for row in rows] == ["zh-Hant"]
    chosen = sample(
        documents, {"zh_wiki.jsonl.gz": 3.0, "zh_javaguide.jsonl.gz": 1.0}, 100_000, 1, "source"
    )
    sizes = {
        source: sum(len(text.encode()) for _, _, text in texts) for source, texts in chosen.items()
    }
    assert sizes["zh_wiki.jsonl.gz"] == pytest.approx(75_000, abs=3)
    assert sizes["zh_javaguide.jsonl.gz"] == pytest.approx(25_000, abs=3)
    assert {lang for texts in chosen.values() for lang, _, _ in texts} == {"zh-Hans"}
    with pytest.raises(ValidationError, match="by: source needs weights that name sources"):
        TokenizerConfig(by="source")
    with pytest.raises(UserError, match="no document is of source web; name the sources"):
        train(TokenizerConfig(by="source", weights={"web": 1.0}), documents, tmp_path / "t")


def test_reserved_symbols_are_the_last_ids_and_change_no_other(documents, folder, tmp_path):
    # Ids and merges of 3,000 pieces, and 5 symbols behind them.
    more = SMALL.model_copy(update={"vocab_size": 3005, "reserved": 5})
    summary = train(more, documents, tmp_path / "more")
    one, two = Tokenizer.load(folder), Tokenizer.load(tmp_path / "more")
    assert two.vocab_size == 3005
    assert two.pieces[:3000] == one.pieces
    assert two.reserved_ids == (3000, 3001, 3002, 3003, 3004)
    assert summary["reserved_ids"] == list(two.reserved_ids)
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(tmp_path / "more" / "tokenizer.model")
    )
    for text in ("<|reserved_0|>", "x<|reserved_4|> y", *(text for _, _, text in documents[::40])):
        ids = two.encode(text).tolist()
        assert ids == one.encode(text).tolist() == model.encode(text)
        assert max(ids) < 3000
    assert two.decode([3001, *two.encode("text"), 3004]) == "text"


def test_loading_twice_gives_the_same_tokenizer(folder, tokenizer):
    assert Tokenizer.load(folder).fingerprint == tokenizer.fingerprint
