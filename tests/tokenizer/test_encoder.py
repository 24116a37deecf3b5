"""The fast encoder gives the ids of the `tokenizers` library and of SentencePiece, on any text."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tokenize import llama_definition
from skywright.errors import UserError
from skywright.tokenizer import encoder as encoder_module
from skywright.tokenizer.bpe_kernels import SHORT_UNIT_CHARS
from skywright.tokenizer.encoder import FastEncoder, Unsupported
from skywright.tokenizer.huggingface import WORD, byte_piece

from .test_tokenizer import ANY, HARD, SPACE_MARK, WOVEN

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LONG = [
    "a" * 5000,
    "ab" * 3000 + "中" * 3000 + " " * 3000 + "=" * 3000,
    "".join(chr(97 + i * i % 26) for i in range(5000)),
    *("the" * n for n in range(SHORT_UNIT_CHARS // 3 - 2, SHORT_UNIT_CHARS // 3 + 3)),
]
TEXTS = HARD + SPACE_MARK + LONG


class Trio:
    """One vocabulary in the fast encoder, in `tokenizers` and (if it has one) in SentencePiece."""

    def __init__(self, definition: bytes, model: sentencepiece.SentencePieceProcessor | None):
        self.definition = definition
        self.encoder = FastEncoder(definition, "test")
        self.library = tokenizers.Tokenizer.from_buffer(definition)
        self.library.encode_special_tokens = True
        self.model = model

    def check(self, texts: list[str]) -> None:
        ids, offsets = self.encoder.encode(pa.array(texts, pa.string()))
        assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
        assert (offsets[0], offsets[-1], len(offsets)) == (0, len(ids), len(texts) + 1)
        expected = self.library.encode_batch_fast(texts, add_special_tokens=False)
        for i, text in enumerate(texts):
            found = ids[offsets[i] : offsets[i + 1]].tolist()
            assert found == expected[i].ids, text
            if self.model is not None and "▁" not in text:
                assert found == self.model.encode(text), text


@pytest.fixture(scope="session")
def small(folder) -> Trio:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return Trio((folder / "tokenizer.json").read_bytes(), model)


@pytest.fixture(scope="session")
def llama() -> Trio:
    path = DATA / "tokenizer" / "llama2_tokenizer.model"
    if not path.is_file():
        pytest.skip("LLaMA's tokenizer is not beside this checkout")
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return Trio(llama_definition(model), model)


@pytest.fixture(params=["small", "llama"])
def trio(request) -> Trio:
    return request.getfixturevalue(request.param)


def definition(
    merges: list[Any], *, words: bool, prepend: bool = False, chars: str = "", **changes: Any
) -> bytes:
    """A `tokenizer.json` of byte pieces, some characters, and the pieces that `merges` joins."""
    pieces = ["<unk>", *(byte_piece(value) for value in range(256)), *chars]
    pieces += ["".join(pair) for pair in merges if not isinstance(pair, str)]
    steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}] if prepend else []
    steps += [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    split = {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Isolated", "invert": False}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {piece: i for i, piece in enumerate(dict.fromkeys(pieces))},
        "merges": merges,
    }
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None if words else {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": split if words else None,
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    for name, value in changes.items():
        (model if name in model else content)[name] = value
    return json.dumps(content).encode()


def test_hard_and_long_texts_agree(trio):
    trio.check(TEXTS)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.one_of(WOVEN, ANY), max_size=4))
def test_any_texts_agree_with_a_trained_vocabulary(small, texts):
    small.check(texts)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.one_of(WOVEN, ANY), max_size=4))
def test_any_texts_agree_with_llama(llama, texts):
    llama.check(texts)


@pytest.mark.parametrize(
    "name",
    ["zh_law", "zh_wiki", "zh_poetry_traditional", "en_wiki_2024_06", "en_math_tex",
     "code_python_2024_06", "code_cpp_2024_06", "other_langs_wiki_2024_08"],
)  # fmt: skip
def test_real_files_agree(trio, name):
    path = DATA / "corpus" / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip("the shared corpus samples are not beside this checkout")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        texts = [json.loads(line)["text"] for _, line in zip(range(60), stream, strict=False)]
    trio.check(texts)


def test_documents_of_the_example_crawl_agree(small, documents):
    small.check([text for _, _, text in documents])


@st.composite
def vocabularies(draw) -> tuple[bytes, list[str]]:
    """Random merges over a few characters in random order, and texts of those and others."""
    words = draw(st.booleans())
    chars = ["a", "b", "中", " " if words else "▁", *draw(st.sets(st.sampled_from("é\n😀")))]
    pieces, merges = list(chars), []
    for _ in range(draw(st.integers(0, 14))):
        left, right = (draw(st.sampled_from(pieces)) for _ in range(2))
        joined = left + right
        crosses = "\n" in joined or " " in joined.lstrip(" ")
        if (left, right) not in merges and not (words and crosses):
            merges.append((left, right))
            pieces.append(joined)
    text = st.text(alphabet="aaabbb  中é\n😀▁z", max_size=150)
    return (
        definition(
            draw(st.permutations(merges)),
            words=words,
            prepend=not words and draw(st.booleans()),
            chars="".join(chars),
        ),
        draw(st.lists(text, min_size=1, max_size=4)),
    )


@settings(max_examples=300, deadline=None)
@given(vocabularies())
def test_any_merges_in_any_order_agree(case):
    Trio(case[0], None).check(case[1])


def test_of_a_merge_that_is_given_twice_the_last_rank_counts():
    merges = [("a", "b"), ("b", "c"), ("a", "b")]
    trio = Trio(definition(merges, words=False, chars="▁abc"), None)
    trio.check(["abc", "ab bc abcabc"])


def test_merges_written_as_one_string_are_read(llama):
    content = json.loads(llama.definition)
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    Trio(json.dumps(content).encode(), llama.model).check(HARD)


def test_literal_special_tokens_are_text(trio):
    ids, _ = trio.encoder.encode(pa.array(["<s>a</s><unk>", "<0x0A>"]))
    assert not set(ids.tolist()) & {0, 1, 2, 3 + 10}


def test_what_the_cache_holds_changes_no_id(small, documents, monkeypatch):
    texts = pa.array([text for _, _, text in documents[:120]])
    expected, _ = small.encoder.encode(texts)
    again, _ = small.encoder.encode(texts)
    np.testing.assert_array_equal(again, expected)
    # Two units, or the longest one alone: emptied all the time.
    monkeypatch.setattr(encoder_module, "CACHE_SLOTS", 4)
    monkeypatch.setattr(encoder_module, "CACHE_ARENA", 3 + 2 * SHORT_UNIT_CHARS)
    found, _ = FastEncoder(small.definition, "test").encode(texts)
    np.testing.assert_array_equal(found, expected)


def test_chunks_slices_and_types_of_columns_give_the_same_ids(small, documents, monkeypatch):
    texts = ["", *(text for _, _, text in documents[:40]), "", "x"]
    ids, offsets = small.encoder.encode(pa.array(texts))
    monkeypatch.setattr(encoder_module, "CHUNK_BYTES", 5000)
    columns = [
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.string_view()),
        pa.array(["y", *texts, "z"]).slice(1, len(texts)),
        pa.chunked_array([texts[:7], [], texts[7:]], pa.string()),
    ]
    for column in columns:
        found, places = small.encoder.encode(column)
        np.testing.assert_array_equal(found, ids)
        np.testing.assert_array_equal(places, offsets)


@pytest.mark.parametrize("column", [pa.array([], pa.string()), pa.chunked_array([], pa.string())])
def test_no_texts_give_no_ids(small, column):
    ids, offsets = small.encoder.encode(column)
    assert (ids.dtype, ids.tolist(), offsets.tolist()) == (np.int32, [], [0])


def test_text_beyond_two_gibibytes_of_a_column_is_found(small):
    start = 2**31 + 5
    data = np.zeros(start + 100, dtype=np.uint8)  # pages that are never touched
    content = "the text 中国".encode()
    data[start : start + len(content)] = list(content)
    places = np.array([start, start + 3, start + len(content)], dtype=np.int64)
    column = pa.LargeStringArray.from_buffers(2, pa.py_buffer(places), pa.py_buffer(data))
    ids, offsets = small.encoder.encode(column)
    expected, _ = small.encoder.encode(pa.array(["the", " text 中国"]))
    assert ids.tolist() == expected.tolist()
    assert offsets[-1] == len(ids)


def test_threads_may_share_an_encoder(small, documents):
    parts = [pa.array([text for _, _, text in documents[i::4]]) for i in range(4)]
    expected = [small.encoder.encode(part)[0] for part in parts]
    shared = FastEncoder(small.definition, "test")
    found: list[Any] = [None] * 4

    def work(i: int) -> None:
        found[i] = shared.encode(parts[i])[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nulls_other_columns_and_broken_text_are_refused(small):
    encode = small.encoder.encode
    with pytest.raises(UserError, match="row 3, field text: is null"):
        encode(pa.chunked_array([["a", "b"], ["c", None]]))
    with pytest.raises(UserError, match="expected a column of strings, got int64"):
        encode(pa.array([1, 2]))
    offsets = pa.py_buffer(np.array([0, 2], dtype=np.int32))
    broken = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"a\xe4"))
    with pytest.raises(UserError, match="rows from 0: are no UTF-8"):
        encode(broken)


AB = [("a", "b")]
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
TOKEN = {"id": 0, "content": "<unk>", "special": False}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"{}", "is no tokenizer.json"),
        (b"\xff", "is no tokenizer.json"),
        (definition(AB, words=True, chars="ab", type="Unigram"), "is no BPE"),
        (definition(AB, words=True, chars="ab", dropout=0.1), "sets dropout"),
        (definition(AB, words=True, chars="ab", ignore_merges=True), "sets ignore_merges"),
        (definition(AB, words=True, chars="ab", end_of_word_suffix="/w"), "sets end_of_word"),
        (definition(AB, words=True, chars="ab", byte_fallback=False), "no byte_fallback"),
        (definition(AB, words=True, chars="ab", added_tokens=[TOKEN]), "'<unk>' is not special"),
        (definition(AB, words=True, chars="ab", pre_tokenizer=None), "pre_tokenizer is another"),
        (definition(AB, words=True, chars="ab", pre_tokenizer=METASPACE), "pre_tokenizer is anot"),
        (definition(AB, words=False, chars="▁ab", pre_tokenizer=METASPACE), "behind a normalizer"),
        (definition(AB, words=False, chars="▁ab", normalizer={"type": "NFC"}), "normalizer is an"),
        (definition(AB, words=False, chars="ab"), "no piece '▁'"),
        (definition(["a b c"], words=True, chars="abc"), "no pair of pieces"),
        (definition(["a b"], words=True, chars="ab"), "no pair of pieces"),
        (definition([("a", " ")], words=True, chars="a "), "crosses the edge of a word"),
        (definition([("a", "\n")], words=True, chars="a\n"), "crosses the edge of a word"),
        (definition([("<0x61>", "b")], words=True, chars="b"), "joins the piece of a byte"),
        (definition(AB, words=True, vocab={"a": 1, "b": 1}), "a byte has no piece"),
    ],
)
def test_definitions_of_other_forms_are_refused_by_name(content, what):
    assert not FastEncoder.supports(content)
    with pytest.raises(Unsupported, match=what) as error:
        FastEncoder(content, "some/tokenizer.json")
    assert str(error.value).startswith("some/tokenizer.json: ")


def test_what_it_reads_it_says_it_supports(trio):
    assert FastEncoder.supports(trio.definition)
