"""SentencePiece's `.model` file: its settings read, pieces added behind its last one.

The file is a Protocol Buffers message (sentencepiece_model.proto of google/sentencepiece). Only
what is added is written; every other byte stays as it stands, so that the result does not depend
on a library's version. Field numbers and defaults below are that file's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of ModelProto
_VOCAB_SIZE = 4  # field of TrainerSpec
_DUMMY_PREFIX, _EXTRA_WHITESPACES = 3, 4  # fields of NormalizerSpec
BPE = 2  # TrainerSpec.model_type


class PieceType(IntEnum):
    """SentencePiece.Type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary."""

    text: str
    score: float
    type: PieceType = PieceType.NORMAL


@dataclass(frozen=True)
class ModelFile:
    """What a `.model` says: its pieces in order of id, and the settings that change an encoding."""

    pieces: tuple[Piece, ...]
    model_type: int
    byte_fallback: bool
    whitespace_as_suffix: bool
    charsmap: bytes
    dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes, int, int]]:
    """(field number, value, first byte, byte behind the last) of each field of a message."""
    at = 0
    while at < len(data):
        first = at
        key, at = _read_varint(data, at)
        wire = key & 7
        value: int | bytes
        if wire == _VARINT:
            value, at = _read_varint(data, at)
        else:
            if wire == _BYTES:
                size, at = _read_varint(data, at)
            elif wire in (_FIXED32, _FIXED64):
                size = 4 if wire == _FIXED32 else 8
            else:
                raise ValueError(f"wire type {wire} at byte {first}")
            if at + size > len(data):
                raise ValueError(f"ends within a field, at byte {first}")
            value, at = data[at : at + size], at + size
        yield key >> 3, value, first, at


def _message(data: bytes) -> dict[int, int | bytes]:
    """A message without repeated fields."""
    return {number: value for number, value, _, _ in _fields(data)}


def _read_piece(data: bytes) -> Piece:
    found = _message(data)
    text, score = found.get(1, b""), found.get(2, b"\0\0\0\0")
    assert isinstance(text, bytes)
    assert isinstance(score, bytes)
    (number,) = struct.unpack("<f", score)
    return Piece(text.decode(), number, PieceType(int(found.get(3, PieceType.NORMAL))))


def read_model(model: bytes) -> ModelFile:
    """Read a `.model`'s bytes. Raises `ValueError` if they are none."""
    parts: dict[int, bytes] = {}
    pieces = []
    try:
        for number, value, _, _ in _fields(model):
            if number == _PIECES and isinstance(value, bytes):
                pieces.append(_read_piece(value))
            elif isinstance(value, bytes):
                parts[number] = parts.get(number, b"") + value  # parts of a message add up
        trainer = _message(parts.get(_TRAINER, b""))
        normalizer = _message(parts.get(_NORMALIZER, b""))
    except (IndexError, AssertionError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"no SentencePiece model ({error})") from None
    if not pieces:
        raise ValueError("no SentencePiece model (it has no pieces)")
    return ModelFile(
        pieces=tuple(pieces),
        model_type=int(trainer.get(3, 1)),
        byte_fallback=bool(trainer.get(35, False)),
        whitespace_as_suffix=bool(trainer.get(24, False)),
        charsmap=bytes(normalizer.get(2, b"")),
        dummy_prefix=bool(normalizer.get(_DUMMY_PREFIX, True)),
        remove_extra_whitespaces=bool(normalizer.get(_EXTRA_WHITESPACES, True)),
        escape_whitespaces=bool(normalizer.get(5, True)),
    )


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _write_piece(piece: Piece) -> bytes:
    message = _bytes_field(1, piece.text.encode())
    message += _varint(2 << 3 | _FIXED32) + struct.pack("<f", piece.score)
    if piece.type != PieceType.NORMAL:
        message += _varint(3 << 3 | _VARINT) + _varint(piece.type)
    return _bytes_field(_PIECES, message)


def add_pieces(model: bytes, pieces: Sequence[Piece]) -> bytes:
    """The model with `pieces` behind its last one, and its `vocab_size` set to the new count.

    Their ids go on from the model's last. A piece that is there already is SentencePiece's error
    when the result is loaded.
    """
    if not pieces:
        return model
    old, trainer, rest = [], [], []
    for number, value, first, end in _fields(model):
        if number == _PIECES:
            old.append(model[first:end])
        elif number == _TRAINER and isinstance(value, bytes):
            trainer += [value[a:b] for n, _, a, b in _fields(value) if n != _VOCAB_SIZE]
        else:
            rest.append(model[first:end])
    new = [_write_piece(piece) for piece in pieces]
    trainer.append(_varint(_VOCAB_SIZE << 3 | _VARINT) + _varint(len(old) + len(new)))
    return b"".join([*old, *new, _bytes_field(_TRAINER, b"".join(trainer)), *rest])


def with_text_untouched(model: bytes) -> bytes:
    """The model with no space put before a text and none taken away. Later fields of a message
    stand above earlier ones, so this is one more part of the settings."""
    off = b"".join(
        _varint(field << 3 | _VARINT) + _varint(0) for field in (_DUMMY_PREFIX, _EXTRA_WHITESPACES)
    )
    return model + _bytes_field(_NORMALIZER, off)
