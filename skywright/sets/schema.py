"""What an evaluation set is: documents whose identity is their text, and a hash over all of it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from skywright.engine.files import stable_hash
from skywright.errors import UserError

PURPOSES = {
    "domain": "scored for the loss of a domain; held out of training",
    "leak_test": "a benchmark's test split; held out of training",
    "leak_reference": "text like the benchmark's that no model has seen; held out of training",
    "leak_train_seen": "items of a benchmark's train split that training may read",
    "leak_train_unseen": "items of a benchmark's train split held out of training",
}
"""What a set is for, by name."""

SEEN = "leak_train_seen"
"""The one purpose whose documents stay in the training data."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_LANG = re.compile(r"[a-z]{2,8}(-[A-Z][a-z]{3})?")
_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")


def document_id(text: str) -> str:
    """First 32 hex digits of the SHA-256 of the text in Unicode form NFC.

    The same text has one id whether its accents were written composed or decomposed.
    """
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class EvaluationDocument:
    """One document: `id` is `document_id(text)`; `published` is YYYY, YYYY-MM or YYYY-MM-DD.

    `lang` is the language of this text as the corpus names it: en, zh-Hans, zh-Hant or code.
    """

    id: str
    text: str
    domain: str
    lang: str
    published: str | None
    url: str | None
    licence: str

    @classmethod
    def of(
        cls,
        text: str,
        domain: str,
        lang: str,
        licence: str,
        published: str | None = None,
        url: str | None = None,
    ) -> EvaluationDocument:
        """A document with its id made from its text."""
        return cls(document_id(text), text, domain, lang, published, url, licence)


@dataclass(frozen=True)
class EvaluationSet:
    """Documents in order of id. `lang` is the set's group: en, zh or code.

    `content_hash` covers domain, lang, purpose and every field of every document; the name is
    left out, so that a renamed set keeps its scores.
    """

    name: str
    domain: str
    lang: str
    documents: tuple[EvaluationDocument, ...]
    content_hash: str
    licence: str
    purpose: str

    @property
    def held_out(self) -> bool:
        """Whether a corpus must drop these documents and their near copies."""
        return self.purpose != SEEN


def content_hash(
    domain: str, lang: str, purpose: str, documents: Sequence[EvaluationDocument]
) -> str:
    """Hex SHA-256 of what a set says, independent of the order of its documents."""
    rows = sorted((asdict(document) for document in documents), key=lambda row: row["id"])
    return stable_hash({"domain": domain, "lang": lang, "purpose": purpose, "documents": rows})


def _check_document(document: EvaluationDocument, domain: str, where: str) -> None:
    if not document.text.strip():
        raise UserError(f"{where}, text: is empty; leave the document out")
    try:
        expected = document_id(document.text)
    except UnicodeEncodeError:
        raise UserError(
            f"{where}, text: holds half of a surrogate pair; repair or leave the document out"
        ) from None
    if document.id != expected:
        raise UserError(
            f"{where}, id: is {document.id!r}, but the text's is {expected!r};"
            " the text was changed: freeze a new set instead"
        )
    if document.domain != domain:
        raise UserError(f"{where}, domain: is {document.domain!r}; the set's is {domain!r}")
    if not _LANG.fullmatch(document.lang):
        raise UserError(f"{where}, lang: {document.lang!r}; write it like en, zh-Hans or code")
    if document.published is not None and not _DATE.fullmatch(document.published):
        raise UserError(
            f"{where}, published: {document.published!r} is no date; write it like 2024-06-30"
        )
    if not document.licence.strip():
        raise UserError(f"{where}, licence: is empty; name the document's licence")


def make_set(
    name: str,
    domain: str,
    lang: str,
    documents: Sequence[EvaluationDocument],
    purpose: str,
    where: str,
) -> EvaluationSet:
    """Check every field and return the set, its documents in order of id.

    Raises `UserError` naming `where`, the document (its place in `documents`, from 1) and field.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{where}, name: {name!r}; use a-z, 0-9, '_', '.' and '-'")
    if not _LANG.fullmatch(lang):
        raise UserError(f"{where}, lang: {lang!r}; write it like en, zh or code")
    if purpose not in PURPOSES:
        raise UserError(f"{where}, purpose: {purpose!r}; choose one of {', '.join(PURPOSES)}")
    if not documents:
        raise UserError(f"{where}: has no documents; a set needs at least one")
    first_at: dict[str, int] = {}
    for number, document in enumerate(documents, 1):
        _check_document(document, domain, f"{where}, document {number}")
        if document.id in first_at:
            raise UserError(
                f"{where}, document {number}: has the text of document {first_at[document.id]};"
                " leave one out"
            )
        first_at[document.id] = number
    return EvaluationSet(
        name=name,
        domain=domain,
        lang=lang,
        documents=tuple(sorted(documents, key=lambda document: document.id)),
        content_hash=content_hash(domain, lang, purpose, documents),
        licence="; ".join(sorted({document.licence for document in documents})),
        purpose=purpose,
    )
