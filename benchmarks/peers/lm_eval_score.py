"""Run by the Python of lm-eval's environment: its own rolling log-likelihoods, timed.

    python lm_eval_score.py MODEL DOCUMENTS [--dtype float32] [--batch-sizes 1 4 8]
                            [--max-length N] [--threads 2] [--rounds 1]

MODEL is a Hugging Face folder, DOCUMENTS a JSON file with a list of texts. Prints one line of
JSON: bits_per_byte (by lm-eval's own aggregation), the log-likelihoods, and by batch size the
seconds of each round. Reading the model is not timed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import bits_per_byte
from lm_eval.models.huggingface import HFLM


def main() -> None:
    """Score all documents with every batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("documents", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8])
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = json.loads(options.documents.read_text(encoding="utf-8"))
    requests = [
        Instance("loglikelihood_rolling", doc={}, arguments=(text,), idx=0) for text in texts
    ]
    model = HFLM(
        pretrained=str(options.model), dtype=options.dtype, device="cpu",
        batch_size=options.batch_sizes[0], max_length=options.max_length,
    )  # fmt: skip
    seconds: dict[str, list[float]] = {}
    found: list[float] = []
    for size in options.batch_sizes:
        model.batch_size_per_gpu = size
        for _ in range(options.rounds):
            started = time.perf_counter()
            found = model.loglikelihood_rolling(requests, disable_tqdm=True)
            seconds.setdefault(str(size), []).append(time.perf_counter() - started)
    items = [(nats, len(text.encode())) for nats, text in zip(found, texts, strict=True)]
    print(json.dumps({"bits_per_byte": bits_per_byte(items), "nats": found, "seconds": seconds}))


if __name__ == "__main__":
    main()
