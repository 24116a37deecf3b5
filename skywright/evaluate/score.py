"""Score a set of documents: one forward pass, one row a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Shape

import numpy as np
import pyarrow as pa

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends import Backend, ManyBatches
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.protocols import (
    Protocol,
    context_of,
    cut_text,
    make_windows,
    protocol_hash,
    protocol_record,
)
from skywright.evaluate.store import SCORES, Store
from skywright.sets import EvaluationSet


class ReferenceTokenizer(Shape):
    """The pinned tokenizer whose tokens are the unit of loss, for every model."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, text: str) -> np.ndarray:
        """Token ids of the text, no start or end token."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A set, cut and tokenised for one model under one protocol."""

    set_name: str
    domain: str
    doc_ids: tuple[str, ...]
    windows: tuple[np.ndarray, ...]
    first_scored: tuple[int, ...]
    document_of: np.ndarray  # document index of each window
    tokens: np.ndarray
    reference_tokens: np.ndarray
    bytes: np.ndarray
    chars: np.ndarray


def token_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches: longest first, padded size at most `batch_tokens` (or one window).

    Sorting keeps padding near nothing; longest first shows at once if memory is too small.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def check_ids(ids: np.ndarray, backend: Backend, where: str) -> None:
    """Raise `UserError` if the tokenizer gives an id that the model has no row for."""
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < backend.vocab_size:
        raise UserError(
            f"{where}: the tokenizer gives id {int(ids.max())}, but the model knows"
            f" {backend.vocab_size} tokens; tokenizer and weights are not of one model"
        )


def batched_nll(
    backend: Backend,
    windows: Sequence[np.ndarray],
    first_scored: Sequence[int],
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress = silent,
    text: str = "score",
) -> list[np.ndarray]:
    """Token losses of any number of windows, in their order; see `Backend.token_nll`."""
    results: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(windows)
    total = sum(len(window) for window in windows)
    done = 0
    batches = token_batches([len(window) for window in windows], batch_tokens)
    made = ([[windows[i] for i in batch], [first_scored[i] for i in batch]] for batch in batches)
    if isinstance(backend, ManyBatches):
        found = iter(backend.batches_nll([*made]))
    else:
        found = (backend.token_nll(*pair) for pair in made)
    for batch, losses in zip(batches, found, strict=True):
        for index, loss in zip(batch, losses, strict=True):
            results[index] = loss
        done += sum(len(windows[i]) for i in batch)
        progress(done, total, text)
    return results


def prepare(
    backend: Backend,
    evaluation_set: EvaluationSet,
    protocol: Protocol,
    reference: ReferenceTokenizer,
) -> Prepared:
    """Cut and tokenise a set.

    Raises `UserError` for a document without tokens and for ids that the model does not know.
    """
    check_ids(np.asarray([backend.start_token_id]), backend, "start token")
    context = context_of(protocol, backend)
    windows: list[np.ndarray] = []
    first_scored: list[int] = []
    document_of: list[int] = []
    sizes = np.empty((4, len(evaluation_set.documents)), dtype=np.int64)
    for index, document in enumerate(evaluation_set.documents):
        where = f"set {evaluation_set.name}, document {document.id}"
        text = cut_text(document.text, protocol.max_chars)
        ids, reference_ids = backend.encode(text), reference.encode(text)
        if not text.strip() or len(ids) == 0 or len(reference_ids) == 0:
            raise UserError(f"{where}, text: nothing to score; leave the document out of the set")
        check_ids(ids, backend, where)
        made, first = make_windows(ids, backend.start_token_id, context, protocol.overlap)
        windows += made
        first_scored += first
        document_of += [index] * len(made)
        sizes[:, index] = len(ids), len(reference_ids), len(text.encode()), len(text)
    return Prepared(
        evaluation_set.name,
        evaluation_set.domain,
        tuple(document.id for document in evaluation_set.documents),
        tuple(windows),
        tuple(first_scored),
        np.asarray(document_of),
        *sizes,
    )


def score_prepared(
    backend: Backend,
    prepared: Prepared,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress = silent,
) -> pa.Table:
    """Score what `prepare` made; columns as `store.SCORES`.

    Raises `UserError` if a loss is not a finite number.
    """
    losses = batched_nll(
        backend,
        prepared.windows,
        prepared.first_scored,
        batch_tokens,
        progress,
        f"score {prepared.set_name}",
    )
    documents = len(prepared.doc_ids)
    nll = np.zeros(documents)
    first = np.full(documents, np.nan)
    for index, loss in zip(prepared.document_of, losses, strict=True):
        if np.isnan(first[index]):
            first[index] = loss[0]
        nll[index] += loss.sum(dtype=np.float64)
    if not np.isfinite(nll).all():
        worst = prepared.doc_ids[int(np.flatnonzero(~np.isfinite(nll))[0])]
        raise UserError(
            f"set {prepared.set_name}, document {worst}: the model ({backend.name},"
            f" {backend.dtype}) gives a loss that is no number; its weights are damaged or"
            " overflow in this dtype: try float32"
        )
    return pa.table(
        {
            "doc_id": list(prepared.doc_ids),
            "domain": [prepared.domain] * documents,
            "nll_nats": nll,
            "first_token_nll_nats": first,
            "tokens": prepared.tokens,
            "reference_tokens": prepared.reference_tokens,
            "bytes": prepared.bytes,
            "chars": prepared.chars,
        },
        schema=SCORES,
    )


def score(
    backend: Backend,
    evaluation_set: EvaluationSet,
    protocol: Protocol,
    reference: ReferenceTokenizer,
    store: Store | None = None,
    progress: Progress = silent,
    batch_tokens: int = BATCH_TOKENS,
) -> pa.Table:
    """Scores of one model on one set, from the store if they stand there, else computed.

    Returns a table with the columns of `store.SCORES`, one row a document in the set's order.
    nll_nats is the sum over all the document's tokens, in nats.
    """
    if store is None:
        prepared = prepare(backend, evaluation_set, protocol, reference)
        return score_prepared(backend, prepared, batch_tokens, progress)
    key = (
        backend.fingerprint,
        evaluation_set.content_hash,
        protocol_hash(protocol, backend, reference.fingerprint),
    )
    table = store.read(*key)
    if table is None:
        prepared = prepare(backend, evaluation_set, protocol, reference)
        table = score_prepared(backend, prepared, batch_tokens, progress)
        store.write(*key, table, protocol_record(protocol, backend, reference.fingerprint))
    return table
