"""Run by the Python of datatrove's environment: WARC pages to deduplicated JSON lines.

    python datatrove_corpus.py FOLDER OUT MODEL

FOLDER holds .warc.gz files; MODEL is fastText's lid.176.ftz. The steps are those of datatrove's own
FineWeb example (examples/fineweb.py): reader, Trafilatura, language, Gopher's repetition and
quality filters, FineWeb's filter, MinHash with 14 bands of 8 rows; Chinese pages take the same
filters with datatrove's Chinese word tokenizer, and the length and ending bounds of FineWeb-2's
cmn_Hani. One worker. Prints one line of JSON.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.lid import FT176LID

CHINESE = {"min_avg_word_length": 1, "max_avg_word_length": 10, "stop_words": ["的", "是", "和"],
           "min_stop_words": 2, "max_non_alpha_words_ratio": 0.735}  # fmt: skip


BANDS = 14


def run(name: str, folder: Path, *steps: object, tasks: int = 1) -> None:
    """One worker, logs kept out of the way."""
    LocalPipelineExecutor(
        pipeline=list(steps), tasks=tasks, workers=1, logging_dir=str(folder / "logs" / name)
    ).run()


def main() -> None:
    """Read, filter by language, filter by rules, deduplicate."""
    folder, out, model = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    FT176LID.MODEL_URL = str(model)
    kept = 0
    run(
        "read", out,
        WarcReader(str(folder), glob_pattern="*.warc.gz"),
        Trafilatura(favour_precision=True, timeout=30),  # 1 s by default: a busy core loses pages
        LanguageFilter(languages=["en", "zh"], language_threshold=0.65, backend="ft176"),
        JsonlWriter(str(out / "read"), output_filename="${language}/${rank}.jsonl.gz"),
    )  # fmt: skip
    for language, code in (("en", "eng"), ("zh", "zho")):
        if not (out / "read" / language).is_dir():
            continue
        quality = CHINESE if language == "zh" else {}
        ends = {"line_punct_thr": 0.106} if language == "zh" else {}
        base = out / language
        config = MinhashConfig(num_buckets=BANDS, hashes_per_bucket=8, n_grams=5)
        run(
            f"{language}-rules", out, JsonlReader(str(out / "read" / language)),
            GopherRepetitionFilter(language=code),
            GopherQualityFilter(language=code, **quality),
            FineWebQualityFilter(language=code, **ends),
            JsonlWriter(str(base / "rules")),
        )  # fmt: skip
        if not any((base / "rules").glob("*.jsonl.gz")):
            continue  # nothing has passed
        run(
            f"{language}-signatures", out, JsonlReader(str(base / "rules")),
            MinhashDedupSignature(str(base / "signatures"), config=config, language=code),
        )  # fmt: skip
        run(
            f"{language}-buckets", out,
            MinhashDedupBuckets(str(base / "signatures"), str(base / "buckets"), config=config),
            tasks=BANDS,  # it wants a task for each band
        )  # fmt: skip
        run(
            f"{language}-cluster", out,
            MinhashDedupCluster(str(base / "buckets"), str(base / "remove"), config=config),
        )  # fmt: skip
        run(
            f"{language}-release", out, JsonlReader(str(base / "rules")),
            MinhashDedupFilter(str(base / "remove")),
            JsonlWriter(str(base / "release")),
        )  # fmt: skip
        for path in (base / "release").glob("*.jsonl.gz"):
            with gzip.open(path) as stream:
                kept += sum(1 for _ in stream)
    print(json.dumps({"kept": kept}))


if __name__ == "__main__":
    main()
