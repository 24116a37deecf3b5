"""From scores of documents to losses of domains, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from skywright.statistics import Estimate, mean_of, perplexity, ratio_bootstrap

LN2 = math.log(2.0)


def column(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column of a table as float64."""
    return table.column(name).to_numpy().astype(np.float64)


def nats_per_reference_token(table: pa.Table, draws: int, seed: int) -> Estimate:
    """Sum of losses / sum of reference tokens, with a 95 % document bootstrap interval."""
    return ratio_bootstrap(
        column(table, "nll_nats"), column(table, "reference_tokens"), draws=draws, seed=seed
    )


def bits_per_byte(table: pa.Table, draws: int, seed: int) -> Estimate:
    """Sum of losses in bits / sum of UTF-8 bytes, with a 95 % document bootstrap interval."""
    return ratio_bootstrap(
        column(table, "nll_nats") / LN2, column(table, "bytes"), draws=draws, seed=seed
    )


def _row(domain: str, lang: str, documents: int, nats: Estimate, bpb: Estimate) -> dict[str, Any]:
    return {
        "domain": domain,
        "lang": lang,
        "documents": documents,
        "nats_per_reference_token": nats.as_json(),
        "perplexity": perplexity(nats).as_json(),
        "bpb": bpb.as_json(),
    }


def domain_rows(
    tables: Mapping[str, pa.Table], langs: Mapping[str, str], draws: int, seed: int
) -> list[dict[str, Any]]:
    """One row a domain and one named "macro", in the order of `tables`.

    tables: scores by domain; langs: language by domain. The macro row is the equal-weight mean
    over domains of their nats per reference token (so its perplexity is the geometric mean of
    theirs, as the average in table 6 of the Skywork report, arXiv 2310.19341) and of their bits
    per byte. Its interval is that of these domains' documents; it says nothing of other domains.
    """
    rows, all_nats, all_bpb = [], [], []
    for domain, table in tables.items():
        nats = nats_per_reference_token(table, draws, seed)
        bpb = bits_per_byte(table, draws, seed)
        rows.append(_row(domain, langs[domain], table.num_rows, nats, bpb))
        all_nats.append(nats)
        all_bpb.append(bpb)
    documents = sum(table.num_rows for table in tables.values())
    rows.append(_row("macro", "all", documents, mean_of(all_nats), mean_of(all_bpb)))
    return rows
