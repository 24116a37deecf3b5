"""Models behind a server that tells the log-probabilities of a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skywright.engine.files import stable_hash
from skywright.errors import UserError
from skywright.evaluate.alignment import Encoding
from skywright.evaluate.backends import hf_tokens
from skywright.evaluate.backends.client import Client
from skywright.evaluate.backends.dialects import DIALECTS, BadAnswer, LogProbs
from skywright.evaluate.backends.fingerprint import tokenizer_fingerprint
from skywright.evaluate.backends.hf_tokens import Frame
from skywright.evaluate.backends.loading import check_fit, read_tokenizer, start_token
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.backends.view import TokenizerView, TransformersView

_ADDRESS = re.compile(r"(\w+)\+(https?://[^#?\s]+?)(?:/v1)?/?(?:#(.*))?")
_NO_NUMBER = -9999.0
"""What vLLM (and OpenAI) write for minus infinity, which JSON does not have."""


@dataclass(frozen=True)
class Address:
    """`DIALECT+http://HOST:PORT#MODEL`, for instance `vllm+http://127.0.0.1:8000#qwen`."""

    dialect: str
    base: str
    model: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address. Raises `UserError`, showing the form, if it has another."""
        match = _ADDRESS.fullmatch(text)
        if match is None or match.group(1) not in DIALECTS:
            raise UserError(
                f"{text}: no address of a model server; write one of {', '.join(DIALECTS)}, then"
                " +http://HOST:PORT#MODEL"
            )
        return cls(match.group(1), match.group(2), match.group(3) or "")


def is_address(text: str) -> bool:
    """Whether this names a server rather than a place on this machine."""
    return "://" in text


class ServerBackend:
    """A served model, asked with token ids.

    The tokenizer is a local folder's: what is scored is then what was meant, and each answer can
    be held against it. A batch is as many requests, `options.concurrency` of them at a time.
    Raises `UserError` if there is no such model, or nobody knows its context.
    """

    dtype = "served"
    """A server does not say in what it computes."""
    device_kind = "served"
    """Nor on what."""

    def __init__(self, address: str, options: BackendOptions) -> None:
        self.address = Address.parse(address)
        self._dialect = DIALECTS[self.address.dialect]
        self.name: str = self._dialect.name
        if options.tokenizer is None:
            raise UserError(f"{address}: name the folder of the model's tokenizer with --tokenizer")
        self._folder = options.tokenizer
        self._tokenizer = read_tokenizer(self._folder, options.trust_remote_code)
        self.start_token_id = start_token(self._tokenizer, self._folder)
        self._concurrency = options.concurrency
        self._client = Client(
            self.address.base, options.timeout_s, options.attempts, options.backoff_s
        )
        self._card = self._find_model()
        config = _read_json(self._folder / "config.json")
        self.vocab_size: int = config.get("vocab_size") or len(self._tokenizer)
        check_fit(self._tokenizer, self.vocab_size, self._folder)
        self.context_tokens = self._find_context(options, config)

    def _find_model(self) -> dict[str, Any]:
        """The entry of this model in the server's own list; empty where it keeps none."""
        listed = self._client.find("/v1/models")
        cards = listed.get("data") if isinstance(listed, dict) else None
        if not cards:
            return {}
        if not isinstance(cards, list) or not all(isinstance(c, dict) and "id" in c for c in cards):
            raise UserError(
                f"{self.address.base}/v1/models: answers with something else than a list of models"
                " with ids; is this the model server's address?"
            )
        by_name = {str(card["id"]): card for card in cards}
        wanted = self.address.model or (next(iter(by_name)) if len(by_name) == 1 else "")
        if wanted not in by_name:
            raise UserError(
                f"{self.address.base}: serves {', '.join(by_name)}, not"
                f" {self.address.model or 'one model alone'}; name it behind #"
            )
        return dict(by_name[wanted])

    def _find_context(self, options: BackendOptions, config: dict[str, Any]) -> int:
        served = self._card.get("max_model_len")
        known = [
            *([served - self._dialect.reserve_tokens] if isinstance(served, int) else []),
            *([options.context_tokens] if options.context_tokens else []),
        ]
        if not known and config.get("max_position_embeddings"):
            known = [config["max_position_embeddings"] - self._dialect.reserve_tokens]
        if not known:
            raise UserError(
                f"{self.address.base}: does not say how long a prompt may be; give --context-tokens"
            )
        return min(known)

    @cached_property
    def _version(self) -> str:
        for path in self._dialect.version_paths:
            found = self._client.find(path)
            if isinstance(found, dict) and "version" in found:
                return str(found["version"])
        return "unknown"

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all that the server tells of itself, and of the tokenizer's files.

        A server cannot prove its weights: put others behind the same address and name, and this
        stays as it was.
        """
        told = {key: self._card.get(key) for key in ("id", "root", "max_model_len")}
        return stable_hash(
            {
                "dialect": self.name,
                "base": self.address.base,
                "model": self.address.model,
                "version": self._version,
                "tokenizer": tokenizer_fingerprint(self._folder),
                **told,
            }
        )

    @property
    def tokenizer_view(self) -> TokenizerView:
        """What the tokenizer would do by itself."""
        return TransformersView(self._tokenizer)

    @cached_property
    def frame(self) -> Frame:
        """What the tokenizer puts around a text of its own accord."""
        return hf_tokens.frame(self._tokenizer)

    def encode(self, text: str) -> Encoding:
        """The text's tokens and where each ends; "<s>" in a text is text, not the special token."""
        return hf_tokens.encode(self._tokenizer, text)

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """See `Backend.token_nll`. Raises `UserError` for an answer that is not to be trusted."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            waiting = [
                pool.submit(self._window_nll, window, first)
                for window, first in zip(windows, first_scored, strict=True)
            ]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _window_nll(self, window: np.ndarray, first: int) -> np.ndarray:
        if not 1 <= first < len(window):
            raise ValueError(f"first_scored {first} must be in 1..{len(window) - 1}")
        ids = [int(token) for token in window]
        model = self.address.model or str(self._card.get("id", ""))
        try:
            answer = self._client.post(self._dialect.path, self._dialect.ask(model, ids))
            values = self._dialect.read(answer, ids, self._spellings)
            return -checked(values, first)
        except (BadAnswer, UserError) as error:
            raise UserError(f"{self._where(ids)}: {error}") from None

    def _where(self, ids: list[int]) -> str:
        begin = self._tokenizer.decode(ids[1:24])[:40]
        return f"{self.address.base}, document window of {len(ids)} tokens that begins {begin!r}"

    def _spellings(self, token: int) -> set[str]:
        """A token as text: alone, with the space that stands for a word's begin, and as a piece."""
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        alone = str(self._tokenizer.decode([token]))
        return {alone, f" {alone}", piece, piece.replace("\u2581", " ")}


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file is missing or holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def checked(values: LogProbs, first: int) -> np.ndarray:
    """Log-probabilities from `first` on as float32, each of them one."""
    for place, value in enumerate(values[first:], start=first):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadAnswer(f"gives no log-probability at place {place}, but {value!r}")
        if value > 1e-3:  # rounding may carry a certain token a little above 0
            raise BadAnswer(f"gives {value} at place {place}; a log-probability is at most 0")
        if not value > _NO_NUMBER:  # NaN is neither
            raise BadAnswer(f"gives {value} at place {place}, which is no number to count with")
    return np.asarray(values[first:], dtype=np.float32)
