"""A set cut and tokenised for one model under one protocol: all that is done before a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Shape

import numpy as np

from skywright.errors import UserError
from skywright.evaluate.alignment import Encoding
from skywright.evaluate.backends import Backend
from skywright.evaluate.batches import check_ids
from skywright.evaluate.protocols import ModelTerms, ScoringProtocol
from skywright.sets import EvaluationDocument, EvaluationSet

FLAGS = {
    "cut": "the protocol cut the text",
    "lossy": "the tokenizer does not give the text back: what it drops costs nothing",
    "unaligned": "which bytes the tokens stand for is not known; they share the text evenly",
    "windowed": "the document did not fit one window",
}
"""What can be said of a document's scores, by name."""

PART_TOKENS = 16_384
"""Tokens of the documents that are scored and kept at a time: about half a minute of a
135M-parameter model on two cores, which is what a kill can cost."""


class ReferenceTokenizer(Shape):
    """The pinned tokenizer whose tokens are the unit of loss, for every model."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, text: str) -> np.ndarray:
        """Token ids of the text, no start or end token."""
        ...


@dataclass(frozen=True)
class PreparedDocument:
    """One document's tokens (those around it too, if the protocol follows them) and sizes.

    text_tokens: how many of the tokens are the text's own; first_token: place of the first.
    """

    id: str
    encoding: Encoding
    first_token: int
    text_tokens: int
    reference_tokens: int
    bytes: int
    chars: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A set, cut and tokenised for one model under one protocol."""

    set_name: str
    domain: str
    protocol: ScoringProtocol
    terms: ModelTerms
    documents: tuple[PreparedDocument, ...]

    def parts(self) -> list[list[int]]:
        """Places of documents that are scored together: longest first, PART_TOKENS at a time.

        The same for the same set, so that a run cut short finds its parts again. Documents that
        the protocol joins are one part.
        """
        if self.protocol.joins_documents:
            return [list(range(len(self.documents)))]
        sizes = [len(document.encoding.ids) for document in self.documents]
        made: list[list[int]] = []
        held = PART_TOKENS
        for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
            if held >= PART_TOKENS:
                made.append([])
                held = 0
            made[-1].append(place)
            held += sizes[place]
        return made


def _prepare_document(
    document: EvaluationDocument,
    backend: Backend,
    protocol: ScoringProtocol,
    terms: ModelTerms,
    reference: ReferenceTokenizer,
    where: str,
) -> PreparedDocument:
    text = protocol.cut(document.text)
    encoding = backend.encode(text)
    reference_tokens = len(reference.encode(text))
    text_tokens = len(encoding.ids)
    if not text.strip() or text_tokens == 0 or reference_tokens == 0:
        if len(text) < len(document.text):
            raise UserError(
                f"{where}, text: nothing to score in its first {len(text):,} characters, where"
                f" protocol {protocol.name} cuts it; cut later, or leave the document out of the"
                " set"
            )
        raise UserError(f"{where}, text: nothing to score; leave the document out of the set")
    before, behind = terms.frame if protocol.follows_frame else ((), ())
    encoding = encoding.framed(before, behind)
    check_ids(encoding.ids, backend, where)
    flags = {
        "cut": len(text) < len(document.text),
        "lossy": encoding.lossy,
        "unaligned": not encoding.aligned,
    }
    return PreparedDocument(
        document.id, encoding, len(before), text_tokens, reference_tokens, len(text.encode()),
        len(text), tuple(name for name, holds in flags.items() if holds),
    )  # fmt: skip


def prepare(
    backend: Backend,
    evaluation_set: EvaluationSet,
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
) -> Prepared:
    """Cut and tokenise a set.

    Raises `UserError` for a document without tokens and for ids that the model does not know.
    """
    check_ids(np.asarray([backend.start_token_id]), backend, "start token")
    terms = ModelTerms.of(backend)
    documents: Sequence[PreparedDocument] = [
        _prepare_document(
            document, backend, protocol, terms, reference,
            f"set {evaluation_set.name}, document {document.id}",
        )
        for document in evaluation_set.documents
    ]  # fmt: skip
    return Prepared(evaluation_set.name, evaluation_set.domain, protocol, terms, tuple(documents))
