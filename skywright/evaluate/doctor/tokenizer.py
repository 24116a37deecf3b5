"""Checks of a tokenizer: that it is the model's, loses nothing, and starts a document once."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from skywright.evaluate.backends import Backend
from skywright.evaluate.backends.view import TokenizerView
from skywright.evaluate.doctor.check import Check
from skywright.evaluate.doctor.sample import ids_of

_FEW = 0.5
"""Below this share of the output rows a tokenizer is suspect: rows left over for alignment or
later use are a few per cent (Qwen2.5: 151,665 of 151,936), never half."""


def view_of(backend: Backend) -> TokenizerView | None:
    """The back-end's tokenizer, if it shows it."""
    view: TokenizerView | None = getattr(backend, "tokenizer_view", None)
    return view


def fits(backend: Backend, texts: Sequence[str]) -> Check:
    """Whether tokenizer and output layer are of one model, as far as their sizes tell."""
    highest = max(
        (int(ids.max()) for text in texts if len(ids := ids_of(backend, text))), default=0
    )
    highest = max(highest, backend.start_token_id)
    view = view_of(backend)
    size = view.size if view else highest + 1
    figures = {"tokenizer": size, "rows": backend.vocab_size, "highest_id": highest}
    if highest >= backend.vocab_size:
        return Check(
            "vocabulary", "refuse",
            f"the tokenizer gives id {highest}, the model has {backend.vocab_size} rows",
            "take the tokenizer that the model was trained with", figures,
        )  # fmt: skip
    if view and size < _FEW * backend.vocab_size:
        return Check(
            "vocabulary", "warn",
            f"the tokenizer knows {size:,} of the model's {backend.vocab_size:,} tokens",
            "see that tokenizer and weights are of one model", figures,
        )  # fmt: skip
    return Check("vocabulary", "pass", f"{size:,} tokens, {backend.vocab_size:,} rows", "", figures)


def start_once(backend: Backend, text: str) -> Check:
    """Whether a document starts with one start token, and a text cannot make another."""
    start = backend.start_token_id
    ids = ids_of(backend, text)
    view = view_of(backend)
    if len(ids) and int(ids[0]) == start:
        return Check(
            "start token", "refuse",
            f"the tokenizer puts its start token {start} before a text, and so do we: it would"
            " stand twice",
            "switch it off in the tokenizer: add_special_tokens is not heeded",
        )  # fmt: skip
    if view is None:
        return Check("start token", "pass", f"token {start} stands once, before the text")
    spelled = view.decode([start])
    if spelled and start in ids_of(backend, f"a {spelled} b"):
        return Check(
            "start token", "refuse",
            f"{spelled!r} written in a text becomes the start token itself",
            "use a tokenizer that splits special tokens in a text",
        )  # fmt: skip
    shown = f"{spelled!r} ({start})" if spelled else f"token {start}"
    unasked = view.encode_by_default(text)
    added = len(unasked) > 0 and unasked[0] == start and (len(ids) == 0 or int(ids[0]) != start)
    who = "the tokenizer would add it too and is kept from it" if added else "we add it"
    return Check(
        "start token", "pass", f"{shown} stands once, before the text; {who}",
        "", {"id": start, "added_by_tokenizer": added},
    )  # fmt: skip


def round_trip(backend: Backend, texts: Sequence[str]) -> Check:
    """Whether the text comes back from its tokens.

    A model that does not see a character is not charged for it, so its bits per byte come out too
    low. Differences of form only (Unicode normalisation, spaces) are warned about.
    """
    view = view_of(backend)
    if view is None:
        return Check("round trip", "skip", "this back-end does not show its tokenizer")
    changed: list[tuple[str, str]] = []
    lost: list[tuple[str, str]] = []
    for text in texts:
        ids = [int(i) for i in ids_of(backend, text)]
        back = view.decode(ids)
        if view.unk_id is not None and view.unk_id in ids:
            lost.append((text, back))
        elif back != text:
            (changed if _form(back) == _form(text) else lost).append((text, back))
    figures = {"texts": len(texts), "changed": len(changed), "lost": len(lost)}
    if lost:
        return Check(
            "round trip", "refuse",
            f"{len(lost)} of {len(texts)} texts do not come back: {_first_difference(*lost[0])}",
            "its loss is of less text than there is: leave it out of comparisons by byte", figures,
        )  # fmt: skip
    if changed:
        return Check(
            "round trip", "warn",
            f"{len(changed)} of {len(texts)} texts come back in another form:"
            f" {_first_difference(*changed[0])}",
            "state it beside the score: the model is scored on the changed text", figures,
        )  # fmt: skip
    return Check("round trip", "pass", f"{len(texts)} texts come back as they were", "", figures)


def _form(text: str) -> str:
    """The text without what normalisers change: compatibility forms, kinds and runs of spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _first_difference(text: str, back: str) -> str:
    place = next(
        (i for i, (one, other) in enumerate(zip(text, back, strict=False)) if one != other),
        min(len(text), len(back)),
    )
    begin = max(0, place - 8)
    return f"{text[begin : place + 12]!r} came back as {back[begin : place + 12]!r}"
