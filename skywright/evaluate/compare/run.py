"""Score models on sets, compare them, and write what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from skywright.engine.files import write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.compare.cells import shown_documents
from skywright.evaluate.compare.documents import chosen_lines, documents_by_key
from skywright.evaluate.compare.pages import write_pages
from skywright.evaluate.compare.result import WORST, ModelComparison, compare_scores
from skywright.evaluate.compare.scores import gather
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.models import EvaluatedModel, chosen_models, dtype_of, score_models
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import ScoringProtocol
from skywright.evaluate.step import sets_by_domain
from skywright.evaluate.store import Store
from skywright.sets import EvaluationSet
from skywright.statistics.studentised import DRAWS

SHOWN = 24
"""Documents on the page that shows them byte by byte."""


def compare(
    models: Sequence[EvaluatedModel],
    sets: Sequence[EvaluationSet],
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
    out: Path,
    progress: Progress = silent,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    batch_tokens: int = BATCH_TOKENS,
    store_root: Path | None = None,
    noise_floor: float = 0.0,
    worst: int = WORST,
    shown: int = SHOWN,
    draws: int = DRAWS,
    seed: int = 0,
    options: BackendOptions | None = None,
    examine: bool = False,
) -> ModelComparison:
    """Score every model on every domain set and write the comparison under `out`.

    Writes `compare.json`, `compare.html` and `documents.html`, which shows `shown` documents with
    the loss of every byte. Scores stand under `store_root` (default: `out/store`), with the loss
    of every token; those that are there are not computed again. options, examine: see
    `score_models`; the other arguments are those of `compare_scores`. Memory holds the token
    losses of all models: 16 bytes a token. Raises `UserError` for fewer than two models, names or
    domains that repeat, and what scoring refuses.
    """
    if len(models) < 2:
        raise UserError("compare: name at least two models")
    out, domains = Path(out), sets_by_domain(sets)
    dtypes: dict[str, str] = {}
    tables: dict[str, dict[str, pa.Table]] = {}
    for scored in score_models(
        chosen_models(models, "all"), domains, protocol, reference,
        Store(store_root or out / "store"), progress,
        device=device, dtype=dtype, batch_tokens=batch_tokens, tokens=True, options=options,
        examine=examine,
    ):  # fmt: skip
        dtypes[scored.model["name"]] = scored.backend.dtype
        tables[scored.model["name"]] = scored.tables
    scores = gather(tables)
    progress(1, 1, "compare")
    comparison = compare_scores(
        scores,
        domains,
        protocol=protocol.model_dump() | {"dtype": dtype_of(dtypes)},
        reference_tokenizer=reference.fingerprint,
        noise_floor=noise_floor,
        worst=worst,
        draws=draws,
        seed=seed,
    )
    lines = chosen_lines(comparison.gaps, shown)
    documents = shown_documents(scores, lines, documents_by_key(domains), protocol)
    write_json(out / "compare.json", comparison.as_json())
    write_pages(comparison, documents, out)
    return comparison
