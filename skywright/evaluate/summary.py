"""From scores of documents to losses of domains, with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from skywright import statistics
from skywright.evaluate.protocols import ScoringProtocol
from skywright.evaluate.store import POSITIONS_BYTES
from skywright.statistics import Estimate, perplexity, ratio_interval

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


def means(tables: Mapping[str, pa.Table], unit: str) -> statistics.Aggregates:
    """Losses of domains and means over them in a unit of UNITS, with 95 % t intervals.

    tables: scores by domain. Every table and page takes its figures from here or, where models
    stand side by side, from `statistics.leaderboard`, whose intervals are the same.
    """
    name, nats = UNITS[unit]
    every = pa.concat_tables(list(tables.values()))
    return statistics.aggregates(
        column(every, "nll_nats") / nats, column(every, name), domain_labels(tables), interval="t"
    )


def domain_labels(tables: Mapping[str, pa.Table]) -> np.ndarray:
    """The domain of every document, in the order of the tables."""
    return np.repeat(list(tables), [table.num_rows for table in tables.values()])


def nats_per_reference_token(table: pa.Table) -> Estimate:
    """Sum of losses / sum of reference tokens, with a 95 % t interval over documents."""
    return ratio_interval(column(table, "nll_nats"), column(table, "reference_tokens"))


def headline(protocol: ScoringProtocol, table: pa.Table) -> Estimate:
    """The number that a protocol reports of a domain, with a 95 % t interval over documents."""
    return ratio_interval(*protocol.ratio(table))


def by_position(table: pa.Table, domain_of: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Bits per byte by place in the document, one row a range of POSITIONS_BYTES with any text.

    domain_of: the domain of each document, if there are several. Rows: from_bytes, to_bytes
    (None: no end), documents that reach into the range, and their micro bpb with a 95 % t
    interval over documents within their domains.
    """
    sizes = column(table, "bytes")
    losses = np.asarray(table["position_nll_nats"].to_pylist()) / LN2
    ends = [*POSITIONS_BYTES[1:], None]
    rows = []
    for place, (begin, end) in enumerate(zip(POSITIONS_BYTES, ends, strict=True)):
        inside = np.clip(sizes - begin, 0, None if end is None else end - begin)
        reach = inside > 0
        if reach.any():
            found = statistics.aggregates(
                losses[reach, place], inside[reach],
                None if domain_of is None else domain_of[reach], interval="t",
            )  # fmt: skip
            rows.append(
                {"from_bytes": begin, "to_bytes": end, "documents": int(reach.sum()),
                 "bpb": found.micro.as_json()}
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


def domain_rows(tables: Mapping[str, pa.Table], langs: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a domain and one named "macro", in the order of `tables`.

    tables: scores by domain; langs: language by domain. The macro row is the equal-weight mean
    over domains of their nats per reference token (so its perplexity is the geometric mean of
    theirs, as the average in table 6 of the Skywork report, arXiv 2310.19341), of their bits per
    byte and per character. Its interval is that of these domains' documents; it says nothing of
    other domains.
    """
    found = [means(tables, unit) for unit in UNITS]
    rows = []
    for domain, table in tables.items():
        row = _row(domain, langs[domain], table.num_rows, *[one.domains[domain] for one in found])
        rows.append(row | {"flags": flagged(table), "by_position": by_position(table)})
    documents = sum(table.num_rows for table in tables.values())
    rows.append(_row("macro", "all", documents, *[one.domain_macro for one in found]))
    return rows


def aggregates(tables: Mapping[str, pa.Table]) -> dict[str, dict[str, dict[str, Any]]]:
    """{unit: {"micro", "document_macro", "domain_macro"}} over all domains, with 95 % intervals.

    micro: sum of losses / sum of sizes over all documents, so long documents count most.
    document_macro: mean over documents of each one's loss / size, so short ones count as much.
    domain_macro: mean over domains of their micro, so every domain counts as much; this is the
    mean behind the average column of table 6 of the Skywork report. Intervals speak of new
    documents of these domains.
    """
    return {
        unit: {
            "micro": found.micro.as_json(),
            "document_macro": found.document_macro.as_json(),
            "domain_macro": found.domain_macro.as_json(),
        }
        for unit, found in ((unit, means(tables, unit)) for unit in UNITS)
    }
