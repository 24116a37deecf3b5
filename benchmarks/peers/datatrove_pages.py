"""datatrove from WARC to text in a language: run by benchmarks/pages.py in the peer's environment.

    python datatrove_pages.py FOLDER_OF_WARC OUT LID_MODEL

The pipeline of datatrove's own example for Common Crawl up to the language filter, with its
defaults: URL filter with the lists it ships, Trafilatura, language (lid.176, of the same compressed
file as ours), Parquet. Lists and models are loaded before the clock starts. Prints one JSON line.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import LanguageFilter, URLFilter
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import ParquetWriter
from fasttext.FastText import _FastText


def main(warcs: str, out: str, lid: str) -> None:
    """Run once and print seconds, pages written, peak memory in MB and seconds by step."""
    urls = URLFilter()
    urls.download_data()
    language = LanguageFilter(languages=["en", "zh"])
    language.model._model = _FastText(lid)
    steps = [
        WarcReader(warcs, glob_pattern="*.warc.gz"), urls, Trafilatura(), language,
        ParquetWriter(f"{out}/documents"),
    ]  # fmt: skip
    executor = LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=f"{out}/logs")
    started = time.perf_counter()
    executor._run_for_rank(0)  # what run() calls for one task, after copying the lists
    seconds = time.perf_counter() - started
    told = json.loads((Path(out) / "logs" / "stats" / "00000.json").read_text())
    by_step = {
        row["name"].split(maxsplit=2)[-1]: row["time_stats"].get("total", 0.0) for row in told
    }
    peak_mb = max(
        resource.getrusage(who).ru_maxrss / 1e3
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    written = told[-1]["stats"].get("total", 0)
    written = written["total"] if isinstance(written, dict) else written
    print(
        json.dumps({"seconds": seconds, "documents": written, "peak_mb": peak_mb, "steps": by_step})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
