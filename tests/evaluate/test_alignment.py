from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.evaluate.alignment import Encoding, align, losses_by_byte
from skywright.evaluate.backends import hf_tokens

ODD = ["", " ", "  a", "a  ", "\n\n", "\r\n", "e\u0301", "é", "👩\u200d🔬", "🇨🇳", "\u2581",
       "\ufeffx", "\x00", "ﬁ", "Ｆｕｌｌ", "語言模型", "<s>", "<0x0A>", "Ġ", "\u202eabc", "𠮷野家",
       "한글"]  # fmt: skip
texts = st.lists(
    st.one_of(
        st.sampled_from(ODD),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.text("The quick brown 狐狸跳过懒狗。，\n ", max_size=12),
    ),
    max_size=8,
).map("".join)


FastTokenizer = transformers.PreTrainedTokenizerFast
TRAINED_ON = ["The quick brown fox jumps.", "敏捷的棕色狐狸跳过懒狗。", "语言模型按顺序预测词元。"]


def _trained(model: object, trainer: object, **parts: object) -> FastTokenizer:
    made = tokenizers.Tokenizer(model)
    for name, part in parts.items():
        setattr(made, name, part)
    made.train_from_iterator(TRAINED_ON * 3, trainer)
    return FastTokenizer(tokenizer_object=made)


def _byte_level(normalizer: object = None) -> FastTokenizer:
    parts = {} if normalizer is None else {"normalizer": normalizer}
    return _trained(
        tokenizers.models.BPE(),
        tokenizers.trainers.BpeTrainer(
            vocab_size=330, show_progress=False,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        ),
        pre_tokenizer=tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoder=tokenizers.decoders.ByteLevel(),
        **parts,
    )  # fmt: skip


def _llama_like() -> FastTokenizer:
    """SentencePiece's form: U+2581 for spaces, one before a text, byte pieces for the unknown."""
    decoders, normalizers = tokenizers.decoders, tokenizers.normalizers
    return _trained(
        tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"),
        tokenizers.trainers.BpeTrainer(
            vocab_size=400, show_progress=False,
            special_tokens=["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        ),
        normalizer=normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        ),
        decoder=decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
             decoders.Strip(" ", 1, 0)]
        ),
    )  # fmt: skip


def _word_pieces() -> FastTokenizer:
    """BERT's: lower-cases, drops accents and spaces, [UNK] for what it does not know."""
    return _trained(
        tokenizers.models.WordPiece(unk_token="[UNK]"),
        tokenizers.trainers.WordPieceTrainer(
            vocab_size=300, show_progress=False, special_tokens=["[UNK]"]
        ),
        normalizer=tokenizers.normalizers.BertNormalizer(lowercase=True),
        pre_tokenizer=tokenizers.pre_tokenizers.BertPreTokenizer(),
        decoder=tokenizers.decoders.WordPiece(),
    )


TOKENIZERS = {
    "byte-level": _byte_level(),
    "byte-level, NFC": _byte_level(tokenizers.normalizers.NFC()),
    "llama": _llama_like(),
    "word pieces": _word_pieces(),
}


def check(encoding: Encoding, text: str) -> None:
    """What holds for every encoding."""
    size = len(text.encode())
    assert len(encoding.byte_ends) == len(encoding.ids)
    assert (np.diff(encoding.byte_ends, prepend=0) >= 0).all()
    if len(encoding.ids):
        assert encoding.byte_ends[-1] == size
        losses = np.random.default_rng(0).exponential(2, len(encoding.ids)).astype(np.float32)
        if size:
            each = losses_by_byte(losses, encoding.byte_ends)
            assert each.shape == (size,)
            assert each.sum() == pytest.approx(losses.sum(dtype=np.float64), rel=1e-9)


@pytest.mark.parametrize("kind", list(TOKENIZERS))
@settings(deadline=None, max_examples=150)
@given(text=texts)
def test_ends_rise_to_the_size_of_the_text_and_bytes_share_the_loss(kind: str, text: str) -> None:
    encoding = hf_tokens.encode(TOKENIZERS[kind], text)
    check(encoding, text)
    back = TOKENIZERS[kind].decode(encoding.ids)
    assert encoding.lossy == (back != text)


@settings(deadline=None, max_examples=150)
@given(text=texts)
def test_byte_level_tokens_end_exactly_where_their_bytes_end(text: str) -> None:
    tokenizer = TOKENIZERS["byte-level"]
    encoding = hf_tokens.encode(tokenizer, text)
    begin = 0
    for token, end in zip(encoding.ids.tolist(), encoding.byte_ends.tolist(), strict=True):
        # What a token decodes to shows its bytes wherever they are whole characters.
        own = text.encode()[begin:end]
        assert tokenizer.decode([token]) == own.decode(errors="replace")
        begin = end
    assert not encoding.lossy


def test_pieces_of_one_character_have_each_their_own_byte() -> None:
    for kind in ("byte-level", "llama"):
        encoding = hf_tokens.encode(TOKENIZERS[kind], "a𠮷b")
        assert np.diff(encoding.byte_ends).tolist()[-5:] == [1] * 5
        assert not encoding.lossy


def test_a_space_that_the_tokenizer_adds_has_no_bytes() -> None:
    ends, aligned = align("The", ["\u2581", "T", "he"])
    assert ends.tolist() == [0, 1, 3]
    assert aligned
    assert losses_by_byte(np.array([3.0, 1.0, 2.0]), ends).tolist() == [4.0, 1.0, 1.0]


def test_loss_of_tokens_without_bytes_at_the_end_falls_on_the_last_byte() -> None:
    ends = np.array([2, 2])
    assert losses_by_byte(np.array([1.0, 5.0]), ends).tolist() == [0.5, 5.5]


def test_where_a_normaliser_changes_the_text_characters_keep_their_place() -> None:
    text = "qe\u0301a"  # NFC makes one character of the two in the middle
    encoding = hf_tokens.encode(TOKENIZERS["byte-level, NFC"], text)
    assert encoding.lossy
    assert encoding.aligned
    assert encoding.byte_ends[0] == 1
    # The mark that is no character of its own any more falls to the token behind it.
    assert encoding.byte_ends[-2:].tolist() == [2, 5]


def test_without_offsets_the_bytes_are_shared_and_it_is_said() -> None:
    ends, aligned = align("abcdef", ["[UNK]", "x"])
    assert ends.tolist() == [3, 6]
    assert not aligned


def test_real_documents_are_aligned_exactly() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "corpus"
    if not folder.is_dir():
        pytest.skip("the shared corpus samples are not beside this checkout")
    for name in ("zh_wiki", "en_wiki_2024_06", "code_python_2024_06", "other_langs_wiki_2024_08"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
            found = [json.loads(line)["text"] for _, line in zip(range(5), stream, strict=False)]
        for text in found:
            for kind in ("byte-level", "llama"):
                encoding = hf_tokens.encode(TOKENIZERS[kind], text)
                check(encoding, text)
                assert encoding.aligned
                assert not encoding.lossy
