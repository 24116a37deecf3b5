"""From scores of documents to losses of domains, with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from skywright import statistics
from skywright.evaluate.store import POSITIONS_BYTES
from skywright.statistics import Estimate, mean_of, perplexity, ratio_bootstrap, ratio_interval

LN2 = math.log(2.0)

UNITS = {
    "nats_per_reference_token": ("reference_tokens", 1.0),
    "bpb": ("bytes", LN2),
    "bits_per_char": ("chars", LN2),
}
"""What a loss is divided by: column of sizes, and nats in one unit of the numerator.

Within a domain they rank models alike, because the sizes are the text's and not the model's; over
domains they weigh them differently."""


def column(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column of a table as float64."""
    return table.column(name).to_numpy().astype(np.float64)


def normalised(table: pa.Table, unit: str, draws: int, seed: int) -> Estimate:
    """Sum of losses / sum of sizes in a unit of UNITS, with a 95 % document bootstrap interval."""
    sizes, nats = UNITS[unit]
    return ratio_bootstrap(
        column(table, "nll_nats") / nats, column(table, sizes), draws=draws, seed=seed
    )


def nats_per_reference_token(table: pa.Table, draws: int, seed: int) -> Estimate:
    """Sum of losses / sum of reference tokens, with a 95 % document bootstrap interval."""
    return normalised(table, "nats_per_reference_token", draws, seed)


def bits_per_byte(table: pa.Table, draws: int, seed: int) -> Estimate:
    """Sum of losses in bits / sum of UTF-8 bytes, with a 95 % document bootstrap interval."""
    return normalised(table, "bpb", draws, seed)


def by_position(table: pa.Table) -> list[dict[str, Any]]:
    """Bits per byte by place in the document, one row a range of POSITIONS_BYTES with any text.

    Rows: from_bytes, to_bytes (None: no end), documents that reach into the range, and bpb with
    a 95 % t interval over them.
    """
    sizes = column(table, "bytes")
    losses = np.asarray(table["position_nll_nats"].to_pylist()) / LN2
    ends = [*POSITIONS_BYTES[1:], None]
    rows = []
    for place, (begin, end) in enumerate(zip(POSITIONS_BYTES, ends, strict=True)):
        inside = np.clip(sizes - begin, 0, None if end is None else end - begin)
        reach = inside > 0
        if reach.any():
            estimate = ratio_interval(losses[reach, place], inside[reach])
            rows.append(
                {"from_bytes": begin, "to_bytes": end, "documents": int(reach.sum()),
                 "bpb": estimate.as_json()}
            )  # fmt: skip
    return rows


def flagged(table: pa.Table) -> dict[str, int]:
    """How many documents carry each flag (`prepare.FLAGS`)."""
    return dict(
        sorted(Counter(flag for flags in table["flags"].to_pylist() for flag in flags).items())
    )


def _row(
    domain: str, lang: str, documents: int, nats: Estimate, bpb: Estimate, bits_per_char: Estimate
) -> dict[str, Any]:
    return {
        "domain": domain,
        "lang": lang,
        "documents": documents,
        "nats_per_reference_token": nats.as_json(),
        "perplexity": perplexity(nats).as_json(),
        "bpb": bpb.as_json(),
        "bits_per_char": bits_per_char.as_json(),
    }


def domain_rows(
    tables: Mapping[str, pa.Table], langs: Mapping[str, str], draws: int, seed: int
) -> list[dict[str, Any]]:
    """One row a domain and one named "macro", in the order of `tables`.

    tables: scores by domain; langs: language by domain. The macro row is the equal-weight mean
    over domains of their nats per reference token (so its perplexity is the geometric mean of
    theirs, as the average in table 6 of the Skywork report, arXiv 2310.19341), of their bits per
    byte and per character. Its interval is that of these domains' documents; it says nothing of
    other domains.
    """
    rows = []
    estimates: list[list[Estimate]] = []
    for domain, table in tables.items():
        estimates.append([normalised(table, unit, draws, seed) for unit in UNITS])
        row = _row(domain, langs[domain], table.num_rows, *estimates[-1])
        rows.append(row | {"flags": flagged(table), "by_position": by_position(table)})
    documents = sum(table.num_rows for table in tables.values())
    # The mean of one domain is that domain, with its interval.
    means = (
        [mean_of(unit) for unit in zip(*estimates, strict=True)]
        if len(estimates) > 1
        else estimates[0]
    )
    rows.append(_row("macro", "all", documents, *means))
    return rows


def aggregates(
    tables: Mapping[str, pa.Table], rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """{unit: {"micro", "document_macro", "domain_macro"}} over all domains, with 95 % intervals.

    rows: what `domain_rows` gives of the same tables; its last is the domain-macro.
    micro: sum of losses / sum of sizes over all documents, so long documents count most.
    document_macro: mean over documents of each one's loss / size, so short ones count as much.
    domain_macro: mean over domains of their micro, so every domain counts as much; this is the
    mean behind the average column of table 6 of the Skywork report. The first two are those of
    `statistics.aggregates`, with t intervals over new documents of these domains.
    """
    every = pa.concat_tables(list(tables.values()))
    domain_of = np.repeat(list(tables), [table.num_rows for table in tables.values()])
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for unit, (name, nats) in UNITS.items():
        losses, sizes = column(every, "nll_nats") / nats, column(every, name)
        means = statistics.aggregates(losses, sizes, domain_of, interval="t")
        found[unit] = {
            "micro": means.micro.as_json(),
            "document_macro": means.document_macro.as_json(),
            "domain_macro": rows[-1][unit],
        }
    return found
