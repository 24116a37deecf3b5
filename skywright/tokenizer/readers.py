"""Tokenizers of others, opened for measuring: a folder, a `tokenizer.json`, a bare `.model`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import sentencepiece
import tokenizers

from skywright.errors import UserError
from skywright.tokenizer.fertility import WHITESPACE
from skywright.tokenizer.model_file import with_text_untouched

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_LAST_CODE_POINT = 0x10FFFF
_WHITESPACE = {bytes([byte]) for byte in WHITESPACE}


@dataclass(frozen=True)
class Reader:
    """One tokenizer as the report sees it."""

    name: str
    fingerprint: str
    """Hex SHA-256 of its file."""
    pieces: list[str]
    """By id."""
    special: np.ndarray
    """Bool, by id: start, end, unknown, reserved: no text makes them."""
    encode_batch: Callable[[Sequence[str]], list[np.ndarray]]
    """Nothing is put before or behind a text but what the tokenizer's own normaliser puts."""
    decode: Callable[[np.ndarray], str]
    encode_piece: Callable[[str], list[int]]
    """The ids that the model makes of a piece's characters alone."""

    byte_level: bool
    """Whether pieces are written in GPT-2's alphabet of 256 characters for bytes."""

    def byte_pieces(self) -> dict[int, bytes]:
        """Ids that hold less than a character, with their bytes: `<0x0A>`, or, in byte-level BPE,
        what is no UTF-8 by itself."""
        found = {}
        table = _byte_level_alphabet()
        for i, piece in enumerate(self.pieces):
            named = _BYTE_PIECE.fullmatch(piece)
            if self.special[i]:
                continue
            if self.byte_level and all(char in table for char in piece):
                data = bytes(table[char] for char in piece)
                if not _is_text(data):
                    found[i] = data
            elif named and not self.byte_level:
                found[i] = bytes.fromhex(named[1])
        return found

    def is_fallback(self) -> np.ndarray:
        """Bool, by id: byte pieces, without newline, tab and carriage return."""
        mask = np.zeros(len(self.pieces), bool)
        mask[[i for i, data in self.byte_pieces().items() if data not in _WHITESPACE]] = True
        return mask

    def unreachable(self) -> np.ndarray:
        """Bool, by id: pieces that no text can give, special ones aside.

        A piece that its own characters do not give alone is given nowhere: merges inside it come
        in the same order wherever it stands. A byte piece is given only where a character without
        a piece has that byte. Splits before merging are not looked at, so that a piece marked here
        is dead, and one that is not may still be.
        """
        spelt = np.ones(_LAST_CODE_POINT + 1, bool)  # code points that are spelt in bytes
        if not self.byte_level:
            spelt[[ord(piece) for piece in self.pieces if len(piece) == 1]] = False
            spelt[ord(" ")] = False  # it is U+2581 or stands as it is
        occurring = _bytes_of(np.flatnonzero(spelt))
        byte_pieces = self.byte_pieces()
        mask = np.zeros(len(self.pieces), bool)
        for i, piece in enumerate(self.pieces):
            if i in byte_pieces and not occurring[list(byte_pieces[i])].all():
                mask[i] = True
            elif not self.special[i] and (self.byte_level or i not in byte_pieces):
                mask[i] = self.encode_piece(piece) != [i]
        return mask


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's character of each byte (Radford et al. 2019, `bytes_to_unicode` of its code):
    printable Latin-1 stands for itself, the rest for U+0100 and on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {
        chr(0x100 + place): byte for place, byte in enumerate(rest)
    }


def _bytes_of(codes: np.ndarray) -> np.ndarray:
    """Bool (256,): the bytes that stand in the UTF-8 of any of these code points."""
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]
    found = np.zeros(256, bool)
    found[codes[codes < 0x80]] = True
    for first, last, lead, following in (
        (0x80, 0x7FF, 0xC0, 1),
        (0x800, 0xFFFF, 0xE0, 2),
        (0x10000, _LAST_CODE_POINT, 0xF0, 3),
    ):
        part = codes[(codes >= first) & (codes <= last)]
        found[lead | part >> 6 * following] = True
        for place in range(following):
            found[0x80 | part >> 6 * place & 0x3F] = True
    return found


def open_reader(path: Path, name: str) -> Reader:
    """Open a folder with a `tokenizer.json`, such a file itself, or a SentencePiece `.model`.

    Raises `UserError` if there is none or it cannot be read.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); name a folder with a tokenizer.json, such"
            " a file, or a SentencePiece .model"
        ) from None
    try:
        reader = _open_sentencepiece if file.suffix == ".model" else _open_json
        return reader(data, name)
    except Exception as error:  # both libraries raise bare Exception or RuntimeError
        raise UserError(f"{file}: is no tokenizer ({str(error).splitlines()[0]})") from None


def _open_json(data: bytes, name: str) -> Reader:
    model = tokenizers.Tokenizer.from_buffer(data)
    model.encode_special_tokens = True
    model.no_padding()
    model.no_truncation()
    size = max(model.get_vocab(with_added_tokens=True).values()) + 1
    pieces = [model.id_to_token(i) or "" for i in range(size)]
    special = np.zeros(size, bool)
    special[[i for i, token in model.get_added_tokens_decoder().items() if token.special]] = True
    special[[i for i, piece in enumerate(pieces) if not piece]] = True  # a gap in the ids

    def encode_batch(texts: Sequence[str]) -> list[np.ndarray]:
        found = model.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in found]

    def decode(ids: np.ndarray) -> str:
        return model.decode(ids.tolist(), skip_special_tokens=False)

    merges = model.model

    def encode_piece(piece: str) -> list[int]:
        return [token.id for token in merges.tokenize(piece)]

    parts = json.loads(data)
    byte_level = "ByteLevel" in json.dumps([parts.get("decoder"), parts.get("normalizer")])
    fingerprint = sha256(data).hexdigest()
    return Reader(
        name, fingerprint, pieces, special, encode_batch, decode, encode_piece, byte_level
    )


def _open_sentencepiece(data: bytes, name: str) -> Reader:
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    alone = sentencepiece.SentencePieceProcessor(model_proto=with_text_untouched(data))
    ids = range(model.GetPieceSize())
    special = np.array([model.IsControl(i) or model.IsUnknown(i) for i in ids])

    def encode_batch(texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(found, dtype=np.int64) for found in model.encode(list(texts))]

    return Reader(
        name,
        sha256(data).hexdigest(),
        [model.IdToPiece(i) for i in ids],
        special,
        encode_batch,
        lambda ids: model.decode(ids.tolist()),
        alone.encode,
        byte_level=False,
    )
