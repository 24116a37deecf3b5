"""LLaMA's real vocabulary grown to Skywork's 65,536 ids: old cuts stay, new pieces are reached."""

from __future__ import annotations

import itertools
import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.tokenization_utils_base import generate_merges

from skywright.engine.files import read_json, sha256_file
from skywright.errors import UserError
from skywright.tokenizer import ExtendConfig, Tokenizer, TokenizerConfig, extend
from skywright.tokenizer.model_file import read_model, with_text_untouched
from skywright.tokenizer.words import is_han, is_han_word

from .conftest import skywork_config, write_parquet
from .test_tokenizer import ANY, HARD, SPACE_MARK, WOVEN

FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "summary.json")
OLD = 32_000

CHINESE = st.text(alphabet="的一是中国人民在有加拿大越来多斯坦哈萨克习近平龘鿿〇々", max_size=30)
SPACES = st.lists(
    st.sampled_from([" ", "  ", " " * 17, "a", "\n", "中", " the", "x="]), max_size=30
)
MIXED = st.lists(st.one_of(WOVEN, CHINESE, SPACES.map("".join), ANY), max_size=3).map("".join)


# ---------------------------------------------------------------- what was added


def test_skyworks_65536_ids_are_counted(grown_folder, grown):
    summary = read_json(grown_folder / "summary.json")
    assert grown.vocab_size == summary["vocab_size"] == 65_536 == np.iinfo(np.uint16).max + 1
    assert summary["model"] == {
        "ids": 32_000, "han_characters": 701, "lowest_score": -31_740.0, "pieces_at_-1e9": 16,
    }  # fmt: skip
    assert summary["characters"] == {
        "listed": 8_000, "in_the_model": 1_073, "added": 6_927, "added_not_han": 304,
    }  # fmt: skip
    # Skywork's report says 8,000 characters, 25,519 words, 17 reserved: with the characters that
    # LLaMA had already, 26,592 ids are free for words.
    words = summary["words"]
    assert words["free_ids"] == 65_536 - 32_000 - 6_927 - 17 == 25_519 + 1_073
    assert words["without_split_among_first"] == 585
    assert words["if_dropped"] == {"words": 26_592, "dropped": 659}
    assert words["if_bridged"] == {"words": 25_956, "bridges": 636}
    assert words["added"] + words["bridges"] == words["free_ids"]
    assert words["refused"] == {"character_without_piece": 41}


def test_ids_follow_the_lists(grown_folder, grown, llama, lists):
    pieces = grown.pieces
    assert pieces[:OLD] == [llama.IdToPiece(i) for i in range(OLD)]
    listed = (lists / "bert_base_chinese_vocab.txt").read_text(encoding="utf-8").split("\n")
    old = set(pieces[:OLD])
    added = [line for line in listed if len(line) == 1 and line not in old]
    assert pieces[OLD : OLD + 6_927] == added
    assert {"\u2028", "☀"} <= set(listed)  # the first ends a line elsewhere
    assert pieces[OLD + 6_927 : OLD + 6_930] == ["一个", "我们", "中国"]
    bridges = pieces[-17 - 636 : -17]
    assert "加拿大" in pieces[OLD + 6_927 : -17 - 636]  # no two pieces without a bridge
    assert "加拿" in bridges
    assert pieces[-17:] == [f"<|reserved_{number}|>" for number in range(17)]
    assert grown.reserved_ids == tuple(range(65_519, 65_536))
    # The 305th of the added characters that is no ideograph is the numeral 〇, which is Han.
    assert sum(not is_han(char) for char in added) == 304
    assert "〇" in added


def test_new_scores_go_on_below_the_lowest(grown_folder):
    model = read_model((grown_folder / "tokenizer.model").read_bytes())
    scores = [piece.score for piece in model.pieces[OLD : 65_536 - 17]]
    assert scores == [-31_740.0 - place for place in range(1, len(scores) + 1)]


def test_every_added_piece_is_reached(grown, grown_model):
    newline = grown_model.encode("\n")
    for i in range(OLD, 65_536 - 17):
        piece = grown.pieces[i]
        assert grown.encode_piece(piece) == [i], piece
        # In a text: behind a newline, where SentencePiece puts no space before it.
        assert grown_model.encode("\n" + piece) == [*newline, i], piece


def test_every_added_piece_is_a_listed_character_or_all_han(grown):
    added = grown.pieces[OLD : 65_536 - 17]
    assert all(len(piece) == 1 or is_han_word(piece) for piece in added)


# ---------------------------------------------------------------- what is promised


def without_added_pieces(text: str) -> str:
    """A text without Han characters and added symbols, in which no added piece can stand."""
    return "".join(char for char in text if not is_han(char) and char not in ADDED_SYMBOLS)


ADDED_SYMBOLS: set[str] = set()


@pytest.fixture(scope="module", autouse=True)
def _added_symbols(grown):
    ADDED_SYMBOLS.update(piece for piece in grown.pieces[OLD : OLD + 6_927] if not is_han(piece))
    assert len(ADDED_SYMBOLS) == 304


@pytest.fixture(scope="module")
def written_out(grown, lists) -> list[list[int]]:
    """LLaMA's ids of the text of each id."""
    bare = with_text_untouched((lists / "llama2_tokenizer.model").read_bytes())
    model = sentencepiece.SentencePieceProcessor(model_proto=bare)
    return [[i] for i in range(OLD)] + [model.encode(piece) for piece in grown.pieces[OLD:]]


@settings(max_examples=500, deadline=None)
@given(text=MIXED)
def test_new_ids_written_out_as_old_ones_are_the_old_encoding_of_any_text(
    grown, llama, written_out, text
):
    assert [old for i in grown.encode(text) for old in written_out[i]] == llama.encode(text)


def test_new_ids_written_out_are_the_old_encoding_of_real_text(
    grown, llama, written_out, documents
):
    texts = [text for _, _, text in documents]
    found = grown.encode_batch(texts)
    assert sum(int((ids >= OLD).sum()) for ids in found) > 50_000
    for text, ids in zip(texts, found, strict=True):
        assert [old for i in ids for old in written_out[i]] == llama.encode(text)


@settings(max_examples=400, deadline=None)
@given(text=MIXED)
def test_text_without_han_and_added_symbols_is_cut_as_before(grown, grown_model, llama, text):
    text = without_added_pieces(text)
    assert grown.encode(text).tolist() == grown_model.encode(text) == llama.encode(text)


@settings(max_examples=400, deadline=None)
@given(text=CHINESE)
def test_text_in_which_no_added_piece_stands_is_cut_as_before(grown, llama, text):
    held = {text[a:b] for a in range(len(text)) for b in range(a + 1, min(a + 14, len(text) + 1))}
    if held.isdisjoint(grown.pieces[OLD:]):
        assert grown.encode(text).tolist() == llama.encode(text)


@settings(max_examples=400, deadline=None)
@given(text=MIXED)
def test_both_files_agree_on_any_text(grown, grown_model, text):
    assert grown.encode(text).tolist() == grown_model.encode(text)


@pytest.mark.parametrize("text", HARD + SPACE_MARK)
def test_both_files_agree_on_hard_texts(grown, grown_model, text):
    assert grown.encode(text).tolist() == grown_model.encode(text)


def test_both_files_agree_on_repeated_pieces_and_real_documents(grown, grown_model, documents):
    draw = random.Random(3)
    long = [piece.replace("▁", " ") for piece in grown.pieces[259:] if len(piece) > 1]
    texts = [text for _, _, text in documents]
    for _ in range(20_000):
        piece = draw.choice(long)
        texts.append(piece[: draw.randint(1, len(piece))] * draw.randint(1, 9) + draw.choice(long))
    assert [ids.tolist() for ids in grown.encode_batch(texts)] == grown_model.encode(texts)


@settings(max_examples=300, deadline=None)
@given(text=MIXED)
def test_any_text_without_the_space_mark_comes_back(grown, text):
    text = text.replace("▁", "")
    assert grown.decode(grown.encode(text)) == text


def test_of_all_unicode_only_the_space_mark_does_not_come_back(grown):
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["\n".join(map(chr, codes[first : first + 512])) for first in range(0, len(codes), 512)]
    back = [grown.decode(ids) for ids in grown.encode_batch(texts)]
    lost = [a for text, again in zip(texts, back, strict=True) if text != again for a in text]
    assert len(lost) == 512 * 2 - 1  # one text of 512
    assert "▁" in lost
    alone = [char for char in set(lost) if grown.decode(grown.encode(char)) != char]
    assert alone == ["▁"]
    assert grown.decode(grown.encode("a▁b")) == "a b"


@settings(max_examples=200, deadline=None)
@given(text=MIXED)
def test_no_text_makes_a_special_id(grown, grown_model, text):
    text = f"<s>{text}</s><unk><|reserved_0|><|reserved_16|>"
    for ids in (grown.encode(text).tolist(), grown_model.encode(text)):
        assert not set(ids) & {0, 1, 2, *grown.reserved_ids}


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(MIXED, max_size=4))
def test_whole_columns_are_encoded_to_the_same_ids(grown, texts):
    ids, starts = grown.encode_column(pa.array(texts, pa.string()))
    expected = [found.tolist() for found in grown.encode_batch(texts)]
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(starts)] == expected
    sizes = [len(text.replace("▁", " ").encode()) for text in texts]  # the mark becomes a space
    assert grown.text_bytes(ids, np.diff(starts)).tolist() == sizes


def test_transformers_reads_the_folder_and_gives_the_same_ids(grown_folder, grown, documents):
    other = AutoTokenizer.from_pretrained(grown_folder)
    assert (other.unk_token_id, other.bos_token_id, other.eos_token_id) == (0, 1, 2)
    assert len(other) == 65_536
    for text in HARD + [text for _, _, text in documents[::20]]:
        ids = grown.encode(text).tolist()
        assert other(text)["input_ids"] == ids
        assert other.decode(ids) == text


def test_transformers_own_conversion_cuts_runs_of_spaces_otherwise(grown_folder, grown, llama):
    # It orders merges by the joined piece's id, and LLaMA's runs of spaces have low ids but the
    # lowest scores. Our merges follow the scores.
    definition = json.loads((grown_folder / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = [llama.IdToPiece(i) for i in range(OLD)]
    definition["model"]["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    definition["model"]["merges"] = generate_merges(definition["model"]["vocab"])
    definition["added_tokens"] = definition["added_tokens"][:3]
    theirs = Tokenizer(json.dumps(definition).encode(), "theirs")
    assert theirs.encode("a   b").tolist() == llama.encode("a   b")
    for text in ("a" + " " * 20 + "b", "def f():\n        return"):
        assert grown.encode(text).tolist() == llama.encode(text)
        assert theirs.encode(text).tolist() != llama.encode(text)


# ---------------------------------------------------------------- how it is made


def test_the_same_inputs_give_the_same_bytes(lists, grown_folder, tmp_path):
    elsewhere = tmp_path / "lists"
    shutil.copytree(lists, elsewhere)
    extend(skywork_config(elsewhere), [], tmp_path / "again")
    for name in FILES:
        assert sha256_file(tmp_path / "again" / name) == sha256_file(grown_folder / name), name


def test_the_summary_names_all_that_was_read(lists, grown_folder):
    inputs = read_json(grown_folder / "summary.json")["inputs"]
    for key, name in (
        ("model", "llama2_tokenizer.model"),
        ("characters", "bert_base_chinese_vocab.txt"),
        ("words", "wordfreq_zh_multichar_60k.tsv.gz"),
    ):
        assert inputs[key] == {"file": name, "sha256": sha256_file(lists / name)}


def test_a_folder_of_the_same_inputs_is_left_alone_and_one_of_others_refused(lists, grown_folder):
    before = [(grown_folder / name).stat().st_mtime_ns for name in FILES]
    assert extend(skywork_config(lists), [], grown_folder)["vocab_size"] == 65_536
    assert [(grown_folder / name).stat().st_mtime_ns for name in FILES] == before
    with pytest.raises(UserError, match="made_from: this folder holds a vocabulary made of other"):
        extend(skywork_config(lists, unreachable="drop"), [], grown_folder)


def test_words_are_counted_on_the_corpus_in_any_order(lists, documents, tmp_path):
    config = TokenizerConfig(
        vocab_size=33_000,
        sample_bytes="1 MB",
        reserved=2,
        extend=ExtendConfig(model=lists / "llama2_tokenizer.model", min_count=5),
    )
    one = write_parquet(tmp_path / "one" / "a.parquet", documents)
    shuffled = documents.copy()
    random.Random(5).shuffle(shuffled)
    other = write_parquet(tmp_path / "other" / "a.parquet", shuffled)
    summaries = [extend(config, [path], tmp_path / path.parts[-2] / "t") for path in (one, other)]
    for name in FILES[:3]:
        a, b = (sha256_file(tmp_path / side / "t" / name) for side in ("one", "other"))
        assert a == b, name
    words = summaries[0]["words"]
    assert (words["added"], words["bridges"], words["from"]) == (998, 0, "corpus")
    assert words["lowest_count"] >= 5
    found = Tokenizer.load(tmp_path / "one" / "t")
    assert {row["lang"] for row in summaries[0]["rows"]} == {"en", "zh-Hans", "zh-Hant"}
    for i in range(OLD, 32_998):
        assert found.encode_piece(found.pieces[i]) == [i]


def test_a_vocabulary_of_ours_grows_too(folder, tokenizer, documents, tmp_path):
    path = write_parquet(tmp_path / "documents" / "a.parquet", documents)
    config = TokenizerConfig(
        vocab_size=3_200,
        reserved=4,
        extend=ExtendConfig(model=folder / "tokenizer.model"),
    )
    extend(config, [path], tmp_path / "grown")
    grown = Tokenizer.load(tmp_path / "grown")
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(tmp_path / "grown" / "tokenizer.model")
    )
    assert grown.pieces[:3000] == tokenizer.pieces
    assert grown.reserved_ids == (3196, 3197, 3198, 3199)
    for text in HARD + SPACE_MARK + [text for _, _, text in documents[::10]]:
        ids = grown.encode(text).tolist()
        assert grown.decode(ids) == text
        new = {i: tokenizer.encode_piece(grown.pieces[i]) for i in ids if i >= 3000}
        assert [old for i in ids for old in new.get(i, [i])] == tokenizer.encode(text).tolist()
        if "▁" not in text:
            assert grown.encode(text).tolist() == model.encode(text)


# ---------------------------------------------------------------- what is refused


def refused(config: TokenizerConfig, tmp_path, corpus=()) -> str:
    with pytest.raises(UserError) as error:
        extend(config, list(corpus), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_too_few_ids_or_words_are_refused_with_the_number_that_fits(lists, tmp_path):
    small = skywork_config(lists).model_copy(update={"vocab_size": 38_000})
    assert "give 38,944 or more" in refused(small, tmp_path)
    large = skywork_config(lists).model_copy(update={"vocab_size": 131_072})
    assert "ids find no word; set it to" in refused(large, tmp_path)
    bare = skywork_config(lists, words=None)
    assert "26,592 ids are free for words; give a list of words" in refused(bare, tmp_path)


def test_a_folder_with_other_files_is_refused(lists, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files; give a new folder"):
        extend(skywork_config(lists), [], tmp_path)


def test_models_of_another_kind_are_refused(lists, folder, tmp_path):
    unigram = lists / "chinese_llama_20k_sp.model"
    assert "is no BPE with byte fallback" in refused(skywork_config(lists, model=unigram), tmp_path)
    text = folder / "tokenizer.json"
    assert "cannot be extended" in refused(skywork_config(lists, model=text), tmp_path)
    absent = skywork_config(lists, model=lists / "absent.model")
    assert "absent.model: cannot be read" in refused(absent, tmp_path)
    absent = skywork_config(lists, characters=lists / "absent.txt")
    assert "absent.txt: cannot be read" in refused(absent, tmp_path)
