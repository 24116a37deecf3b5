"""Score tables made by hand, and sets that go with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from skywright.evaluate.store import POSITIONS_BYTES, SCORES
from skywright.sets import EvaluationDocument, EvaluationSet
from skywright.sets.schema import make_set

DOMAINS = ("tech", "movie", "gov", "game", "finance", "general")

TABLE_6 = {
    "ChatGLM3-6B": (12.48, 23.48, 5.07, 18.45, 5.67, 7.47, 10.25),
    "MOSS-7B": (20.83, 39.66, 11.08, 31.24, 10.59, 13.25, 18.50),
    "InternLM-7B": (13.43, 24.90, 5.88, 19.78, 6.17, 8.10, 11.17),
    "Qwen-7B": (13.39, 25.16, 5.55, 19.26, 5.76, 7.78, 10.83),
    "Baichuan2-7B": (12.89, 23.26, 5.34, 18.36, 5.68, 7.62, 10.41),
    "LLaMA2-13B": (23.26, 50.66, 18.09, 32.52, 14.85, 16.55, 23.54),
    "Xverse-13B": (12.55, 23.49, 5.20, 17.69, 5.54, 7.46, 10.19),
    "Baichuan-13B": (12.38, 22.46, 5.21, 17.59, 5.42, 7.37, 10.03),
    "Baichuan2-13B": (12.14, 21.85, 5.05, 17.15, 5.35, 7.24, 9.81),
    "Qwen-14B": (11.90, 22.43, 4.89, 16.94, 5.24, 7.03, 9.67),
    "InternLM-20B": (12.34, 22.06, 5.75, 17.45, 5.73, 7.78, 10.34),
    "Aquila2-34B": (14.62, 29.09, 5.72, 21.78, 5.83, 8.45, 11.73),
    "Skywork-13B": (11.58, 21.84, 4.76, 17.28, 4.92, 6.82, 9.42),
}
"""Table 6 of the Skywork report (arXiv 2310.19341): perplexities in DOMAINS, and their average."""


def score_table(item: EvaluationSet, nats: Sequence[float], flags: Sequence[str] = ()) -> pa.Table:
    """A table of these losses; a reference token is a character, and no token is kept."""
    rows = []
    for document, loss in zip(item.documents, nats, strict=True):
        size = len(document.text.encode())
        ends = np.minimum([*POSITIONS_BYTES[1:], math.inf], size)
        begins = np.minimum(POSITIONS_BYTES, size)
        rows.append(
            {
                "doc_id": document.id,
                "domain": item.domain,
                "nll_nats": float(loss),
                "first_token_nll_nats": 1.0,
                "tokens": len(document.text),
                "scored_tokens": len(document.text),
                "reference_tokens": len(document.text),
                "bytes": size,
                "chars": len(document.text),
                "windows": 1,
                "flags": list(flags),
                "position_nll_nats": ((ends - begins) * loss / size).tolist(),
            }
        )
    return pa.Table.from_pylist(rows, schema=SCORES)


def made_set(domain: str, texts: Sequence[str], lang: str = "en") -> EvaluationSet:
    """A set of these texts; each has a URL."""
    documents = [
        EvaluationDocument.of(t, domain, lang, "CC0-1.0", "2024-06-30", f"https://example.org/{n}")
        for n, t in enumerate(texts)
    ]
    return make_set(domain, domain, lang, documents, "domain", "test")


def texts(seed: int, count: int) -> list[str]:
    """Texts of different lengths, each its own."""
    rng = np.random.default_rng(seed)
    return [f"{seed} {n} " + "word " * int(rng.integers(10, 60)) for n in range(count)]


def made_scores(
    sets: Mapping[str, EvaluationSet], rates: Mapping[str, float], seed: int = 0
) -> dict[str, dict[str, pa.Table]]:
    """{model: {domain: table}}: a model's rate times a document's hardness, and some noise."""
    rng = np.random.default_rng(seed)
    hardness = {
        domain: rng.lognormal(0.0, 0.3, len(item.documents)) for domain, item in sets.items()
    }
    made: dict[str, dict[str, pa.Table]] = {}
    for model, rate in rates.items():
        made[model] = {}
        for domain, item in sets.items():
            chars = np.array([len(document.text) for document in item.documents])
            noise = rng.lognormal(0.0, 0.01, len(chars))
            made[model][domain] = score_table(item, rate * chars * hardness[domain] * noise)
    return made
