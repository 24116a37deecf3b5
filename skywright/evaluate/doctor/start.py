"""What should stand before a document: nothing, BOS, EOS or a new line."""

from __future__ import annotations

from dataclasses import dataclass

from skywright.evaluate.doctor.check import Check
from skywright.evaluate.doctor.sample import Sample, ids_of, per_document
from skywright.evaluate.doctor.tokenizer import view_of
from skywright.statistics import Estimate, paired_ratio_difference, ratio_interval

WORTH_NATS = 0.005
"""Nats per token that make another start token worth a word; the closest published margins
between models are 0.014 (Skywork report, arXiv 2310.19341, table 6)."""


@dataclass(frozen=True)
class Start:
    """One way to begin a document.

    id: the token put in front, None for nothing. nats: per token, over all tokens but a text's
    first, which has no loss where nothing stands before it. against_own: paired difference to the
    back-end's own way, None for that itself. first_token_nats: mean loss of the first token.
    """

    name: str
    id: int | None
    nats: Estimate
    against_own: Estimate | None
    first_token_nats: float | None


@dataclass(frozen=True)
class StartProbe:
    """The ways that were tried, the back-end's own among them, and the best with a token."""

    starts: tuple[Start, ...]
    own: str
    best: str

    def __getitem__(self, name: str) -> Start:
        return next(start for start in self.starts if start.name == name)

    @property
    def gains(self) -> bool:
        """Whether the best is better than the back-end's own beyond doubt and worth the change."""
        gain = self[self.best].against_own
        return gain is not None and gain.high < 0 and gain.value < -WORTH_NATS


def candidates(sample: Sample) -> dict[str, int | None]:
    """Names and ids to try: nothing, and the distinct start tokens that the tokenizer offers."""
    view = view_of(sample.backend)
    newline = ids_of(sample.backend, "\n")
    found: dict[str, int | None] = {
        "bos": view.bos_id if view else None,
        "eos": view.eos_id if view else None,
        "newline": int(newline[-1]) if len(newline) else None,
    }
    distinct: dict[str, int | None] = {"none": None}
    for name, token in found.items():
        new = token not in distinct.values()  # None is there already, as "none"
        if token is not None and new and token < sample.backend.vocab_size:
            distinct[name] = token
    if sample.backend.start_token_id not in distinct.values():
        distinct["own"] = sample.backend.start_token_id
    return distinct


def probe_start(sample: Sample) -> StartProbe:
    """Score the sample after every start token; intervals are 95 %, over its texts."""
    backend = sample.backend
    tried = candidates(sample)
    own = next(name for name, token in tried.items() if token == backend.start_token_id)
    rest, first = {}, {}
    for name, token in tried.items():
        windows = sample.windows(token)
        losses = backend.token_nll(windows, [1] * len(windows))
        skip = 0 if token is None else 1
        rest[name] = per_document([loss[skip:] for loss in losses])
        first[name] = (
            None if token is None else float(sum(float(loss[0]) for loss in losses) / len(losses))
        )
    sizes = sample.sizes - 1
    starts = tuple(
        Start(
            name,
            token,
            ratio_interval(rest[name], sizes),
            None if name == own else paired_ratio_difference(rest[name], rest[own], sizes),
            first[name],
        )
        for name, token in tried.items()
    )
    best = min((s for s in starts if s.id is not None), key=lambda start: start.nats.value)
    return StartProbe(starts, own, best.name)


def start_check(sample: Sample) -> Check:
    """The probe as a check: a warning where another start token is better beyond doubt."""
    probe = probe_start(sample)
    told = []
    for start in probe.starts:
        gap = start.against_own
        told.append(
            f"{start.name} {start.nats.value:.3f}"
            + ("" if gap is None else f" ({gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}])")
        )
    figures = {
        "own": probe.own,
        "best": probe.best,
        "starts": [
            {
                "name": s.name, "id": s.id, "nats_per_token": s.nats.as_json(),
                "against_own": None if s.against_own is None else s.against_own.as_json(),
                "first_token_nats": s.first_token_nats,
            }
            for s in probe.starts
        ],
    }  # fmt: skip
    finding = "nats per token after " + ", ".join(told)
    if probe.gains:
        gain = probe[probe.best].against_own
        assert gain is not None  # the back-end's own never gains on itself
        return Check(
            "start probe", "warn", finding,
            f"documents of this model should start with {probe.best}: {-gain.value:.3f} nats per"
            f" token better than {probe.own}", figures,
        )  # fmt: skip
    bare = probe["none"].against_own
    advice = ""
    if bare is not None and bare.low > WORTH_NATS:
        advice = f"keep {probe.own}; tools that put nothing first misjudge this model"
    return Check("start probe", "pass", finding, advice, figures)
