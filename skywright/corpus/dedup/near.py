"""Near copies over shards: the rule of `rule.py`, carried out in rounds of exchanges.

No machine can take all documents best first. So every document is asked at once, with the buckets
as they were after the round before (in the first, as if all were kept), until a round changes
nothing. What then stands is the rule's answer: the best document's is right after one round, and
each further round makes right the answer of every document all of whose betters are right. Copies
of copies make rounds; three are usual. No table is held whole: what is known of a document or of
a bucket meets in its partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from skywright.corpus.config import DuplicatesConfig
from skywright.corpus.dedup import minhash, proposals, rule, verdicts
from skywright.corpus.joined import join
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import MapStage, Shard

MAX_ROUNDS = 24  # a longer chain of copies leaves some of them in; `settled` says so


@dataclass(frozen=True)
class NearCopies:
    """What came of it. `outputs` are all stages by name, "near_duplicates" (its table `dropped`)
    and "minhash" (its table `errors`) among them.

    rounds: how many it took; settled: whether the last one changed nothing; comparisons: pairs
    compared exactly; shuffled_bytes: what went through exchanges, as written (compressed).
    """

    outputs: Mapping[str, Output]
    rounds: int
    settled: bool
    comparisons: int
    shuffled_bytes: int


@dataclass(frozen=True)
class Standing:
    """What stands in a corpus already and is only compared with: documents of a rank below
    `generation`. `sets` are tables of shingles kept in an index; `within` is false where the new
    documents are not to be compared with each other.
    """

    generation: int = 0
    sets: Sequence[Shard] = ()
    within: bool = True


def near_copies(
    runner: Runner,
    documents: Sequence[Shard],
    config: DuplicatesConfig,
    partitions: int,
    scopes: Mapping[str, str] | None = None,
    standing: Standing = Standing(),
) -> NearCopies:
    """Find the near copies among the documents of `documents`.

    Each shard is two tables joined: documents (`record`, `source`, `text`) and those of them that
    count (`record`, `rank`), the rank as `best.rank` makes it. `scopes` maps each source to the
    group within which copies are sought; None: all documents are one group.
    """
    params = signature_params(config, scopes)
    signed = runner.map(proposals.MINHASH, documents, params)
    buckets = runner.exchange(proposals.BUCKETS, signed.shards("bands"), params, partitions)
    found = settle(runner, documents, buckets.shards("bands"), config, partitions, standing)
    outputs = {"minhash": signed, "near_buckets": buckets, **found.outputs}
    return replace(found, outputs=outputs, shuffled_bytes=shuffled_bytes(outputs.values()))


def signature_params(
    config: DuplicatesConfig, scopes: Mapping[str, str] | None = None
) -> proposals.SignatureParams:
    """The part of the settings by which signatures are made."""
    return proposals.SignatureParams(
        ngram=config.ngram, bands=config.bands, rows=config.rows, seed=config.seed,
        scopes=dict(scopes or {}),
    )  # fmt: skip


def settle(
    runner: Runner,
    documents: Sequence[Shard],
    buckets: Sequence[Shard],
    config: DuplicatesConfig,
    partitions: int,
    standing: Standing = Standing(),
) -> NearCopies:
    """The rounds, from tables of `proposals.BAND_SCHEMA` with the buckets of two and more."""
    bits = min(config.bands * config.rows, minhash.SKETCH_BITS)
    proposing = proposals.ProposalParams(
        neighbours=config.neighbours, mismatches=rule.mismatch_limit(config.jaccard, bits),
        generation=standing.generation, within=standing.within,
    )  # fmt: skip
    judging = verdicts.JudgeParams(jaccard=config.jaccard)
    setting = verdicts.SetParams(ngram=config.ngram)
    done: dict[str, Output] = {}
    notices: list[Shard] = []
    known: list[Shard] = []
    settled = False
    number = 0
    while not settled and number < MAX_ROUNDS:
        number += 1
        proposed = runner.exchange(proposals.PROPOSE, [*buckets, *notices], proposing, partitions)
        chosen = runner.exchange(
            proposals.CHOOSE, proposed.shards("claims") + known, setting, partitions
        )
        asks = runner.exchange(verdicts.ROUTE, chosen.shards("asks"), setting, partitions)
        sets = _sets(runner, verdicts.SETS, documents, asks, setting)
        sets += _sets(runner, verdicts.STORED, standing.sets, asks, setting)
        compared = runner.exchange(verdicts.COMPARE, sets, setting, partitions)
        fresh = [_of_round(shard, number) for shard in compared.shards("claims")]
        judged = runner.exchange(
            verdicts.JUDGE, chosen.shards("claims") + fresh, judging, partitions
        )
        names = ("proposals", "choice", "asks", "comparisons", "judgement")
        outputs = (proposed, chosen, asks, compared, judged)
        done |= {f"near_{n}_{number}": o for n, o in zip(names, outputs, strict=True)}
        known += fresh
        before, notices = notices, judged.shards("notices")
        settled = [s.sha256 for s in before] == [s.sha256 for s in notices] or not any(
            shard.rows for shard in (*before, *notices)
        )
    dropping = verdicts.DropParams(step="near_duplicates", rule="near_copy", jaccard=config.jaccard)
    done["near_duplicates"] = runner.exchange(
        verdicts.CLUSTERS, judged.shards("going"), dropping, partitions
    )
    return NearCopies(
        outputs=done,
        rounds=number,
        settled=settled,
        comparisons=sum(shard.rows or 0 for shard in known),
        shuffled_bytes=shuffled_bytes(done.values()),
    )


def shuffled_bytes(outputs: Iterable[Output]) -> int:
    """Bytes that the partition tasks of these stages wrote for others to read (compressed)."""
    files = {
        shard.path: shard.bytes
        for output in outputs
        for task in output.tasks
        if task.kind == "reduce"
        for shard in task.inputs[""]
    }
    return sum(files.values())


def beside_their_shard(shards: Sequence[Shard], parts: Sequence[Shard]) -> list[Shard]:
    """Each shard joined with the part in which its rows are, `parts` being the outputs of an
    exchange keyed by `proposals.shard_number`: a key is sent to partition key % partitions.
    """
    numbers = [proposals.shard_number(shard.key) % len(parts) for shard in shards]
    beside = [replace(parts[n], key=shard.key) for n, shard in zip(numbers, shards, strict=True)]
    return join(shards, beside)


def _sets(
    runner: Runner,
    stage: MapStage,
    holders: Sequence[Shard],
    asks: Output,
    params: verdicts.SetParams,
) -> list[Shard]:
    """The sets that are asked of each shard."""
    if not holders:
        return []
    return runner.map(stage, beside_their_shard(holders, asks.shards("asks")), params).shards(
        "sets"
    )


def _of_round(shard: Shard, number: int) -> Shard:
    """The shard under a name of its own: two rounds may bring tables of the same bytes."""
    return replace(shard, key=f"{shard.key}/{number}")
