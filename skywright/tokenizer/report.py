"""Tokenizers side by side: how they compress the same texts, and which of their ids are dead."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.sets import EvaluationSet
from skywright.statistics.intervals import ratio_interval
from skywright.tokenizer.fertility import Counts, count
from skywright.tokenizer.readers import Reader
from skywright.tokenizer.sample import each_lang_and_source, read_documents

Texts = Mapping[tuple[str, str], Sequence[str]]
"""Texts by language and domain."""

DOCUMENT_BYTES = 2_000_000
"""So much of each language and source of a corpus is measured."""

TOTAL = "(all)"
"""The domain of a language's total, in which every domain counts by its size."""


def texts_of_sets(sets: Iterable[EvaluationSet]) -> Texts:
    """The documents of evaluation sets by the sets' language and domain."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in sets:
        found[item.lang, item.domain] += [document.text for document in item.documents]
    return dict(sorted(found.items()))


def texts_of_corpus(paths: Sequence[Path], seed: int = 1) -> Texts:
    """About `DOCUMENT_BYTES` of each language and source of Parquet documents, by hash."""
    return each_lang_and_source(read_documents(sorted(paths)), DOCUMENT_BYTES, seed)


def report(readers: Sequence[Reader], texts: Texts, progress: Progress = silent) -> dict[str, Any]:
    """Measure tokenizers on the same texts.

    Returns `{"rows", "vocabularies"}`. A row is a tokenizer on a language and domain (a language's
    total has the domain `(all)`): documents, chars, bytes, tokens, `documents_altered` (decoding
    does not give them back), and as ratios with a 95 % interval over documents `chars_per_token`,
    `bytes_per_token`, `byte_fallback_share` (newline, tab and carriage return are no fallback),
    and `tokens_against_first`, the tokens as a multiple of the first tokenizer's. A vocabulary
    counts its ids: special, unreachable (no text gives them), unused (reachable, but not on these
    texts), and lists the last two. Raises `UserError` without texts.
    """
    if not any(len(part) for part in texts.values()):
        raise UserError("tokenizer report: there is no text to measure on; name other sets")
    rows, vocabularies = [], []
    first: dict[tuple[str, str], Counts] = {}
    for place, reader in enumerate(readers):
        progress(place, len(readers), f"measuring {reader.name}")
        is_fallback = reader.is_fallback()
        counted = {
            group: count(
                reader.encode_batch, is_fallback, [text for text in part if text], reader.decode
            )
            for group, part in texts.items()
        }
        uses = np.sum([found.uses for found in counted.values()], axis=0)
        altered = sum(int(found.altered.sum()) for found in counted.values())
        counted |= _totals(counted)
        first = first or counted
        for group in sorted(counted):
            rows.append(_row(reader.name, group, counted[group], first[group]))
        vocabularies.append(_vocabulary(reader, uses, altered))
    progress(len(readers), len(readers), "measured")
    return {"rows": rows, "vocabularies": vocabularies}


def _totals(counted: Mapping[tuple[str, str], Counts]) -> dict[tuple[str, str], Counts]:
    """A total for each language of several domains."""
    langs: dict[str, list[Counts]] = defaultdict(list)
    for (lang, _), found in counted.items():
        langs[lang].append(found)
    return {
        (lang, TOTAL): Counts(
            chars=np.concatenate([part.chars for part in parts]),
            bytes=np.concatenate([part.bytes for part in parts]),
            tokens=np.concatenate([part.tokens for part in parts]),
            fallbacks=np.concatenate([part.fallbacks for part in parts]),
            altered=np.concatenate([part.altered for part in parts]),
            uses=np.sum([part.uses for part in parts], axis=0),
        )
        for lang, parts in langs.items()
        if len(parts) > 1
    }


def _row(name: str, group: tuple[str, str], counts: Counts, first: Counts) -> dict[str, Any]:
    lang, domain = group
    return {
        "tokenizer": name,
        "lang": lang,
        "domain": domain,
        "documents": len(counts.tokens),
        "chars": int(counts.chars.sum()),
        "bytes": int(counts.bytes.sum()),
        "tokens": int(counts.tokens.sum()),
        "documents_altered": int(counts.altered.sum()),
        "chars_per_token": ratio_interval(counts.chars, counts.tokens).as_json(),
        "bytes_per_token": ratio_interval(counts.bytes, counts.tokens).as_json(),
        "byte_fallback_share": ratio_interval(counts.fallbacks, counts.tokens).as_json(),
        "tokens_against_first": ratio_interval(counts.tokens, first.tokens).as_json(),
    }


def _vocabulary(reader: Reader, uses: np.ndarray, altered: int) -> dict[str, Any]:
    unreachable = reader.unreachable()
    unused = (uses == 0) & ~unreachable & ~reader.special
    return {
        "tokenizer": reader.name,
        "fingerprint": reader.fingerprint,
        "vocab_size": len(reader.pieces),
        "documents_altered": altered,
        "special": int(reader.special.sum()),
        "unreachable": int(unreachable.sum()),
        "unused_on_these_texts": int(unused.sum()),
        "unreachable_ids": np.flatnonzero(unreachable).tolist(),
        "unused_ids": np.flatnonzero(unused).tolist(),
    }
