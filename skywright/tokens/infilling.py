"""Fill-in-the-middle: part of the documents in a row rearranged so that the model learns to infill.

Bavarian et al., Efficient Training of Language Models to Fill in the Middle (arXiv 2207.14255): a
document is cut at two uniform places into prefix, middle and suffix and written as
    PSM: <prefix> prefix <suffix> suffix <middle> middle
    SPM: <prefix> <suffix> suffix <middle> prefix middle
(SPM in the variant that the paper trains together with PSM, which is also BigCode's). It is done
in the finished row ("context level" in the paper), so that no example loses its sentinels.

Cuts fall between tokens. StarCoder (arXiv 2305.06161) cuts between characters and tokenises the
three parts anew, so that its model also learns to go on from the middle of a word; a model trained
on cuts between tokens expects the cursor where a token ends, and does worse inside one. In return
nothing is decoded, a row's tokens stay what the shards hold, and any row is made in microseconds.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from skywright.config import Config
from skywright.engine.compiled import compiled
from skywright.errors import UserError
from skywright.tokens.order import Keys, mixed

Rows = NDArray[Any]  # int32 or int64
Integers = NDArray[np.int64]

_SENTINELS = 3
_DRAWS = 4  # a document's: whether it is changed, the order, two cuts
_32 = np.uint64(32)


class InfillingConfig(Config):
    """How many documents are rearranged, and with which sentinels.

    `rate`: share of documents changed, `spm_share`: share of those in SPM order (StarCoder: .5
    and .5). The three ids are the vocabulary's own, in no text.
    """

    rate: float = Field(default=0.5, ge=0, le=1)
    spm_share: float = Field(default=0.5, ge=0, le=1)
    prefix_id: int = Field(ge=0)
    middle_id: int = Field(ge=0)
    suffix_id: int = Field(ge=0)

    @model_validator(mode="after")
    def _ids_are_three(self) -> Self:
        ids = (self.prefix_id, self.middle_id, self.suffix_id)
        if len(set(ids)) < _SENTINELS:
            raise UserError(
                f"infilling: prefix_id, middle_id and suffix_id are {', '.join(map(str, ids))};"
                " give three different reserved ids"
            )
        return self

    def check(self, vocab_size: int) -> None:
        """Raise UserError if a sentinel is no id of a vocabulary of so many."""
        for name in ("prefix_id", "middle_id", "suffix_id"):
            if getattr(self, name) >= vocab_size:
                raise UserError(
                    f"infilling.{name}: {getattr(self, name):,} is beyond the vocabulary of"
                    f" {vocab_size:,}; give an id that the tokenizer reserves for it"
                )


@compiled
def _cut_point(draw, tokens):  # type: ignore[no-untyped-def]
    """A place 0 .. tokens, uniform, from 64 random bits."""
    return np.int64(((draw >> _32) * np.uint64(tokens + 1)) >> _32)


@compiled
def _rearrange(rows, offsets, lengths, changed, spm, draws, ids, out, out_lengths):  # type: ignore[no-untyped-def]
    prefix_id, middle_id, suffix_id, bos_id, eos_id = ids
    width = rows.shape[1]
    for r in range(rows.shape[0]):
        row = rows[r]
        result = out[r]
        read = 0
        at = 0
        for d in range(offsets[r], offsets[r + 1]):
            begin = read
            read += lengths[d]
            first_at = at
            if changed[d] and lengths[d] >= 3:
                # Shortened first where the sentinels would push its end out of the row.
                end = min(read, begin + width - at - 3)
                first = begin + (row[begin] == bos_id)
                last = end - (end == read and row[end - 1] == eos_id)
                if last - first >= 3:
                    one = first + _cut_point(draws[d, 2], last - first)
                    other = first + _cut_point(draws[d, 3], last - first)
                    low, high = min(one, other), max(one, other)
                    if first > begin:
                        result[at] = bos_id
                        at += 1
                    result[at] = prefix_id
                    at += 1
                    if not spm[d]:
                        result[at : at + low - first] = row[first:low]
                        at += low - first
                    result[at] = suffix_id
                    at += 1
                    result[at : at + last - high] = row[high:last]
                    at += last - high
                    result[at] = middle_id
                    at += 1
                    middle = first if spm[d] else low
                    result[at : at + high - middle] = row[middle:high]
                    at += high - middle
                    if last < end:
                        result[at] = eos_id
                        at += 1
                    out_lengths[d] = at - first_at
                    continue
            kept = min(lengths[d], width - at)
            result[at : at + kept] = row[begin : begin + kept]
            at += kept
            out_lengths[d] = kept
        result[at:] = row[at:]  # padding, as far as the documents have not grown over it


def infill(
    rows: Rows,
    offsets: Integers,
    lengths: Integers,
    keys: Keys,
    config: InfillingConfig,
    bos_id: int,
    eos_id: int,
) -> tuple[Rows, Integers]:
    """Rearrange documents of rows: new rows, same shape, and new lengths of their documents.

    `rows` int32 or int64 (n, width) holds, in row i, documents of
    lengths[offsets[i] : offsets[i+1]] tokens, one after another from the row's start, and
    padding behind them; offsets int64 (n + 1,), lengths int64 (documents,). keys uint64 (n,):
    all chance in row i is a function of keys[i] and of a document's number in the row, so that
    a row comes out the same in any batch and at any world size.

    A leading BOS and a closing EOS stay at a document's ends; documents with fewer than three
    tokens between them stay as they are. A changed document is three tokens longer: it grows
    over padding, and what then passes the row's end is cut from the row's last documents,
    before they are rearranged, so that every example is whole. Raises UserError for documents
    that do not fit their row.
    """
    offsets, lengths = np.asarray(offsets, np.int64), np.asarray(lengths, np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths)])[offsets]
    in_row = np.diff(ends)
    if (lengths.size and int(lengths.min()) < 0) or (in_row > rows.shape[1]).any():
        at = int(np.argmax(in_row))
        raise UserError(
            f"infilling: the documents of row {at:,} have {int(in_row[at]):,} tokens where a row"
            f" holds {rows.shape[1]:,}; the lengths do not belong to these rows"
        )
    documents = np.diff(offsets)
    number = np.arange(lengths.size) - np.repeat(offsets[:-1], documents)
    counters = (number * _DRAWS)[:, None] + np.arange(_DRAWS)
    draws = mixed(np.repeat(np.asarray(keys, np.uint64), documents)[:, None], counters)
    # The upper 53 bits as a number in [0, 1), exact in a float64.
    uniform = (draws >> np.uint64(11)) * 2.0**-53
    changed, spm = uniform[:, 0] < config.rate, uniform[:, 1] < config.spm_share
    ids = np.array(
        [config.prefix_id, config.middle_id, config.suffix_id, bos_id, eos_id], dtype=np.int32
    )
    result = np.empty_like(rows)
    new_lengths = np.empty_like(lengths)
    _rearrange(rows, offsets, lengths, changed, spm, draws, ids, result, new_lengths)
    return result, new_lengths
