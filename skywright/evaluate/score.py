"""Score a set of documents: one forward pass, one row a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.alignment import losses_by_byte
from skywright.evaluate.backends import Backend, no_number_advice
from skywright.evaluate.batches import batched_nll
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.prepare import Prepared, PreparedDocument, ReferenceTokenizer, prepare
from skywright.evaluate.protocols import ScoringProtocol, Window, protocol_hash, protocol_record
from skywright.evaluate.store import POSITIONS_BYTES, SCORES, TOKENS, Entry, Parts, Store
from skywright.sets import EvaluationSet

__all__ = ["ReferenceTokenizer", "must_be_scored", "prepare", "score", "score_prepared"]


def _by_position(losses: np.ndarray, byte_ends: np.ndarray) -> list[float]:
    """Sums of the losses of a text's bytes, between the bounds of POSITIONS_BYTES."""
    upto = np.concatenate([[0.0], np.cumsum(losses_by_byte(losses, byte_ends))])
    bounds = np.minimum([*POSITIONS_BYTES, len(upto) - 1], len(upto) - 1)
    return np.diff(upto[bounds]).tolist()


def _windows(prepared: Prepared, documents: Sequence[PreparedDocument]) -> list[Window]:
    """Windows of these documents; `at` counts on through the tokens of all of them."""
    every = [document.encoding.ids for document in documents]
    texts = [np.concatenate(every)] if prepared.protocol.joins_documents else every
    made: list[Window] = []
    before = 0
    for ids in texts:
        made += [
            window._replace(at=window.at + before)
            for window in prepared.protocol.windows(ids, prepared.terms)
        ]
        before += len(ids)
    return made


def _row(
    prepared: Prepared, document: PreparedDocument, losses: np.ndarray, windows: int, tokens: bool
) -> dict[str, Any]:
    """A document's row; losses (tokens,) are NaN where the protocol scores nothing."""
    scored = ~np.isnan(losses)
    first = losses[document.first_token]
    row = {
        "doc_id": document.id,
        "domain": prepared.domain,
        "nll_nats": float(losses[scored].sum(dtype=np.float64)),
        "first_token_nll_nats": None if np.isnan(first) else float(first),
        "tokens": document.text_tokens,
        "scored_tokens": int(scored.sum()),
        "reference_tokens": document.reference_tokens,
        "bytes": document.bytes,
        "chars": document.chars,
        "windows": windows,
        "flags": [*document.flags, *(["windowed"] if windows > 1 else [])],
        "position_nll_nats": _by_position(losses, document.encoding.byte_ends),
    }
    if tokens:
        row |= {
            "ids": document.encoding.ids,
            "logp": -losses,
            "byte_ends": document.encoding.byte_ends,
        }
    return row


def _score_documents(
    backend: Backend,
    prepared: Prepared,
    documents: Sequence[PreparedDocument],
    batch_tokens: int,
    tokens: bool,
    progress: Progress,
) -> pa.Table:
    windows = _windows(prepared, documents)
    found = batched_nll(
        backend,
        [window.ids for window in windows],
        [window.first_scored for window in windows],
        batch_tokens,
        progress,
        f"score {prepared.set_name}",
    )
    ends = np.cumsum([len(document.encoding.ids) for document in documents])
    losses = np.full(ends[-1], np.nan, dtype=np.float32)
    counts = np.zeros(len(documents), dtype=np.int64)
    for window, part in zip(windows, found, strict=True):
        losses[window.at : window.at + len(part)] = part
        touched = np.searchsorted(ends, [window.at, window.at + len(part) - 1], side="right")
        counts[touched[0] : touched[1] + 1] += 1
        if not np.isfinite(part).all():
            at = window.at + int(np.flatnonzero(~np.isfinite(part))[0])
            document = documents[int(np.searchsorted(ends, at, side="right"))]
            raise UserError(
                f"set {prepared.set_name}, document {document.id}: the model ({backend.name},"
                f" {backend.dtype}) gives a loss that is no number;"
                f" {no_number_advice(backend.dtype)}"
            )
    each = np.split(losses, ends[:-1])
    rows = [
        _row(prepared, document, own, int(count), tokens)
        for document, own, count in zip(documents, each, counts, strict=True)
    ]
    schema = pa.schema([*SCORES, *list(TOKENS)[1:]]) if tokens else SCORES
    return pa.Table.from_pylist(rows, schema=schema)


def score_prepared(
    backend: Backend,
    prepared: Prepared,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress = silent,
    tokens: bool = False,
    parts: Parts | None = None,
) -> pa.Table:
    """Score what `prepare` made; columns as `store.SCORES`, with tokens as `store.TOKENS` too.

    parts: where each part is kept as soon as it is scored; those that are there are not scored
    again. Progress is told in tokens and begins with what is there. Raises `UserError` if a loss
    is not a finite number.
    """
    plan = prepared.parts()
    sizes = [sum(len(prepared.documents[i].encoding.ids) for i in places) for places in plan]
    kept: list[pa.Table | None] = [
        parts and parts.read(number, [prepared.documents[i].id for i in places], tokens)
        for number, places in enumerate(plan)
    ]
    total = sum(sizes)
    done = sum(size for size, table in zip(sizes, kept, strict=True) if table is not None)
    text = f"score {prepared.set_name}"
    progress(done, total, text)
    tables = []
    for number, (places, size, table) in enumerate(zip(plan, sizes, kept, strict=True)):
        if table is None:

            def within(
                part: float, whole: float, _: str, before: int = done, own: int = size
            ) -> None:
                progress(before + own * part / whole, total, text)

            documents = [prepared.documents[i] for i in places]
            table = _score_documents(backend, prepared, documents, batch_tokens, tokens, within)
            if parts is not None:
                parts.write(number, table)
            done += size
        tables.append(table)
    order = np.argsort([place for places in plan for place in places])
    return pa.concat_tables(tables).take(order).combine_chunks()


def _entry(
    store: Store,
    backend: Backend,
    evaluation_set: EvaluationSet,
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
) -> Entry:
    return store.entry(
        backend.fingerprint,
        evaluation_set.content_hash,
        protocol_hash(protocol, backend, reference.fingerprint),
    )


def must_be_scored(
    backend: Backend,
    evaluation_set: EvaluationSet,
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
    store: Store | None = None,
) -> bool:
    """Whether `score` would have to compute anything.

    If so, raises the `UserError` that it would raise for documents and windows.
    """
    if store is not None:
        entry = _entry(store, backend, evaluation_set, protocol, reference)
        if entry.read([document.id for document in evaluation_set.documents]) is not None:
            return False
    prepared = prepare(backend, evaluation_set, protocol, reference)
    _windows(prepared, prepared.documents)
    return True


def score(
    backend: Backend,
    evaluation_set: EvaluationSet,
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
    store: Store | None = None,
    progress: Progress = silent,
    batch_tokens: int = BATCH_TOKENS,
    tokens: bool = False,
) -> pa.Table:
    """Scores of one model on one set, from the store if they stand there, else computed.

    Returns a table with the columns of `store.SCORES`, one row a document in the set's order;
    with `tokens` also those of `store.TOKENS`. nll_nats is the sum over all the document's scored
    tokens, in nats. What a killed call had scored is in the store and not computed again.
    """
    if store is None:
        prepared = prepare(backend, evaluation_set, protocol, reference)
        return score_prepared(backend, prepared, batch_tokens, progress, tokens)
    entry = _entry(store, backend, evaluation_set, protocol, reference)
    doc_ids = [document.id for document in evaluation_set.documents]
    table = entry.read(doc_ids, tokens)
    if table is None:
        prepared = prepare(backend, evaluation_set, protocol, reference)
        table = score_prepared(backend, prepared, batch_tokens, progress, tokens, entry.parts)
        entry.write(table, protocol_record(protocol, backend, reference.fingerprint))
    entry.tidy()
    return table
