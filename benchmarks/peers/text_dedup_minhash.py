"""Run by the Python of text-dedup's environment: its MinHash command on some documents, timed.

    python text_dedup_minhash.py DOCUMENTS LANGUAGE

DOCUMENTS is JSON lines of `id` and `text`. Threshold .8 and 5-grams, everything else its defaults
(250 hashes, bands by its own optimum; one tokenisation for all languages, so LANGUAGE is not used).
Prints one line of JSON: the seconds of the whole command and the ids that stay.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets


def main() -> None:
    """One process."""
    documents = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "text_dedup.minhash", "--path", "json", "--data_files",
             str(documents), "--split", "train", "--cache_dir", f"{name}/cache", "--output",
             f"{name}/out", "--column", "text", "--ngram", "5", "--threshold", "0.8",
             "--num_proc", "1"],
            check=True, stdout=sys.stderr, cwd=name,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        kept = list(datasets.load_from_disk(f"{name}/out")["id"])
    print(json.dumps({"seconds": [seconds], "kept": kept}))


if __name__ == "__main__":
    main()
