"""Whether a step is applied, skipped, gone back from or the last: its loss or gradient may leap.

`judge` is a pure function of numbers: made equal on all processes by one all-reduce of the loss,
the count of labels and the gradient's norm, it decides the same everywhere.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from skywright.config import Config
from skywright.train.steps import Step

Action = Literal["apply", "skip", "rollback", "stop"]


class GuardConfig(Config):
    """Policies. A spike is a loss or gradient norm that lies more than `sigmas` standard
    deviations above the mean of the last `window_steps` applied steps of its segment; it is
    looked for once half the window is filled (6 and 128: OLMo-core, `optim/skip_step_optimizer`).

    stop      raise, weights untouched
    skip      do not apply the step; weights and optimizer state stay as they are
    rollback  go back to the last checkpoint and pass over the samples that led here
    """

    not_finite: Literal["stop", "skip", "rollback"] = "stop"
    spike: Literal["ignore", "stop", "skip", "rollback"] = "ignore"
    sigmas: float = Field(default=6.0, gt=0)
    window_steps: int = Field(default=128, ge=4)
    max_skips: int = Field(default=8, ge=1, description="in a row; one more stops the run")
    max_rollbacks: int = Field(
        default=2, ge=1, description="to one and the same checkpoint; one more stops the run"
    )
    rollback_steps: int = Field(
        default=1, ge=1, description="steps passed over after going back, the bad one being last "
        "(PaLM passed over 200 to 500: Chowdhery et al. 2022, section 5.1)"
    )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What is done with a step, and why if it is not applied."""

    action: Action
    reason: str = ""


def judge(
    config: GuardConfig, losses: Sequence[float], norms: Sequence[float], loss: float, norm: float
) -> Verdict:
    """The policy's verdict on a step's mean loss (nats) and gradient norm.

    `losses` and `norms` are those of the applied steps before it, at most `window_steps`.
    """
    for what, value in (("the loss", loss), ("the gradient's norm", norm)):
        if not math.isfinite(value):
            return Verdict(config.not_finite, f"{what} is {value}")
    if config.spike == "ignore" or len(losses) < config.window_steps // 2:
        return Verdict("apply")
    for what, value, window in (("the loss", loss, losses), ("the gradient's norm", norm, norms)):
        mean, deviation = statistics.fmean(window), statistics.stdev(window)
        if value - mean > config.sigmas * deviation:
            return Verdict(
                config.spike,
                f"{what} is {value:.4g}, more than {config.sigmas:g} standard deviations "
                f"({deviation:.3g}) above its mean of {mean:.4g} over {len(window)} steps",
            )
    return Verdict("apply")


class Guard:
    """Verdicts on the steps of a run in order, and the memory they need.

    `state` and `restore` carry it through a checkpoint: a resumed run decides the same.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.skipped: list[dict[str, Any]] = []
        self.rollbacks: list[dict[str, Any]] = []
        self._segment = 0
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._in_a_row = 0

    def passed_over(self, step: Step) -> str | None:
        """Why a step is not even tried, or None: it lies in what a rollback passes over."""
        for rollback in self.rollbacks:
            if rollback["first_step"] <= step.number <= rollback["bad_step"]:
                return f"rolled back at step {rollback['bad_step']}: {rollback['reason']}"
        return None

    def judge(self, step: Step, loss: float, norm: float, checkpoint_step: int) -> Verdict:
        """The verdict on a step, with the bounds on skips and on rollbacks kept.

        `checkpoint_step` is the step that a rollback would go back to.
        """
        if step.segment != self._segment:  # other data: another level of loss
            self._segment, self._losses, self._norms = step.segment, [], []
        verdict = judge(self.config, self._losses, self._norms, loss, norm)
        if verdict.action == "skip" and self._in_a_row >= self.config.max_skips:
            return Verdict("stop", f"{verdict.reason}, and {self._in_a_row} steps before it were "
                           "skipped (max_skips)")  # fmt: skip
        if verdict.action == "rollback":
            times = sum(row["to_step"] == checkpoint_step for row in self.rollbacks)
            if times >= self.config.max_rollbacks:
                return Verdict("stop", f"{verdict.reason}, after {times} rollbacks to step "
                               f"{checkpoint_step} (max_rollbacks)")  # fmt: skip
        return verdict

    def applied(self, loss: float, norm: float) -> None:
        """Take an applied step into the window."""
        keep = self.config.window_steps - 1
        self._losses = [*self._losses[-keep:], loss]
        self._norms = [*self._norms[-keep:], norm]
        self._in_a_row = 0

    def skip(self, step: Step, reason: str, loss: float | None, norm: float | None) -> None:
        """Note a step that is not applied, with the numbers of its samples."""
        if self.passed_over(step) is None:
            self._in_a_row += 1
        self.skipped.append(
            {
                "step": step.number,
                "first_sample": step.first_sample,
                "last_sample": step.last_sample,
                "tokens": step.step_tokens,
                "reason": reason,
                "loss_nats": finite(loss),
                "grad_norm": finite(norm),
            }
        )

    def roll_back(self, bad: Step, reason: str, state: Mapping[str, Any] | None, to: int) -> None:
        """Go back to the state of the checkpoint of step `to` (None and 0: the start), knowing
        what to pass over from now on."""
        first = max(to + 1, bad.number - self.config.rollback_steps + 1)
        known = [*self.rollbacks, {
            "bad_step": bad.number, "to_step": to, "first_step": first, "reason": reason,
        }]  # fmt: skip
        self.restore(state or Guard(self.config).state())
        self.rollbacks = known

    def state(self) -> dict[str, Any]:
        """All that later verdicts depend on, and what was decided so far, as JSON."""
        return {
            "segment": self._segment,
            "losses": self._losses,
            "norms": self._norms,
            "in_a_row": self._in_a_row,
            "skipped": self.skipped,
            "rollbacks": self.rollbacks,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the guard whose `state` this is; the window may since have been shortened."""
        keep = self.config.window_steps
        self._segment, self._in_a_row = state["segment"], state["in_a_row"]
        self._losses, self._norms = state["losses"][-keep:], state["norms"][-keep:]
        self.skipped, self.rollbacks = list(state["skipped"]), list(state["rollbacks"])


def finite(value: float | None) -> float | None:
    """The value, or None if JSON has no word for it."""
    return value if value is not None and math.isfinite(value) else None
