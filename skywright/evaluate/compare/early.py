"""Score only as many documents as it takes to be sure which model is lower.

Documents of all domains come in one random order, drawn from a seed before anything is scored.
After every round each pair's confidence sequence is looked at (`statistics.sequential`); it holds
at all looks at once, so stopping as soon as it excludes 0 keeps its level.

With N the losses, R the reference tokens, and S the sum of R over a document's whole domain, which
is known before scoring, a document counts N/S over R/S. Over all documents that ratio of sums is
the mean over domains of sum N / sum R: the domain-macro of the leaderboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from skywright.engine.files import write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.models import EvaluatedModel, chosen_models, dtype_of, open_model
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import ScoringProtocol
from skywright.evaluate.score import score
from skywright.evaluate.step import sets_by_domain
from skywright.evaluate.store import Store
from skywright.evaluate.summary import column
from skywright.sets import EvaluationDocument, EvaluationSet
from skywright.sets.schema import content_hash
from skywright.statistics import Estimate, paired_sequence, random_order

ROUND_DOCUMENTS = 32
"""Documents scored between two looks: enough for full batches of documents of like length."""

FIRST_LOOK = 64
"""Documents before the first look. Documents of several domains are less alike than those of one:
from 30 on the intervals held in 92.8 % of simulations for one pair of models, from 64 on in 95 % or
more for all (docs/statistics.md)."""

PLANNED_DOCUMENTS = 128
"""Where the intervals are narrowest: at twice the first look."""

OPEN = "cannot tell"


@dataclass(frozen=True)
class EarlyPair:
    """Loss of a minus loss of b in nats per reference token, at every look; the last decides.

    looks: their `n` is the number of documents scored until then.
    """

    a: str
    b: str
    verdict: str
    looks: tuple[Estimate, ...]

    @property
    def difference(self) -> Estimate:
        """The last look's."""
        return self.looks[-1]

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "a": self.a,
            "b": self.b,
            "verdict": self.verdict,
            "documents": self.difference.n,
            "difference": self.difference.as_json(),
            "looks": [look.as_json() for look in self.looks],
        }


@dataclass(frozen=True)
class EarlyComparison:
    """What was decided, and what it took.

    documents and text_bytes: of all sets, cut by the protocol; scored_documents, scored_bytes: by
    model. saved: share of the text that no model had to read, over all models.
    """

    pairs: tuple[EarlyPair, ...]
    documents: int
    text_bytes: int
    scored_documents: Mapping[str, int]
    scored_bytes: Mapping[str, int]
    facts: Mapping[str, Any]

    @property
    def saved(self) -> float:
        """1 minus what was read, over what a full comparison reads; in bytes of text."""
        return 1 - sum(self.scored_bytes.values()) / (len(self.scored_bytes) * self.text_bytes)

    def as_json(self) -> dict[str, Any]:
        """The fields under their names, the facts among them."""
        return {
            "pairs": [pair.as_json() for pair in self.pairs],
            "documents": self.documents,
            "text_bytes": self.text_bytes,
            "scored_documents": dict(self.scored_documents),
            "scored_bytes": dict(self.scored_bytes),
            "saved": self.saved,
            **self.facts,
        }


@dataclass(frozen=True, eq=False)
class Pool:
    """The documents of all domains, by domain and id, with their sizes once they are cut.

    tokens: reference tokens (documents,); weights: 1 over those of the document's whole domain.
    """

    documents: tuple[EvaluationDocument, ...]
    tokens: np.ndarray
    bytes: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(
        cls,
        domains: Mapping[str, EvaluationSet],
        protocol: ScoringProtocol,
        reference: ReferenceTokenizer,
    ) -> Pool:
        """All documents of these sets. Raises `UserError` for one without text."""
        documents = [d for _, item in sorted(domains.items()) for d in item.documents]
        cut = [protocol.cut(document.text) for document in documents]
        tokens = np.array([len(reference.encode(text)) for text in cut])
        for document, size in zip(documents, tokens, strict=True):
            if not size:
                raise UserError(
                    f"domain {document.domain}, document {document.id}, text: nothing to score;"
                    " leave the document out of the set"
                )
        names, domain_of = np.unique([d.domain for d in documents], return_inverse=True)
        sums = np.bincount(domain_of, tokens, len(names))
        return cls(
            tuple(documents), tokens, np.array([len(text.encode()) for text in cut]),
            1 / sums[domain_of],
        )  # fmt: skip

    def as_set(self, places: np.ndarray) -> EvaluationSet:
        """Some of the documents, in this order, as a set to score."""
        documents = tuple(replace(self.documents[i], domain="mixed") for i in places)
        name = ", ".join(sorted({self.documents[i].domain for i in places}))
        return EvaluationSet(
            name, "mixed", "mixed", documents,
            content_hash("mixed", "mixed", "domain", documents), "as in their sets", "domain",
        )  # fmt: skip

    def difference(
        self, scored: np.ndarray, a: np.ndarray, b: np.ndarray, level: float
    ) -> Estimate:
        """Of losses a minus losses b (nats, documents), after those in `scored`, in this order."""
        return paired_sequence(
            a * self.weights,
            b * self.weights,
            self.tokens * self.weights,
            scored,
            PLANNED_DOCUMENTS,
            first_look=FIRST_LOOK,
            level=level,
        ).now


def compare_early(
    models: Sequence[EvaluatedModel],
    sets: Sequence[EvaluationSet],
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
    out: Path,
    progress: Progress = silent,
    *,
    budget_documents: int | None = None,
    seed: int = 0,
    noise_floor: float = 0.0,
    level: float = 0.95,
    device: str = "cpu",
    dtype: str = "float32",
    batch_tokens: int = BATCH_TOKENS,
    store_root: Path | None = None,
    options: BackendOptions | None = None,
    examine: bool = False,
) -> EarlyComparison:
    """Score rounds of documents until every pair is decided or the budget ends; write `early.json`.

    budget_documents: most documents that a model reads (None: all). seed: of the order. A pair is
    decided when its interval excludes 0, by a difference of at least noise_floor (nats per
    reference token), or lies within the noise floor; all pairs' intervals hold at once, at all
    looks, at `level`. A model whose pairs are decided is scored no further. All models are in
    memory together. Scores stand under `store_root` (default: `out/store`), each round on its
    own: called again with the same arguments, it goes on where it was. Other arguments: see
    `score_models`. Raises `UserError` for fewer than two models or documents than a first look
    takes, names or domains that repeat, and what scoring refuses.
    """
    if len(models) < 2:
        raise UserError("compare: name at least two models")
    if protocol.joins_documents:
        raise UserError(f"protocol {protocol.name}: it joins documents; they are one to stop in")
    listed, out = chosen_models(models, "all"), Path(out)
    pool = Pool.of(sets_by_domain(sets), protocol, reference)
    order = random_order(len(pool.documents), seed)[:budget_documents]
    if len(order) < FIRST_LOOK:
        raise UserError(
            f"{len(order)} documents: the first look takes {FIRST_LOOK}; name more sets or a larger"
            " budget, or compare all at once"
        )
    backends = {m["name"]: open_model(m, device, dtype, options, examine) for m in listed}
    store = Store(store_root or out / "store")
    losses = {name: np.full(len(pool.documents), np.nan) for name in backends}
    read = dict.fromkeys(backends, 0)
    pairs = list(combinations(backends, 2))
    looks: dict[tuple[str, str], list[Estimate]] = {pair: [] for pair in pairs}
    verdicts = dict.fromkeys(pairs, OPEN)
    for start in range(0, len(order), ROUND_DOCUMENTS):
        undecided = [pair for pair in pairs if verdicts[pair] == OPEN]
        here = order[start : start + ROUND_DOCUMENTS]
        end = start + len(here)
        for name in [name for name in backends if any(name in pair for pair in undecided)]:
            progress(start, len(order), f"{name}, documents {start + 1} to {end}")
            table = score(
                backends[name], pool.as_set(here), protocol, reference, store,
                batch_tokens=batch_tokens,
            )  # fmt: skip
            losses[name][here] = column(table, "nll_nats")
            read[name] = end
        for a, b in undecided if end >= FIRST_LOOK else []:
            found = pool.difference(order[:end], losses[a], losses[b], 1 - (1 - level) / len(pairs))
            looks[a, b].append(found)
            verdicts[a, b] = _verdict(a, b, found, noise_floor)
    progress(1, 1, "compare")
    comparison = EarlyComparison(
        tuple(EarlyPair(*pair, verdicts[pair], tuple(looks[pair])) for pair in pairs),
        len(pool.documents),
        int(pool.bytes.sum()),
        read,
        {name: int(pool.bytes[order[:count]].sum()) for name, count in read.items()},
        {
            "budget_documents": len(order),
            "seed": seed,
            "noise_floor": noise_floor,
            "level": level,
            "planned_documents": PLANNED_DOCUMENTS,
            "protocol": protocol.model_dump()
            | {"dtype": dtype_of({name: backend.dtype for name, backend in backends.items()})},
            "reference_tokenizer": reference.fingerprint,
        },
    )
    write_json(out / "early.json", comparison.as_json())
    return comparison


def _verdict(a: str, b: str, found: Estimate, noise_floor: float) -> str:
    """OPEN while nothing is sure."""
    if -noise_floor < found.low and found.high < noise_floor:
        return "below noise"
    if (found.low > 0 or found.high < 0) and abs(found.value) >= noise_floor:
        return f"{a if found.high < 0 else b} lower"
    return OPEN
