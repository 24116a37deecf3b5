"""The contenders of the training benchmark, and rounds in which each is started once."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import Unavailable, interpreter
from benchmarks.train_case import Case
from benchmarks.train_ours import forms
from benchmarks.trial import Trial

ROOT = Path(__file__).parents[1]
UNCOUNTED = 2
"""Steps at the start of each process that are not timed: they compile, and fill caches."""
WITHIN = 0.95
"""A form as fast as this share of its contender's best in the first round stays in the others."""
LIMIT_S = 3600
"""A process that takes longer is given up: it hangs."""
SAME_LOSS_NATS = 0.1
"""All train the same: first and last losses differ by rounding alone, which in bf16 comes to some
hundredths where a loss is itself computed in bf16."""


class Peer(NamedTuple):
    """A script of benchmarks/peers; environment: of a lock there, None for the project's own."""

    script: str
    environment: str | None
    forms: tuple[str, ...]


PEERS = {
    "hf": Peer("huggingface_train.py", "huggingface", ("fp32", "bf16", "compiled")),
    "plain": Peer("plain_train.py", None, ("compiled",)),
    "nanogpt": Peer("nanogpt_train.py", None, ("compiled",)),
    "litgpt": Peer("litgpt_train.py", "litgpt", ("bf16-mixed", "bf16-true")),
}


@dataclass(frozen=True)
class Contender:
    """Who, and in which form."""

    name: str
    form: str

    def __str__(self) -> str:
        return f"{self.name} {self.form}"

    def command(self) -> list[str]:
        """What runs it, the trial's word left out. Raises `Unavailable`."""
        if self.name == "ours":
            return [sys.executable, "-m", "benchmarks.train_ours", "run"]
        peer = PEERS[self.name]
        python = sys.executable
        if peer.environment:
            python = str(interpreter(peer.environment, beside_ours=True))
        return [python, str(ROOT / "benchmarks" / "peers" / peer.script)]


def start(command: list[str], folder: Path, form: str, threads: int, cache: Path) -> dict[str, Any]:
    """The result of a fresh process on a case's folder. Raises `Unavailable` if it fails.

    `cache` holds what is compiled, so that a contender's first start finds it empty.
    """
    trial = Trial(str(folder), form, threads, time.monotonic())
    try:
        done = subprocess.run(
            [*command, trial.written()],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S,
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads),
                "TORCHINDUCTOR_CACHE_DIR": str(cache), "CUDA_VISIBLE_DEVICES": "",
                "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
            },
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not done after {LIMIT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise Unavailable(f"exit {done.returncode}: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


class Rounds:
    """All runs of all contenders: by contender and round, what a process told."""

    def __init__(self, case: Case, folder: Path, threads: int, names: Iterable[str]) -> None:
        self.case, self.folder, self.threads = case, folder, threads
        self.runs: dict[Contender, dict[int, dict[str, Any]]] = {}
        self.unavailable: dict[str, str] = {}
        wanted = {"ours": tuple(forms()), **{name: PEERS[name].forms for name in names}}
        self._staying = [Contender(name, form) for name, of in wanted.items() for form in of]

    def run(self, number: int) -> None:
        """One more round, number 0 being the first."""
        for contender in list(self._staying):
            try:
                told = self.start(contender, self.folder / "case")
                self._check(contender, told)
            except Unavailable as error:
                self.unavailable[str(contender)] = str(error)
                self._staying.remove(contender)
                say(f"{contender}: unavailable: {error}")
                continue
            self.runs.setdefault(contender, {})[number] = told
            say(f"round {number + 1}  {contender!s:18} {self.speed(told):7.0f} tokens/s")
        self._staying = [
            contender for contender in self._staying
            if self.median(contender) >= WITHIN * self.median(self.best(contender.name))
        ]  # fmt: skip

    def start(self, contender: Contender, folder: Path) -> dict[str, Any]:
        """One run on the case in `folder`. Raises `Unavailable`."""
        cache = self.folder / "compiled" / str(contender).replace(" ", "-")
        return start(contender.command(), folder, contender.form, self.threads, cache)

    def _check(self, contender: Contender, told: dict[str, Any]) -> None:
        """Raise `Unavailable` if its losses are not those of the first contender that ran."""
        wanted = next(iter(self.runs.values()), {0: told})[0]["losses"]
        for place in (0, -1):
            if not abs(told["losses"][place] - wanted[place]) < SAME_LOSS_NATS:
                raise Unavailable(
                    f"it trains something else: losses {told['losses']}, others have {wanted}"
                )

    def speed(self, told: dict[str, Any]) -> float:
        """Tokens a second of one run."""
        return self.case.step_tokens / statistics.median(told["step_s"][UNCOUNTED - 1 :])

    def speeds(self, contender: Contender) -> dict[int, float]:
        """The same by round."""
        return {number: self.speed(told) for number, told in self.runs[contender].items()}

    def median(self, contender: Contender) -> float:
        """Its median over the rounds."""
        return statistics.median(self.speeds(contender).values())

    def best(self, name: str) -> Contender:
        """The fastest form. Raises `Unavailable` if none ran."""
        found = [contender for contender in self.runs if contender.name == name]
        if not found:
            raise Unavailable(f"{name}: no form of it ran")
        return max(found, key=lambda c: (len(self.runs[c]), self.median(c)))

    def ratio(self, names: list[str]) -> list[float]:
        """By round: how many times as fast we are as the best of these; empty if none ran."""
        ours = self.speeds(self.best("ours"))
        others = [self.speeds(c) for c in self.runs if c.name in names]
        return [
            ours[number] / max(found)
            for number in ours
            if (found := [speeds[number] for speeds in others if number in speeds])
        ]

    def row(self, contender: Contender) -> dict[str, Any]:
        """A contender's figures. The first start compiled with an empty cache, later ones not."""
        runs = list(self.runs[contender].values())
        speeds = self.speeds(contender).values()
        later = [told["first_step_s"] for told in runs[1:]]
        peaks = [told["peak_bytes"] for told in runs if told["peak_bytes"] is not None]
        return {
            "tokens_s": round(statistics.median(speeds), 1),
            "tokens_s_range": [round(min(speeds), 1), round(max(speeds), 1)],
            "rounds": len(runs),
            "first_loss": round(runs[0]["losses"][0], 4),
            "last_loss": round(runs[0]["losses"][-1], 4),
            "first_step_s": round(runs[0]["first_step_s"], 1),
            "first_step_cached_s": round(statistics.median(later), 1) if later else None,
            "peak_mb": round(statistics.median(peaks) / 1e6) if peaks else None,
        }


def say(text: str) -> None:
    """A line for whoever waits."""
    print(text, file=sys.stderr, flush=True)
