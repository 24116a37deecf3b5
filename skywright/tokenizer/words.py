"""Characters and words to add: read from lists, or counted on a sample of one's own corpus.

Words are counted as byte-pair encoding counts them: runs of Han characters, cut at everything
else, are merged pair by pair, the most frequent pair first, up to `max_chars` characters. The
tokenizer will cut by the very same merges, so every word can be reached and none is counted that
it would cut in another way. Against a dictionary's segmenter, plain n-gram counts (also filtered
by cohesion and neighbours) and a unigram segmenter, this gave the most characters a token on
held-out text and needs neither a dictionary nor a threshold: docs/tokenizer.md has the table.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece

from skywright.corpus import fold
from skywright.errors import UserError
from skywright.tokenizer.huggingface import SPACE_MARK

_RUN_BYTES = 4000
"""Longest run given to SentencePiece, which drops a line above 4,192 bytes."""


def is_han(char: str) -> bool:
    """Whether a character is Han: ideographs of every block, 々 and 〇."""
    return bool(fold.tables().classes[ord(char)] & fold.HAN)


def is_han_word(text: str) -> bool:
    """Whether a text is two Han characters or more, and nothing else."""
    return len(text) > 1 and all(is_han(char) for char in text)


def _lines(path: Path) -> list[str]:
    """A list's lines. Only a newline ends one: U+2028, too, may be an entry."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except FileNotFoundError:
        raise UserError(f"{path}: no such list; check the path") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]


def read_characters(path: Path) -> list[str]:
    """The entries of one character, each once, in order of the list.

    A space, U+2581 (SentencePiece's mark of one) and NUL are no pieces and are left out. Raises
    `UserError` if the list has none.
    """
    found = [line for line in _lines(path) if len(line) == 1 and line not in f" {SPACE_MARK}\0"]
    if not found:
        raise UserError(
            f"{path}: has no line of one character; give a list with one character a line"
        )
    return list(dict.fromkeys(found))


def read_words(path: Path) -> list[str]:
    """The words of a list, most frequent first, each once.

    A line is a word and, behind a tab or spaces, its frequency (further fields are not read).
    Without frequencies the list's own order counts; equal frequencies keep it. Raises `UserError`
    for a line whose frequency is no number, and for a list that has some and lacks others.
    """
    rows = [(number, line.split()) for number, line in enumerate(_lines(path), 1) if line.strip()]
    if not rows:
        raise UserError(f"{path}: has no words; give a list with one word a line")
    frequencies = {}
    for number, (word, *fields) in rows:
        if not fields:
            continue
        try:
            frequencies[number] = float(fields[0])
        except ValueError:
            raise UserError(
                f"{path}, line {number}: {fields[0]!r} is no frequency of {word!r};"
                " write a word, a tab and a number"
            ) from None
    if len(frequencies) not in (0, len(rows)):
        bare = next(number for number, _ in rows if number not in frequencies)
        raise UserError(f"{path}, line {bare}: has no frequency, other lines have; add it")
    if frequencies:
        rows.sort(key=lambda row: -frequencies[row[0]])
    return list(dict.fromkeys(fields[0] for _, fields in rows))


@dataclass(frozen=True)
class Counted:
    """Words in order of their merges, and how often each stands in the sample."""

    words: list[str]
    counts: list[int]
    sample_chars: int


def _runs(texts: Iterable[str], characters: Set[str]) -> Iterator[str]:
    """Runs of at least two of `characters`, long ones cut."""
    # Everything but the characters becomes a space: one pass, in C.
    keep: dict[int, str] = {}
    for text in texts:
        for char in set(text):
            code = ord(char)
            if code not in keep:
                keep[code] = char if char in characters else " "
        for run in text.translate(keep).split():
            for first in range(0, len(run), _RUN_BYTES // 4):
                part = run[first : first + _RUN_BYTES // 4]
                if len(part) > 1:
                    yield part


def count_words(
    texts: Iterable[str], characters: Set[str], wanted: int, max_chars: int, min_count: int
) -> Counted:
    """The `wanted` first merges over runs of `characters`, without those seen too seldom.

    Fewer come back where the sample has no more. `characters` are Han characters that the
    vocabulary has a piece for. The order of `texts` matters only where two pairs are as frequent.
    """
    runs = list(_runs(texts, characters))
    alphabet = len(set().union(*runs)) if runs else 0
    if not runs or not wanted:
        return Counted([], [], sum(map(len, runs)))
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(runs),
        model_writer=output,
        model_type="bpe",
        vocab_size=wanted + alphabet + 1,
        hard_vocab_limit=False,
        character_coverage=1.0,
        max_sentencepiece_length=max_chars,
        split_by_unicode_script=False,
        split_by_number=False,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=output.getvalue())
    pieces = (model.IdToPiece(i) for i in range(1, model.GetPieceSize()))
    words = [piece for piece in pieces if is_han_word(piece)]
    counts = occurrences(runs, words)
    kept = [place for place, count in enumerate(counts) if count >= min_count]
    return Counted(
        [words[place] for place in kept], [counts[place] for place in kept], sum(map(len, runs))
    )


def occurrences(runs: Iterable[str], words: Sequence[str]) -> list[int]:
    """How often each word stands in the runs, overlaps counted.

    All words are followed at once, as in a trie: after k characters, `at` holds the places of the
    text that are still the beginning of a word, `node` which beginning it is.
    """
    text = np.frombuffer("\n".join(runs).encode("utf-32-le"), dtype="<u4").astype(np.int64)
    at = np.arange(len(text))
    node = np.zeros(len(text), np.int64)
    word_node = np.zeros(len(words), np.int64)
    lengths = np.array([len(word) for word in words], np.int64)
    found = np.zeros(len(words), np.int64)
    for depth in range(max(lengths, default=0)):
        alive = np.flatnonzero(lengths > depth)
        codes = np.array([ord(words[place][depth]) for place in alive.tolist()])
        branches, branch = np.unique(word_node[alive] << 21 | codes, return_inverse=True)
        word_node[alive] = branch
        inside = at + depth < len(text)
        at, node = at[inside], node[inside]
        keys = node << 21 | text[at + depth]  # a code point has 21 bits
        node = np.searchsorted(branches, keys)
        hit = branches[np.minimum(node, len(branches) - 1)] == keys
        at, node = at[hit], node[hit]
        counts = np.bincount(node, minlength=len(branches))
        ends = np.flatnonzero(lengths == depth + 1)
        found[ends] = counts[word_node[ends]]
    return found.tolist()
