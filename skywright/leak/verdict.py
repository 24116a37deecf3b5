"""From differences with intervals to words, by a rule that stands here in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skywright.statistics import Estimate

Word = Literal["leak", "trained on train split", "no evidence", "cannot tell"]

REFERENCE_BAND_NATS = 0.035
"""Half-width of the 95 % prediction band of delta1 of a clean model, from the five clean models of
table 8 of the Skywork report (arXiv 2310.19341; sd .011, t with 4 degrees of freedom). It is used
for the look-alikes made here too, until clean models have been measured on them."""
TRAIN_BAND_NATS = 0.08
"""Models without a sign of training on GSM8K differ by up to .06 to .08 nats between its train and
test split (OpenCompass, contamination evaluation: InternLM-7B .06), so a smaller delta2 says
nothing."""


@dataclass(frozen=True)
class Verdict:
    """A word and the reason for it."""

    word: Word
    reason: str


def _said(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] nats"


def judge(delta1: Estimate, delta2: Estimate | None, seen_minus_unseen: Estimate | None) -> Verdict:
    """The verdict on one model.

    delta1: test - look-alikes, paired (low if the test set was in training). delta2: test - train
    split (high if the train split was in training). seen_minus_unseen: train items of which
    training had been told to see a random half, minus the other half; its null is exactly 0, so it
    is the judge of the train split where it exists, and delta2 only where it does not.

    "leak": all of delta1's interval lies below -REFERENCE_BAND_NATS. "trained on train split":
    all of seen_minus_unseen's interval lies below 0 (else: all of delta2's above
    TRAIN_BAND_NATS). "no evidence": the intervals exclude effects larger than
    REFERENCE_BAND_NATS (delta2: TRAIN_BAND_NATS). Everything else: "cannot tell".
    """
    band = REFERENCE_BAND_NATS
    if delta1.high < -band:
        return Verdict(
            "leak",
            f"the test items are easier than their look-alikes: delta1 {_said(delta1)}, all below"
            f" the null band of -{band}",
        )
    if seen_minus_unseen is not None:
        effect, name = seen_minus_unseen, "seen minus unseen"
        trained, excluded = effect.high < 0, effect.low > -band
        null = "all below 0, where a random split must lie without training on it"
    elif delta2 is not None:
        effect, name = delta2, "delta2"
        trained, excluded = effect.low > TRAIN_BAND_NATS, effect.high < TRAIN_BAND_NATS
        null = f"all above {TRAIN_BAND_NATS}, which clean models reach"
    else:
        return Verdict("cannot tell", f"no train split was scored; delta1 {_said(delta1)}")
    if trained:
        return Verdict("trained on train split", f"{name} {_said(effect)}, {null}")
    if delta1.low > -band and excluded:
        return Verdict(
            "no evidence",
            f"delta1 {_said(delta1)} and {name} {_said(effect)} exclude an effect of"
            f" {band if seen_minus_unseen is not None else TRAIN_BAND_NATS} nats",
        )
    unclear = f"delta1 {_said(delta1)}" if delta1.low <= -band else f"{name} {_said(effect)}"
    return Verdict("cannot tell", f"{unclear} reaches from the null band into an effect")
