"""Columns of text to ids, tens of megabytes a second, the same ids as the `tokenizers` library's.

`FastEncoder` reads the `tokenizer.json` of a byte-fallback BPE vocabulary in one of two forms:

- as `skywright.tokenizer.huggingface` writes it: no normalizer, spaces in the pieces as they are,
  words split before merging (`WORD`);
- as LLaMA's: spaces become U+2581, one is put before a text (or none), nothing is split.

Other forms, byte-level BPE among them, are `Unsupported`: let the library encode those. How it
works is told in `bpe_kernels`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skywright.corpus.fold import CODE_POINTS, utf8_buffers
from skywright.errors import UserError
from skywright.tokenizer import bpe_kernels as kernels
from skywright.tokenizer.huggingface import SPACE_MARK, WORD, byte_piece

CHUNK_BYTES = 1 << 20
"""Text given to the kernel at a time (a longer text goes alone), which bounds its working memory.
No influence on the ids."""
CACHE_SLOTS = 1 << 17
CACHE_ARENA = 1 << 20
"""The cache of units: 1 MiB of slots, of which half are used, and 4 MiB of ids. Measured on 38 MB
of mixed text with 32,000 pieces: a half to eight times of this give the same speed."""

_MAX_MERGES = 1 << (63 - kernels.POSITION_BITS)


class Unsupported(ValueError):  # noqa: N818 (a kind of definition, not a fault)
    """The definition has a form that `FastEncoder` does not read; the message says in what."""


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Unsupported(otherwise)


class FastEncoder:
    """Encodes columns of text on one thread. Threads that share an encoder wait for each other."""

    def __init__(self, definition: bytes, where: str) -> None:
        """`definition` is the content of a `tokenizer.json`; `where` is named in errors.

        Raises `Unsupported` if it is not of a form that is read here.
        """
        try:
            self._prefix, self._tables = _read(definition)
        except Unsupported as error:
            raise Unsupported(f"{where}: {error}") from None
        self._cache = kernels.Cache(
            slots=np.zeros(CACHE_SLOTS, dtype=np.uint64),
            arena=np.zeros(CACHE_ARENA, dtype=np.int32),
            used=np.array([0, 1], dtype=np.int64),
        )
        self._lock = threading.Lock()

    @staticmethod
    def supports(definition: bytes) -> bool:
        """Whether `FastEncoder(definition, ...)` can be made; as costly as making it."""
        try:
            _read(definition)
        except Unsupported:
            return False
        return True

    def encode(
        self, texts: pa.StringArray | pa.LargeStringArray | pa.ChunkedArray
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of all texts, one text after another, int32, and offsets into them, int64 (n + 1).

        Nothing is put before or behind a text but the space of LLaMA's normalizer, and "<s>" in a
        text is text. Raises `UserError` for a null, a column that is no text, or broken UTF-8.
        """
        arrays = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
        found: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
        offsets: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        row = 0
        with self._lock:
            for array in arrays:
                _check(array, row)
                row += len(array)
                for ids, ends in self._encode_array(array):
                    found.append(ids)
                    offsets.append(ends + offsets[-1][-1])
        return np.concatenate(found), np.concatenate(offsets)

    def _encode_array(
        self, array: pa.Array
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Ids of some texts, about CHUNK_BYTES of them, and where those of each text end."""
        starts, data = utf8_buffers(array)
        begin, documents = 0, len(starts) - 1
        while begin < documents:
            end = int(np.searchsorted(starts, starts[begin] + CHUNK_BYTES, side="right")) - 1
            end = min(max(end, begin + 1), documents)
            chunk = starts[begin : end + 1]
            yield kernels.encode_texts(data, chunk, self._prefix, self._tables, self._cache)
            begin = end


def _check(array: pa.Array, row: int) -> None:
    """Raise `UserError` for an array that the kernel must not read; its first row is `row`."""
    if array.null_count:
        row += int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise UserError(f"row {row}, field text: is null; drop such rows before encoding")
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"texts, rows from {row}: are no UTF-8 ({error}); decode them anew from their source"
        ) from None


def _read(definition: bytes) -> tuple[int, kernels.Tables]:
    """Id of the character put before a text (-1 for none), and the tables. Raises `Unsupported`.

    A post-processor is not looked at: it adds special tokens, which are not asked for.
    """
    try:
        content = json.loads(definition)
        model = content["model"]
        kind, vocab = model["type"], model["vocab"]
    except (ValueError, TypeError, KeyError):
        raise Unsupported("is no tokenizer.json") from None
    _require(kind == "BPE", "its model is no BPE")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        _require(not model.get(name), f"its model sets {name}")
    for token in content.get("added_tokens") or ():
        # Special tokens are not looked for in a text (encode_special_tokens); others would be.
        _require(token["special"], f"its added token {token['content']!r} is not special")
    splits_words, prepends = _form(content)
    space = " " if splits_words else SPACE_MARK
    _require(space in vocab or splits_words, f"it has no piece {space!r}")

    bytes_in_order = [byte_piece(value) for value in range(256)]
    spells = model.get("byte_fallback") and all(piece in vocab for piece in bytes_in_order)
    _require(bool(spells), "it has no byte_fallback, or a byte has no piece")
    byte_ids = np.array([vocab[piece] for piece in bytes_in_order], dtype=np.int32)
    char_ids = np.full(CODE_POINTS, -1, dtype=np.int32)
    chars = [piece for piece in vocab if len(piece) == 1]
    char_ids[[ord(char) for char in chars]] = [vocab[char] for char in chars]
    char_ids[ord(" ")] = char_ids[ord(space)]

    merges = _merges(model)
    _require(merges.shape[1] <= _MAX_MERGES, f"it has more than {_MAX_MERGES:,} merges")
    _require(not np.isin(merges[:2], byte_ids).any(), "a merge joins the piece of a byte")
    by_id = {index: piece for piece, index in vocab.items()}
    _require(len(by_id) == len(vocab), "two of its pieces have one id")
    left, right = _neighbours([by_id[index] for index in np.unique(merges[2]).tolist()])
    if splits_words:
        # Where WORD splits, no merge may join: then there is no need to split.
        crosses = (left == 0x0A) | (right == 0x0A) | ((left != 0x20) & (right == 0x20))
        _require(not crosses.any(), "a merge crosses the edge of a word")
    tables = _tables(char_ids, byte_ids, merges, char_ids[left], char_ids[right])
    return int(char_ids[ord(space)]) if prepends else -1, tables


def _form(content: Mapping[str, Any]) -> tuple[bool, bool]:
    """(whether words are split and pieces have real spaces, whether a text gets a space before)."""
    normalizer, splitter = content.get("normalizer"), content.get("pre_tokenizer")
    if normalizer is None:
        split = {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Isolated"}
        _require(splitter == split | {"invert": False}, "its pre_tokenizer is another")
        return True, False
    _require(splitter is None, "it has a pre_tokenizer behind a normalizer")
    prepend = {"type": "Prepend", "prepend": SPACE_MARK}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    _require(steps in ([replace], [prepend, replace]), "its normalizer is another")
    return False, prepend in steps


def _merges(model: Mapping[str, Any]) -> NDArray[np.int64]:
    """Left, right and joined id of every merge, shape (3, merges), in order of rank."""
    vocab: dict[str, int] = model["vocab"]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    try:
        ids = [(vocab[left], vocab[right], vocab[left + right]) for left, right in pairs]
    except (KeyError, ValueError):
        raise Unsupported("one of its merges is no pair of pieces that joins to a piece") from None
    return np.array(ids, dtype=np.int64).reshape(-1, 3).T.copy()


def _neighbours(pieces: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Left and right of every two characters that stand side by side in a piece, with repeats."""
    codes = np.frombuffer("".join(pieces).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    inside = np.ones(len(codes), dtype=bool)
    inside[ends - 1] = False
    lefts = np.flatnonzero(inside)
    return codes[lefts], codes[lefts + 1]


def _tables(
    char_ids: NDArray[np.int32],
    byte_ids: NDArray[np.int32],
    merges: NDArray[np.int64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
) -> kernels.Tables:
    """The kernel's tables; `left` and `right` are ids of neighbours, -1 where there is none."""
    count = merges.shape[1]
    slots = 1 << (2 * count).bit_length()  # at most half full
    tables = kernels.Tables(
        char_ids=char_ids,
        byte_ids=byte_ids,
        joins=np.zeros(1 << (kernels.JOIN_BITS - 3), dtype=np.uint8),
        pair_keys=np.empty(slots, dtype=np.uint64),
        pair_ranks=np.empty(slots, dtype=np.int32),
        joined=merges[2].astype(np.int32),
    )
    known = (left >= 0) & (right >= 0)
    kernels.fill_joins(left[known], right[known], tables.joins)
    kernels.fill_pairs(merges[0], merges[1], tables.pair_keys, tables.pair_ranks)
    return tables
