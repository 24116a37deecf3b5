"""What the steps leave in a run folder, as frozen, typed objects; unknown keys are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MACRO = "macro"  # the name of the mean over domains among the domains


class Record(BaseModel):
    """Base of what is read: immutable; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Estimate(Record):
    """A number with its 95 % interval; `n` is the number of documents or items behind it."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


# ---------------------------------------------------------------- corpus and tokenizer


class Drop(Record):
    """What one rule of one step dropped."""

    step: str
    rule: str
    dropped: int
    bytes_dropped: int = 0


class Flow(Record):
    """Records that went into a step and came out of it."""

    step: str
    records_in: int = Field(alias="in")
    records_out: int = Field(alias="out")
    bytes_out: int = 0
    seconds: float | None = None


class Kept(Record):
    """Input and kept records of a source or a language."""

    records_in: int = Field(alias="in")
    kept: int
    bytes_kept: int | None = None
    chars_kept: int | None = None


class Reject(Record):
    """One dropped record, shown as it was found."""

    record: str
    url: str | None = None
    value: Any = None
    threshold: Any = None
    excerpt: str | None = None


class HeldOut(Record):
    """Proof that the evaluation documents are not in the corpus."""

    documents: int
    dropped: int
    max_containment_kept: float | None = None


class Waterfall(Record):
    """`corpus/current/waterfall.json`."""

    input_records: int
    kept: int
    steps: tuple[Drop, ...] = ()
    flow: tuple[Flow, ...] = ()
    by_source: dict[str, Kept] = {}
    by_lang: dict[str, Kept] = {}
    samples: dict[str, tuple[Reject, ...]] = {}
    heldout: HeldOut | None = None
    duplicates: dict[str, Any] = {}


class Size(Record):
    """Documents, characters and UTF-8 bytes of a part of the corpus."""

    documents: int
    chars: int
    bytes: int


class Card(Record):
    """`corpus/current/card.json`: what the data card counts in the kept documents."""

    total: Size | None = None
    by_quality_bin: dict[str, Size] = {}
    by_licence: dict[str, Size] = {}


class TokenizerRow(Record):
    """How many characters and bytes a token holds in one language."""

    lang: str
    documents: int
    chars_per_token: float | None
    bytes_per_token: float | None
    byte_fallback_share: float | None


class TokenizerSummary(Record):
    """`tokenizer/current/summary.json`."""

    vocab_size: int
    fingerprint: str
    rows: tuple[TokenizerRow, ...]


# ---------------------------------------------------------------- plan and training


class CurvePoint(Record):
    """Realised shares of the sources in the stretch that ends at `tokens` tokens of the run."""

    tokens: float
    shares: dict[str, float]


class Segment(Record):
    """One segment of the plan; `planned` is a mean share, or (from, to, mean) of a ramp."""

    name: str
    samples: int
    tokens: int
    shares: dict[str, float]
    planned: dict[str, float | tuple[float, float, float]] = {}
    epochs: dict[str, float] = {}
    curve: tuple[CurvePoint, ...] = ()


class PlanSource(Record):
    """Size of one source's shards."""

    tokens: int
    windows: int


class Plan(Record):
    """`plan.json`, written before training begins."""

    segments: tuple[Segment, ...]
    sources: dict[str, PlanSource] = {}


class Checkpoint(Record):
    """One exported checkpoint."""

    name: str
    tokens: int
    segment: str


class TrainSummary(Record):
    """`train/current/summary.json`."""

    steps: int
    tokens: int
    parameters: int
    seconds: float | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    precision: str | None = None
    dtype: str | None = None
    weights_sha256: str | None = None


class Metric(Record):
    """One line of `train/current/metrics.jsonl`."""

    tokens: int
    segment: str
    loss_nats: float | None
    lr: float
    tokens_per_s: float | None = None


class DomainLoss(Record):
    """Loss of one domain during training."""

    nats_per_token: float | None
    bpb: float | None = None
    documents: int | None = None


class Validation(Record):
    """One line of `train/current/validation.jsonl`."""

    tokens: int
    segment: str
    domains: dict[str, DomainLoss]


# ---------------------------------------------------------------- measures


class Score(Record):
    """Scores of one checkpoint on one domain (or on `macro`)."""

    model: str
    tokens: int
    segment: str | None = None
    domain: str
    lang: str | None = None
    documents: int | None = None
    nats_per_reference_token: Estimate
    perplexity: Estimate
    bpb: Estimate | None = None


class Evaluation(Record):
    """`evaluate/current/summary.json`; `unigram` is nats per reference token by domain."""

    protocol: Any = None
    reference_tokenizer: Any = None
    interval: str | None = None
    rows: tuple[Score, ...]
    unigram: dict[str, float | None] = {}


class LeakRow(Record):
    """Losses, differences and verdict of one model."""

    model: str
    tokens: int | None = None
    segment: str | None = None
    test: Estimate | None = None
    train_seen: Estimate | None = None
    train_unseen: Estimate | None = None
    reference: Estimate | None = None
    delta1: Estimate | None = None
    delta2: Estimate | None = None
    seen_minus_unseen: Estimate | None = None
    verdict: str
    reason: str = ""


class Leak(Record):
    """`leak/current/summary.json`."""

    models: tuple[LeakRow, ...]
    sets: dict[str, int] = {}
    note: str = ""


class Benchmark(Record):
    """Accuracy before and after the branch."""

    name: str
    items: int
    chance: float
    before: Estimate
    after: Estimate
    difference: Estimate | None = None


class StudyDomain(Record):
    """Loss of one domain before and after the branch, nats per reference token."""

    domain: str
    lang: str | None = None
    before: Estimate
    after: Estimate
    difference: Estimate | None = None


class Study(Record):
    """`study/current/summary.json`."""

    from_checkpoint: str
    from_tokens: int
    branch_tokens: int
    source: str
    benchmark: Benchmark
    domains: tuple[StudyDomain, ...]


# ---------------------------------------------------------------- the run


class Environment(Record):
    """`environment.json`: where and with what the run was made."""

    skywright: str | None = None
    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_gb: float | None = None
    packages: dict[str, str] = {}


class StepDone(Record):
    """One line of `steps.json`."""

    key: str
    folder: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Run:
    """All that the report shows of one run; what has not been done is None or empty."""

    name: str
    finished: datetime | None = None
    recipe: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    environment: Environment | None = None
    steps: dict[str, StepDone] = field(default_factory=dict)
    waterfall: Waterfall | None = None
    card: Card | None = None
    tokenizer: TokenizerSummary | None = None
    plan: Plan | None = None
    train: TrainSummary | None = None
    metrics: tuple[Metric, ...] = ()
    validation: tuple[Validation, ...] = ()
    evaluation: Evaluation | None = None
    leak: Leak | None = None
    study: Study | None = None
