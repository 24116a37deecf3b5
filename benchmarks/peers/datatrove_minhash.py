"""Run by the Python of datatrove's environment: its MinHash steps on some documents, timed.

    python datatrove_minhash.py DOCUMENTS LANGUAGE

DOCUMENTS is JSON lines of `id` and `text`; LANGUAGE is datatrove's code (eng, cmn). 14 buckets of
8 hashes on 5-grams of its words, 64 bits: FineWeb's settings, its own defaults but for the
precision. Prints one line of JSON: seconds of the four steps and the ids that stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.logging import logger


def main() -> None:
    """Signatures, buckets, clusters, filter; one process."""
    documents, language = Path(sys.argv[1]), sys.argv[2]
    logger.remove()
    config = MinhashConfig(
        hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5
    )
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        read = JsonlReader(str(documents.parent), glob_pattern=documents.name)
        steps = [
            ([read, MinhashDedupSignature(str(at / "signatures"), config, language)], 1),
            ([MinhashDedupBuckets(str(at / "signatures"), str(at / "buckets"), config=config)], 14),
            ([MinhashDedupCluster(str(at / "buckets"), str(at / "remove"), config)], 1),
            (
                [
                    read,
                    MinhashDedupFilter(str(at / "remove")),
                    JsonlWriter(str(at / "kept"), compression=None),
                ],
                1,
            ),
        ]
        seconds = []
        for number, (pipeline, tasks) in enumerate(steps):
            started = time.perf_counter()
            LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=1, logging_dir=str(at / f"log{number}")
            ).run()
            seconds.append(time.perf_counter() - started)
        kept = [
            json.loads(line)["id"]
            for path in sorted((at / "kept").glob("*.jsonl"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
    print(json.dumps({"seconds": seconds, "kept": kept}))


if __name__ == "__main__":
    main()
