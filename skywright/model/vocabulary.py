"""Grow a model to a larger vocabulary: new rows begin as the mean of what their text was before.

The new tokenizer must hold the old one's ids unchanged, as `skywright.tokenizer.extend` makes it.
A new piece's text was, for the old tokenizer, several pieces; the row of its id, in the embedding
and in the head, is the mean of their rows. Ids without text (reserved symbols) get the mean of all
rows. A model thus grown sees in a new piece about what it saw in the old ones, and gives it about
the probability of one of them, so that further training starts near where it stopped.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from skywright.engine.files import atomic_folder, read_json
from skywright.errors import UserError
from skywright.model.decoder import Decoder
from skywright.model.hf import Dtype, export, load_hf
from skywright.tokenizer import Tokenizer


def old_ids(old: Tokenizer, new: Tokenizer) -> list[list[int]]:
    """For each id that only `new` has, in order: the old ids of its text; none for symbols.

    Raises `UserError` if `new` gives one of the old ids another piece.
    """
    for i, (before, after) in enumerate(zip(old.pieces, new.pieces, strict=False)):
        if before != after:
            raise UserError(
                f"id {i} is {before!r} for the old tokenizer and {after!r} for the new one;"
                " grow a model only with a vocabulary that was extended from its own"
            )
    if new.vocab_size < old.vocab_size:
        raise UserError(
            f"the new tokenizer has {new.vocab_size:,} ids, fewer than the old one's"
            f" {old.vocab_size:,}; are the two in the right order?"
        )
    symbols = set(new.reserved_ids)
    return [
        [] if i in symbols else old.encode_piece(new.pieces[i])
        for i in range(old.vocab_size, new.vocab_size)
    ]


def _grown(table: Tensor, rows: list[list[int]], old_size: int) -> Tensor:
    """`table` (ids, hidden) cut to the old ids and continued by the means of `rows`."""
    kept = table[:old_size]
    counts = torch.tensor([len(ids) for ids in rows])
    flat = torch.tensor([i for ids in rows for i in ids], dtype=torch.long)
    owner = torch.repeat_interleave(torch.arange(len(rows)), counts)
    sums = torch.zeros(len(rows), table.shape[1], device=table.device)
    sums.index_add_(0, owner.to(table.device), kept[flat.to(table.device)].float())
    means = sums / counts.clamp(min=1).to(table.device)[:, None]
    means[(counts == 0).to(table.device)] = kept.float().mean(0)
    return torch.cat([kept, means.to(table.dtype)])


@torch.no_grad()
def grow(model: Decoder, old: Tokenizer, new: Tokenizer) -> Decoder:
    """A model for the tokenizer `new` from one for `old`; `model` itself is left as it is.

    Rows of old ids are the same to the bit, and all other weights are shared with `model`, so that
    a large model is not held twice. Means are taken in fp32. A tied head stays tied. Rows that the
    model has beyond its tokenizer's ids (padding) are dropped. Raises `UserError` if the model has
    fewer rows than the old tokenizer ids, and as `old_ids` does.
    """
    if model.config.vocab_size < old.vocab_size:
        raise UserError(
            f"the model has {model.config.vocab_size:,} rows, its tokenizer"
            f" {old.vocab_size:,} ids; the two do not belong together"
        )
    rows = old_ids(old, new)
    with torch.device("meta"):
        grown = type(model)(model.config.model_copy(update={"vocab_size": new.vocab_size}))
    weights = dict(model.state_dict())
    for name in ("embed_tokens.weight", "head.weight"):
        weights[name] = _grown(weights[name], rows, old.vocab_size)
    grown.load_state_dict(weights, assign=True)
    if model.config.tie_embeddings:
        grown.head.weight = grown.embed_tokens.weight
    return grown.train(model.training)


def grow_folder(folder: Path, tokenizer_folder: Path, out: Path) -> None:
    """Grow the LLaMA of the Hugging Face folder `folder`, whose own tokenizer is the old one.

    Writes the folder `out` with the tokenizer of `tokenizer_folder`, in the dtype of the old
    weights (bf16 or fp32). Raises `UserError` as `grow` and `load_hf` do.
    """
    folder, tokenizer_folder = Path(folder), Path(tokenizer_folder)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    # Older folders say torch_dtype, newer ones dtype.
    stored = config.get("torch_dtype") or config.get("dtype")
    dtype: Dtype = "bf16" if stored == "bfloat16" else "fp32"
    model = load_hf(folder, dtype)
    grown = grow(model, Tokenizer.load(folder), Tokenizer.load(tokenizer_folder))
    with atomic_folder(Path(out)) as temporary:
        export(grown, tokenizer_folder, temporary, dtype)
