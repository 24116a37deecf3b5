"""Pieces are added to a `.model` without a byte of the rest changed."""

from __future__ import annotations

import pytest
import sentencepiece

from skywright.tokenizer.model_file import (
    BPE,
    Piece,
    PieceType,
    add_pieces,
    read_model,
    with_text_untouched,
)

NEW = [Piece("龘", -5000.0), Piece("👾👾", -5001.5), Piece("<|x|>", 0.0, PieceType.CONTROL)]


@pytest.fixture(scope="module")
def model(folder) -> bytes:
    return (folder / "tokenizer.model").read_bytes()


def test_what_is_read_is_what_sentencepiece_reads(model):
    ours, theirs = read_model(model), sentencepiece.SentencePieceProcessor(model_proto=model)
    assert len(ours.pieces) == theirs.GetPieceSize() == 3000
    for i, piece in enumerate(ours.pieces):
        assert (piece.text, piece.score) == (theirs.IdToPiece(i), theirs.GetScore(i))
        assert (piece.type == PieceType.BYTE) == theirs.IsByte(i)
        assert (piece.type == PieceType.CONTROL) == theirs.IsControl(i)
        assert (piece.type == PieceType.UNKNOWN) == theirs.IsUnknown(i)
    assert ours.model_type == BPE
    assert ours.byte_fallback
    assert not ours.dummy_prefix
    assert not ours.remove_extra_whitespaces
    assert not ours.charsmap


def test_the_settings_of_llamas_real_model(lists):
    found = read_model((lists / "llama2_tokenizer.model").read_bytes())
    assert len(found.pieces) == 32_000
    assert found.dummy_prefix
    assert found.byte_fallback
    assert not found.remove_extra_whitespaces
    # Sixteen ordinary pieces stand far below all others: the space mark and its runs to 16.
    parked = [piece for piece in found.pieces if piece.score <= -1e9]
    assert {piece.type for piece in parked} == {PieceType.NORMAL}
    assert sorted(piece.text for piece in parked) == ["▁" * n for n in range(1, 17)]
    assert min(piece.score for piece in found.pieces if piece.score > -1e9) == -31_740


def test_added_pieces_go_on_from_the_last_id(model):
    longer = add_pieces(model, NEW)
    before, after = read_model(model), read_model(longer)
    assert after.pieces == (*before.pieces, *NEW)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=longer)
    assert [theirs.PieceToId(piece.text) for piece in NEW] == [3000, 3001, 3002]
    assert theirs.GetScore(3001) == -5001.5
    assert theirs.IsControl(3002)
    assert theirs.encode("a龘<|x|>").count(3000) == 1
    assert 3002 not in theirs.encode("a龘<|x|>")


def test_every_other_byte_stays(model):
    longer = add_pieces(model, NEW)
    # The pieces come first in the file; what follows differs in the vocabulary's size alone.
    same = next(i for i, (a, b) in enumerate(zip(model, longer, strict=False)) if a != b)
    assert read_model(model[:same]).pieces[-1] == read_model(model).pieces[-1]
    assert add_pieces(model, []) == model
    assert add_pieces(add_pieces(model, NEW[:1]), NEW[1:]) == longer


def test_googles_own_reader_finds_the_same_message(model):
    pytest.importorskip("google.protobuf")
    from sentencepiece import sentencepiece_model_pb2

    expected, found = (sentencepiece_model_pb2.ModelProto() for _ in range(2))
    expected.ParseFromString(model)
    for piece in NEW:
        added = expected.pieces.add(piece=piece.text, score=piece.score)
        if piece.type != PieceType.NORMAL:
            added.type = int(piece.type)
    expected.trainer_spec.vocab_size = 3003
    found.ParseFromString(add_pieces(model, NEW))
    assert found == expected


def test_the_space_before_a_text_can_be_taken_off(llama, lists):
    bare = with_text_untouched((lists / "llama2_tokenizer.model").read_bytes())
    model = sentencepiece.SentencePieceProcessor(model_proto=bare)
    assert model.encode("the") == [llama.PieceToId("the")]
    assert llama.encode("the") == [llama.PieceToId("▁the")]


@pytest.mark.parametrize("data", [b"", b"hello", b"\x0a\xff\xff", b"\x0b", b"\x12\x00"])
def test_what_is_no_model_is_refused(data, model):
    with pytest.raises(ValueError, match=r"no SentencePiece model|wire type|ends within"):
        read_model(data)
    with pytest.raises(ValueError, match=r"no SentencePiece model|ends within"):
        read_model(model[:-1])
