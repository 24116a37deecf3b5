"""Look for the items of a benchmark in a finished corpus or in texts, and count what is found.

    python scripts/find_items.py WHERE ... --benchmark FILE [--question FIELD ...] [--answer FIELD]

WHERE is a corpus folder (`runs/laptop/corpus/current`) or JSON lines with `text`; FILE a benchmark
as in a recipe's `corpus.decontaminate`. Where no item can stand (text younger than the benchmark),
`share` is the rate of false alarms. Prints one JSON object.

Example: python scripts/find_items.py runs/laptop/corpus/current \
    --benchmark ../shared/data/bench/gsm8k/test.jsonl.gz --answer answer
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skywright.corpus.decontaminate.benchmarks import read_items
from skywright.corpus.decontaminate.config import BenchmarkConfig, DecontaminateConfig
from skywright.corpus.decontaminate.index import Index
from skywright.engine.lines import text_lines
from skywright.statistics import proportion_interval

BATCH = 512


def texts_of(where: Path, at_most: int | None) -> Iterator[tuple[str, list[str]]]:
    """Batches of texts, each of one source."""
    if where.is_dir():
        for path in sorted((where / "documents").glob("*.parquet")):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH, columns=["source", "text"]):
                    yield batch["source"][0].as_py(), batch["text"].to_pylist()
        return
    texts = [json.loads(line)["text"] for line in text_lines(where)][:at_most]
    for start in range(0, len(texts), BATCH):
        yield where.name, texts[start : start + BATCH]


def main() -> None:
    """Read the arguments, look, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("where", type=Path, nargs="+")
    parser.add_argument("--benchmark", required=True, action="append")
    parser.add_argument("--question", nargs="+", default=["question"])
    parser.add_argument("--answer", nargs="*", default=[])
    parser.add_argument("--at-most", type=int, help="so many texts of each file of JSON lines")
    given = parser.parse_args()
    benchmarks = [
        BenchmarkConfig(
            name=f"b{number}", path=path, question=tuple(given.question), answer=tuple(given.answer)
        )
        for number, path in enumerate(given.benchmark)
    ]
    index = Index.build(read_items(benchmarks))
    threshold = DecontaminateConfig().threshold
    items: set[int] = set()
    documents: Counter[str] = Counter()
    total = size = 0
    begun = time.perf_counter()
    for where in given.where:
        for source, texts in texts_of(where, given.at_most):
            hits = index.find(pa.array(texts, pa.string()), threshold)
            items |= {hit.item for hit in hits}
            documents[source] += len({hit.row for hit in hits})
            total += len(texts)
            size += sum(len(text.encode()) for text in texts)
    seconds = time.perf_counter() - begun
    share = proportion_interval(sum(documents.values()), total)
    print(
        json.dumps(
            {
                "items": len(index.items),
                "too_short_or_common": int((~index.searchable).sum()),
                "found_items": len(items),
                "texts": total,
                "texts_with_an_item": {name: n for name, n in documents.items() if n},
                "share": [round(x, 5) for x in (share.value, share.low, share.high)],
                "mb_per_second": round(size / 1e6 / seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
