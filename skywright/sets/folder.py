"""An evaluation set as a folder: `docs.jsonl.zst`, `MANIFEST.json`, `CARD.md`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import zstandard

from skywright.engine.files import atomic_folder, read_json, write_json
from skywright.engine.lines import zstd_pieces
from skywright.errors import UserError
from skywright.sets.schema import PURPOSES, EvaluationDocument, EvaluationSet, make_set

FORMAT = "skywright-set/1"
DOCUMENTS = "docs.jsonl.zst"
MANIFEST = "MANIFEST.json"
CARD = "CARD.md"
_FIELDS = tuple(field.name for field in fields(EvaluationDocument))
_OPTIONAL = ("published", "url")
_MANIFEST_FIELDS = ("format", "name", "domain", "lang", "purpose", "documents", "content_hash")


def freeze(
    folder: Path,
    name: str,
    domain: str,
    lang: str,
    documents: Sequence[EvaluationDocument],
    purpose: str,
    notes: str,
) -> EvaluationSet:
    """Write a set to `folder`, whole or not at all, and return it.

    `notes` say where the documents come from and how they were chosen. Freezing the same set
    again changes nothing; a folder that holds another set is refused with `UserError`, because
    scores are kept under the hash of a set that does not change.
    """
    folder = Path(folder)
    made = make_set(name, domain, lang, documents, purpose, str(folder))
    if folder.exists():
        return _same(folder, made)
    manifest = _manifest(made, notes)
    lines = [_line(document) for document in made.documents]
    with atomic_folder(folder) as temporary:
        compressed = zstandard.ZstdCompressor(level=19).compress("".join(lines).encode())
        (temporary / DOCUMENTS).write_bytes(compressed)
        (temporary / CARD).write_text(_card(manifest), encoding="utf-8")
        write_json(temporary / MANIFEST, manifest)
    return _same(folder, made)


def load(folder: Path) -> EvaluationSet:
    """Read a set and check every document's id and the content hash.

    Raises `UserError` if the folder is no set, a field is wrong, or the hash differs.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    made = make_set(
        manifest["name"],
        manifest["domain"],
        manifest["lang"],
        _read_documents(folder / DOCUMENTS, manifest["documents"]),
        manifest["purpose"],
        str(folder),
    )
    if len(made.documents) != manifest["documents"]:
        raise UserError(
            f"{folder / DOCUMENTS}: has {len(made.documents)} documents, but {MANIFEST} says"
            f" {manifest['documents']}; take the set from its source again"
        )
    if made.content_hash != manifest["content_hash"]:
        raise UserError(
            f"{folder}: the content hash is {made.content_hash[:12]}, but {MANIFEST} says"
            f" {str(manifest['content_hash'])[:12]}; the set was changed after it was frozen:"
            " take it from its source again, or freeze the new one under a new name"
        )
    return made


def _same(folder: Path, made: EvaluationSet) -> EvaluationSet:
    standing = load(folder)
    if standing != made:
        raise UserError(
            f"{folder}: holds another set ({standing.name}, {standing.content_hash[:12]});"
            " a frozen set is not changed: choose a new folder, or remove this one first"
        )
    return standing


def _line(document: EvaluationDocument) -> str:
    return json.dumps(asdict(document), ensure_ascii=False) + "\n"


def _manifest(made: EvaluationSet, notes: str) -> dict[str, Any]:
    texts = [document.text for document in made.documents]
    dates = sorted(d.published for d in made.documents if d.published is not None)
    return {
        "format": FORMAT,
        "name": made.name,
        "domain": made.domain,
        "lang": made.lang,
        "purpose": made.purpose,
        "documents": len(texts),
        "chars": sum(len(text) for text in texts),
        "bytes": sum(len(text.encode()) for text in texts),
        "published": {
            "first": dates[0] if dates else None,
            "last": dates[-1] if dates else None,
            "undated": len(texts) - len(dates),
        },
        "licences": dict(sorted(Counter(d.licence for d in made.documents).items())),
        "content_hash": made.content_hash,
        "notes": notes,
    }


def _card(manifest: dict[str, Any]) -> str:
    published = manifest["published"]
    dates = f"{published['first']} to {published['last']}" if published["first"] else "not dated"
    if published["first"] and published["undated"]:
        dates += f", {published['undated']} not dated"
    licences = "\n".join(f"- {name}: {count}" for name, count in manifest["licences"].items())
    return f"""# {manifest["name"]}

{manifest["notes"].strip()}

| | |
|---|---|
| domain | {manifest["domain"]} |
| language | {manifest["lang"]} |
| purpose | {manifest["purpose"]}: {PURPOSES[manifest["purpose"]]} |
| documents | {manifest["documents"]:,} |
| characters | {manifest["chars"]:,} |
| UTF-8 bytes | {manifest["bytes"]:,} |
| published | {dates} |
| content hash | `{manifest["content_hash"]}` |

Licences, with the number of documents under each:

{licences}

The file `{DOCUMENTS}` has one JSON object a line with the fields
{", ".join(f"`{name}`" for name in _FIELDS)}.
"""


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder}: is no evaluation set ({MANIFEST} is missing); check the path")
    try:
        manifest = read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: is no valid JSON ({error}); take it again") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: must hold a JSON object; take it from its source again")
    for field in _MANIFEST_FIELDS:
        if field not in manifest:
            raise UserError(f"{path}: the field {field!r} is missing; take it again")
    if manifest["format"] != FORMAT:
        raise UserError(f"{path}, format: is {manifest['format']!r}; this version reads {FORMAT!r}")
    for field in ("name", "domain", "lang", "purpose", "content_hash"):
        if not isinstance(manifest[field], str):
            raise UserError(f"{path}, {field}: must be text; take the set from its source again")
    return manifest


def _read_documents(path: Path, expected: int) -> list[EvaluationDocument]:
    body, damage = bytearray(), ""
    try:
        with open(path, "rb") as stream:
            for piece in zstd_pieces(stream):
                body += piece
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; take the set from its source again") from None
    except (EOFError, zstandard.ZstdError) as error:
        damage = str(error)
    # Split at "\n" alone: a document may hold U+2028 and other line separators.
    lines = bytes(body).removesuffix(b"\n").split(b"\n") if body else []
    if damage:
        record = body.count(b"\n") + 1
        raise UserError(
            f"{path}: is damaged in record {record} of {expected} ({damage}); take the set from its"
            " source again"
        )
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _parse(line: bytes, where: str) -> EvaluationDocument:
    try:
        row = json.loads(line.decode())
    except ValueError as error:
        raise UserError(f"{where}: is no valid JSON ({error}); take the set again") from None
    if not isinstance(row, dict) or set(row) != set(_FIELDS):
        raise UserError(f"{where}: must be an object with exactly {', '.join(_FIELDS)}")
    for field, value in row.items():
        if not (isinstance(value, str) or (value is None and field in _OPTIONAL)):
            raise UserError(f"{where}, {field}: must be text, got {value!r}")
    return EvaluationDocument(**row)
