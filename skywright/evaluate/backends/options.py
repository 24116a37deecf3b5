"""How a model is opened, besides where it runs and in what dtype."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from skywright.config import Config


class BackendOptions(Config):
    """What some back-ends need to be told; the others have no use for it.

    The last four are for servers. A request that meets 408, 429, 500, 502, 503, 504 or a broken
    connection is sent again after `backoff_s`, then twice that, and so on, at most `attempts`
    times in all.
    """

    tokenizer: Path | None = Field(
        default=None, description="folder of the tokenizer; None: the one beside the weights"
    )
    trust_remote_code: bool = Field(
        default=False, description="run Python files that lie in the model's folder"
    )
    context_tokens: int | None = Field(
        default=None, ge=2, description="longest window; None: as the model or server declares"
    )
    cache: Path = Field(
        default=Path("~/.cache/skywright/gguf"), description="where GGUF weights are unpacked"
    )
    timeout_s: float = Field(default=300.0, gt=0, description="longest wait for an answer")
    attempts: int = Field(default=5, ge=1)
    backoff_s: float = Field(default=1.0, ge=0)
    concurrency: int = Field(default=16, ge=1, description="requests under way at once")
