"""Run as a program: a scoring process that is killed at every step of its way.

    python -m tests.evaluate.killed MODEL STORE

Each child process goes on in the store and is killed by SIGKILL when it wants to rename a file
for the second, third, fourth or fifth time (in turn: an entry takes four renamings), until one has
nothing left to rename. Prints how many were killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import transformers

from skywright.evaluate import prepare as preparing
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score
from skywright.evaluate.store import Store
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, make

PART_TOKENS = 60
MOST_KILLS = 100
TEXTS_HERE = tuple(f"{n}. {text}" for n in range(3) for text in TEXTS)


def score_into(model: Path, store: Path) -> pa.Table:
    """Score a few documents in small parts, with the loss of every token."""
    preparing.PART_TOKENS = PART_TOKENS
    item, tokenizer = make(TEXTS_HERE), Tokenizer.load(model)
    return score(HFBackend(model), item, Protocol(), tokenizer, Store(store), tokens=True)


def _die_at_renaming(last: int) -> None:
    renamings = 0

    def deadly(rename: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: Any) -> None:
            nonlocal renamings
            renamings += 1
            if renamings == last:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*arguments)

        return counted

    os.replace, os.rename = deadly(os.replace), deadly(os.rename)


def main(model: Path, store: Path) -> None:
    """See the module's docstring."""
    for name in ("AutoTokenizer", "AutoModelForCausalLM", "LlamaForCausalLM"):
        getattr(transformers, name)  # read now, once, not by every child
    for kills in range(MOST_KILLS):
        child = os.fork()  # nothing has run in this process that a fork would tear
        if child == 0:
            _die_at_renaming(2 + kills % 4)
            score_into(model, store)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            print(kills)
            sys.exit(os.WEXITSTATUS(status))
        assert os.WTERMSIG(status) == signal.SIGKILL
    sys.exit(f"not finished after {MOST_KILLS} kills")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
