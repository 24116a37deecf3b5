"""Run by the Python of datatrove's environment: its own tokenisation of some texts, timed.

    python datatrove_tokens.py FOLDER TEXTS

FOLDER holds a `tokenizer.json`; TEXTS is a JSON file, language to list of texts. Prints one line
of JSON: by language, seconds and tokens. The step writes its tokens to a file, as it always does;
it is told not to shuffle them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.utils.logging import logger


def main() -> None:
    """Tokenise each language with a new step."""
    folder, texts = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    logger.remove()
    results = {}
    for lang, group in texts.items():
        documents = [Document(text=text, id=str(i)) for i, text in enumerate(group)]
        with tempfile.TemporaryDirectory() as out:
            started = time.perf_counter()
            step = DocumentTokenizer(out, str(folder / "tokenizer.json"), shuffle_documents=False)
            _ = step.tokenizer  # read on first use
            load_s = time.perf_counter() - started
            started = time.perf_counter()
            step.run(documents)
            seconds = time.perf_counter() - started
            (written,) = Path(out).glob("*.ds")
            tokens = written.stat().st_size // step.token_size
        results[lang] = {"load_s": load_s, "seconds": seconds, "tokens": tokens}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
