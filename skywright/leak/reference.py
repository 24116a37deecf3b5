"""The reference set: look-alikes of the test items, each beside the item it was made from."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from skywright.engine.files import read_json, stable_hash, write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.leak.lookalike import RefusedError, look_alike
from skywright.sets import EvaluationDocument, EvaluationSet, document_id, freeze, load

REFERENCE = "reference"
PAIRS = "pairs.json"
_VERSION = 1  # raised when the same items and seed would give other look-alikes


@dataclass(frozen=True)
class Reference:
    """Look-alikes as a set; `original_of` leads from a look-alike's id to its test item's."""

    documents: EvaluationSet
    original_of: Mapping[str, str]
    refused: Mapping[str, int]


def build_reference(
    test: EvaluationSet, items: int | None, seed: int, out: Path, progress: Progress = silent
) -> Reference:
    """Make and freeze look-alikes of a test set, or read those that stand in `out`.

    test: items whose text is question + newline + worked solution with `<<a=b>>` annotations.
    items: how many to make at most, chosen by seed; None: all that can be made. Writes the
    folder `reference/` (an evaluation set) and `pairs.json` (pairs, and refusals by reason).
    Raises `UserError` if no item can be made.
    """
    made_from = {
        "version": _VERSION, "test": test.content_hash, "items": items, "seed": seed
    }  # fmt: skip
    pairs_path = Path(out) / PAIRS
    if pairs_path.is_file():
        standing = read_json(pairs_path)
        if standing["made_from"] != made_from:
            raise UserError(
                f"{pairs_path}: look-alikes of another test set, seed or number stand here;"
                " give another folder or remove this one"
            )
        found = load(Path(out) / REFERENCE)
        return Reference(found, standing["original_of"], standing["refused"])
    documents: list[EvaluationDocument] = []
    original_of: dict[str, str] = {}
    refused: Counter[str] = Counter()
    order = sorted(test.documents, key=lambda d: stable_hash([seed, d.id]))
    for number, original in enumerate(order):
        progress(number, len(order), "look-alikes")
        if len(documents) == items:
            break
        question, _, answer = original.text.partition("\n")
        try:
            made = look_alike(question, answer, int(stable_hash([seed, original.id])[:16], 16))
        except RefusedError as reason:
            refused[str(reason)] += 1
            continue
        text = unicodedata.normalize("NFC", f"{made.question}\n{made.answer}")
        identity = document_id(text)
        if identity in original_of:
            refused["a look-alike of two items is the same"] += 1
            continue
        documents.append(replace(original, id=identity, text=text, url=None, published=None))
        original_of[identity] = original.id
    if not documents:
        raise UserError(
            f"set {test.name}: no item can be redrawn; items must be a question, a newline and a"
            " solution with <<expression=value>> annotations and a last line '#### value'"
        )
    found = freeze(
        Path(out) / REFERENCE,
        f"{test.name}_reference",
        test.domain,
        test.lang,
        documents,
        "leak_reference",
        f"Made by program from {test.name}: numbers and names drawn anew with seed {seed}, every"
        " value computed again and checked.",
    )
    reasons = dict(sorted(refused.items()))
    write_json(
        pairs_path,
        {"made_from": made_from, "original_of": original_of, "refused": reasons},
    )
    return Reference(found, original_of, reasons)
