"""The whole examination, and the part of it that is quick enough to precede every first score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends import Backend
from skywright.evaluate.doctor import numerics
from skywright.evaluate.doctor import tokenizer as of_tokenizer
from skywright.evaluate.doctor.check import Check, Report, guarded
from skywright.evaluate.doctor.sample import Sample
from skywright.evaluate.doctor.start import start_check
from skywright.evaluate.doctor.texts import shipped_texts

QUICK_TEXTS = 6
"""Texts that the quick checks run a model on: two in each of Chinese, English and code."""


def tokenizer_checks(backend: Backend, texts: Sequence[str]) -> list[Check]:
    """The checks that run no model."""
    return [
        of_tokenizer.fits(backend, texts),
        of_tokenizer.start_once(backend, texts[0]),
        of_tokenizer.round_trip(backend, texts),
    ]


def quick_checks(backend: Backend, texts: Sequence[str] | None = None) -> list[Check]:
    """What would make every number wrong; a few short forward passes."""
    texts = shipped_texts() if texts is None else texts
    checks = guarded("tokenizer", lambda: tokenizer_checks(backend, texts))
    if any(check.verdict == "refuse" for check in checks):
        return checks
    return checks + guarded(
        "model", lambda: _number_checks(Sample.of(backend, texts[:QUICK_TEXTS]))
    )


def _number_checks(sample: Sample) -> list[Check]:
    sane = numerics.sane(sample)
    if sane.verdict == "refuse":
        return [sane]
    return [
        sane,
        numerics.causal(sample),
        numerics.batch_invariance(sample),
        numerics.left_padding(sample),
    ]


def refuse_unsound(backend: Backend, name: str) -> None:
    """Raise `UserError`, naming the first check that a model does not pass, if there is one."""
    for check in quick_checks(backend):
        if check.verdict != "refuse":
            continue
        if not check.advice:  # the back-end's own refusal: it says where and what to do
            raise UserError(check.finding)
        raise UserError(f"{name}: {check.name}: {check.finding}; {check.advice}")


class ExaminedBackend:
    """A back-end that goes through `refuse_unsound` before it gives its first loss.

    What is scored already costs nothing: the examination waits until a loss is asked for.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend, self._name, self._sound = backend, name, False

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._backend, attribute)

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """See `Backend.token_nll`."""
        if not self._sound:
            refuse_unsound(self._backend, self._name)
            self._sound = True
        return self._backend.token_nll(windows, first_scored)


def examined(backend: Backend, name: str) -> Backend:
    """The back-end, examined before its first loss; `name` is what refusals call it."""
    return cast(Backend, ExaminedBackend(backend, name))


def examine(
    backend: Backend,
    name: str,
    texts: Sequence[str] | None = None,
    open_other: Callable[[], Backend] | None = None,
    set_tokens: int = 0,
    progress: Progress = silent,
) -> Report:
    """All checks of a model.

    texts: a development split, at best of the sets that are to be scored (None: the shipped
    ones). open_other: opens the same model in another dtype, after this one has been examined;
    None where there is none. set_tokens: how much is to be scored, for the time that it takes.
    """
    texts = shipped_texts() if texts is None else texts
    checks = guarded("tokenizer", lambda: tokenizer_checks(backend, texts))
    if any(check.verdict == "refuse" for check in checks):
        return Report(name, backend.name, backend.dtype, tuple(checks))
    progress(1, 7, "the model alone and in a batch")
    samples: list[Sample] = []

    def numbers() -> list[Check]:
        samples.append(Sample.of(backend, texts))
        return _number_checks(samples[0])

    checks += guarded("model", numbers)
    if any(check.verdict == "refuse" for check in checks):
        return Report(name, backend.name, backend.dtype, tuple(checks))
    sample = samples[0]
    parts: list[tuple[str, str, Callable[[], Check]]] = [
        ("start probe", "start tokens", lambda: start_check(sample)),
        ("context", "the context's end", lambda: numerics.context_limit(backend, sample)),
        ("throughput", "throughput", lambda: numerics.throughput(backend, sample, set_tokens)),
    ]
    for place, (check_name, text, part) in enumerate(parts, start=2):
        progress(place, 7, text)
        checks += guarded(check_name, part)
    progress(5, 7, "another dtype")
    other = _other_losses(sample, open_other)
    losses: list[np.ndarray] | None = None
    if isinstance(other, Check):
        checks.append(other)
    else:
        losses, dtype, rate = other
        own = next((c.figures.get("tokens_s") for c in checks if c.name == "throughput"), None)
        checks.append(numerics.dtype_gap(sample, losses, dtype, own and rate / own))
    progress(7, 7, "doctor")
    floor = numerics.noise_floor(sample, losses)
    return Report(name, backend.name, backend.dtype, tuple(checks), floor)


def _other_losses(
    sample: Sample, open_other: Callable[[], Backend] | None
) -> tuple[list[np.ndarray], str, float] | Check:
    """The sample's losses in the other dtype, which that is, and tokens a second in it.

    Or a check that says why there are none.
    """
    if open_other is None:
        return Check("dtype", "skip", f"{sample.backend.name} has one dtype here")
    try:
        other = open_other()
        windows = sample.windows(other.start_token_id)
        losses = [other.token_nll([window], [1])[0] for window in windows]
        return losses, other.dtype, numerics.tokens_per_second(other, windows)
    except UserError as error:
        return Check("dtype", "skip", f"cannot be opened in another dtype: {error}")
