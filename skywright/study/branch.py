"""The in-domain branch: a gain on a benchmark beside the harm to everything else.

Table 7 of the Skywork report (arXiv 2310.19341): 1B tokens of in-domain data after 0.5T tokens of
general data lift C-Eval from 28.3 to 50.8 and GSM8K from 6.9 to 40.7, while the English loss rises
from 1.86 to 2.09 and the Chinese from 2.08 to 2.21. A base model's benchmark can be bought.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skywright.engine.files import write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.bench import accuracy, answer_items
from skywright.evaluate.models import EvaluatedModel, find_model, score_models
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.step import sets_by_domain
from skywright.evaluate.store import Store
from skywright.evaluate.summary import column, domain_labels, means
from skywright.sets import EvaluationSet
from skywright.statistics import Estimate, domain_macro, ratio_interval
from skywright.study.arithmetic import CHANCE, NAME, make_benchmark
from skywright.study.config import StudyConfig

TrainBranch = Callable[[EvaluatedModel, Path], Sequence[EvaluatedModel]]
"""train_branch(checkpoint, folder): trains from the checkpoint into the folder and returns the
exported models, oldest first; called again with the same folder it goes on, or does nothing."""


def _answers_difference(before: pa.Table, after: pa.Table) -> Estimate:
    """Accuracy after minus before on the same items, paired by item."""
    right = [t.column("correct").to_numpy(zero_copy_only=False).astype(float)
             for t in (before, after)]  # fmt: skip
    return ratio_interval(right[1] - right[0], np.ones(len(right[0])))


def run(
    config: StudyConfig,
    models: Sequence[EvaluatedModel],
    sets: Sequence[EvaluationSet],
    reference_tokenizer: ReferenceTokenizer,
    train_branch: TrainBranch,
    out: Path,
    progress: Progress = silent,
    store_root: Path | None = None,
) -> dict[str, Any]:
    """Train the branch; measure benchmark and domain losses before and after; write `summary.json`.

    The branch lies in `out/branch/`, scores under `store_root` (default: `out/store/`).
    Differences are after minus before, paired by document or item, with 95 % intervals; losses
    are nats per reference token. Returns the summary.
    """
    out = Path(out)
    domains = sets_by_domain(sets)
    start = find_model(models, config.branch_from)
    trained = list(train_branch(start, out / "branch"))
    if not trained:
        raise UserError(f"{out / 'branch'}: the branch exported no checkpoint; export its end")
    end = trained[-1]
    items = make_benchmark(config.benchmark_items, config.seed)
    protocol = Protocol(max_chars=config.max_chars)
    answers: list[pa.Table] = []
    tables: list[dict[str, pa.Table]] = []
    scored_models = score_models(
        [start, end], domains, protocol, reference_tokenizer,
        Store(store_root or out / "store"), progress,
        device=config.device, dtype=config.dtype, batch_tokens=config.batch_tokens,
    )  # fmt: skip
    for scored in scored_models:
        tables.append(scored.tables)
        answers.append(answer_items(scored.backend, items, config.batch_tokens))
    rows: list[dict[str, Any]] = []
    unit = "nats_per_reference_token"
    before, after = (means(scored, unit) for scored in tables)
    changes: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    for domain, item in domains.items():
        earlier, later = (scored[domain] for scored in tables)
        changes.append(column(later, "nll_nats") - column(earlier, "nll_nats"))
        sizes.append(column(earlier, "reference_tokens"))
        difference = ratio_interval(changes[-1], sizes[-1])
        rows.append(
            _row(domain, item.lang, before.domains[domain], after.domains[domain], difference)
        )
    macro = domain_macro(np.concatenate(changes), np.concatenate(sizes), domain_labels(tables[0]))
    rows.append(_row("macro", "all", before.domain_macro, after.domain_macro, macro))
    summary: dict[str, Any] = {
        "from_checkpoint": start["name"],
        "from_tokens": start["tokens"],
        "branch_tokens": config.tokens,
        "source": config.source,
        "benchmark": {
            "name": NAME,
            "items": len(items),
            "chance": CHANCE,
            "before": accuracy(answers[0]).as_json(),
            "after": accuracy(answers[1]).as_json(),
            "difference": _answers_difference(*answers).as_json(),
        },
        "domains": rows,
        "protocol": protocol.model_dump() | {"dtype": config.dtype},
        "reference_tokenizer": reference_tokenizer.fingerprint,
    }
    write_json(out / "summary.json", summary)
    return summary


def _row(
    domain: str, lang: str, before: Estimate, after: Estimate, difference: Estimate
) -> dict[str, Any]:
    return {
        "domain": domain,
        "lang": lang,
        "before": before.as_json(),
        "after": after.as_json(),
        "difference": difference.as_json(),
    }
