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
from skywright.corpus.dedup import comparisons, minhash, proposals, rule, verdicts
from skywright.corpus.joined import join
from skywright.engine.runner import Output, Runner
from skywright.engine.stage import ExchangeStage, Shard

FEW_BYTES = 1 << 20  # of tables of a round: less than that costs more to exchange than to hand out
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
    """The rounds, from tables of `proposals.BAND_SCHEMA` with the buckets of two and more: one
    table a partition, in the order of an exchange keyed by band.
    """
    bits = min(config.bands * config.rows, minhash.SKETCH_BITS)
    proposing = proposals.ProposalParams(
        neighbours=config.neighbours, mismatches=rule.mismatch_limit(config.jaccard, bits),
        generation=standing.generation, within=standing.within,
    )  # fmt: skip
    work = _Documents(runner, documents, config, partitions, standing.sets)
    outputs = work.outputs
    told: list[list[Shard]] = [[] for _ in buckets]
    offers = outputs["near_proposals_1"] = runner.map(proposals.PROPOSE, buckets, proposing)
    number = 1
    while True:
        notices = work.judge(offers.shards("offers"), number)
        settled = not any(shard.rows for shard in notices)
        if settled or number >= MAX_ROUNDS:
            break
        number += 1
        news = work.exchange(f"near_notices_{number}", verdicts.NOTICES, notices)
        noticed = []
        for bucket, earlier, new in zip(buckets, told, news, strict=True):
            if new.rows:
                earlier.append(replace(new, key=bucket.key))
                noticed += join([bucket], *([shard] for shard in earlier))
        offers = runner.map(proposals.PROPOSE_AGAIN, noticed, proposing)
        outputs[f"near_proposals_{number}"] = offers
        settled = not any(shard.rows for shard in offers.shards("offers"))
        if settled:
            break
    outputs["near_duplicates"] = work.dropped()
    return NearCopies(
        outputs=outputs,
        rounds=number,
        settled=settled,
        comparisons=work.comparisons,
        shuffled_bytes=shuffled_bytes(outputs.values()),
    )


class _Documents:
    """What is known of the documents, partition by partition, and the sets made so far."""

    def __init__(
        self,
        runner: Runner,
        documents: Sequence[Shard],
        config: DuplicatesConfig,
        partitions: int,
        stored: Sequence[Shard],
    ) -> None:
        self.outputs: dict[str, Output] = {}
        self.comparisons = 0
        self._runner, self._documents, self._stored = runner, documents, stored
        self._partitions = partitions
        self._setting = comparisons.SetParams(ngram=config.ngram)
        self._judging = verdicts.JudgeParams(jaccard=config.jaccard, partitions=partitions)
        self._facts: list[dict[str, list[Shard]]] = [
            {kind: [] for kind in verdicts.KINDS} for _ in range(partitions)
        ]
        self._sets: dict[str, list[Shard]] = {shard.key: [] for shard in documents}

    def exchange(self, name: str, stage: ExchangeStage, shards: Sequence[Shard]) -> list[Shard]:
        """The part of each partition of tables that are passed on; those without rows are left out.

        A few rows are not exchanged: all partitions get them in one table, and readers take theirs.
        """
        (table,) = stage.outputs
        full = [shard for shard in shards if shard.rows] or shards[:1]
        if sum(shard.bytes for shard in full) <= FEW_BYTES:
            output = self._runner.gather(proposals.small(stage), {table: full}, self._setting)
            parts = output.shards(table) * self._partitions
        else:
            output = self._runner.exchange(stage, full, self._setting, self._partitions)
            parts = output.shards(table)
        self.outputs[name] = output
        return parts

    def judge(self, offers: Sequence[Shard], number: int) -> list[Shard]:
        """Take in the offers of a round and judge the documents that got one; their notices."""
        met = self.exchange(f"near_offers_{number}", proposals.OFFERS, offers)
        judged = self._judge(verdicts.OFFERS, met, f"near_choice_{number}")
        notices, asks = judged.shards("notices"), judged.shards("asks")
        if any(shard.rows for shard in asks):
            found = self._compare(asks, number)
            judged = self._judge(verdicts.FOUND, found, f"near_judgement_{number}")
            notices += judged.shards("notices")
        return notices

    def _judge(self, kind: str, fresh: Sequence[Shard], name: str) -> Output:
        touched = []
        for part, (shard, known) in enumerate(zip(fresh, self._facts, strict=True)):
            if shard.rows or not known[verdicts.VERDICTS]:
                known[kind].append(shard)
                touched.append(part)
        inputs = [verdicts.facts(self._facts[part], kind, part) for part in touched]
        output = self.outputs[name] = self._runner.map(verdicts.JUDGE, inputs, self._judging)
        for part, shard in zip(touched, output.shards("verdicts"), strict=True):
            verdicts_there = self._facts[part][verdicts.VERDICTS]
            if shard.rows or not verdicts_there:
                verdicts_there.append(shard)
        return output

    def _compare(self, asks: Sequence[Shard], number: int) -> list[Shard]:
        """The similarities that are asked for, by document."""
        routed = self.exchange(f"near_asks_{number}", comparisons.ROUTE, asks)
        asked = self._asked(self._documents, routed)
        sets = self._runner.map(comparisons.SETS, asked, self._setting)
        self.outputs[f"near_sets_{number}"] = sets
        for shard in sets.shards("sets"):
            self._sets[shard.key] += [shard] if shard.rows else []
        moving = sets.shards("moving")
        if stored := self._asked(self._stored, routed):
            moving += self._runner.map(comparisons.STORED, stored, self._setting).shards("moving")
        moved = self.exchange(f"near_moves_{number}", comparisons.MOVE, moving)
        meeting = []
        for shard in self._documents:
            asks_here, guests = (_part_of(shard, parts) for parts in (routed, moved))
            if asks_here.rows:
                here = ([made] for made in self._sets[shard.key])
                meeting += join([asks_here], [guests], *here)
        compared = self._runner.map(comparisons.COMPARE, meeting, self._setting)
        self.outputs[f"near_comparisons_{number}"] = compared
        self.comparisons += compared.rows("found")
        name = f"near_similarities_{number}"
        return self.exchange(name, comparisons.FOUND, compared.shards("found"))

    def _asked(self, holders: Sequence[Shard], routed: Sequence[Shard]) -> list[Shard]:
        """The holders of documents that may be asked for something, with the asks and the sets
        that are there.
        """
        found = []
        for shard in holders:
            asks = _part_of(shard, routed)
            if asks.rows:
                found += join([shard], [asks], *([sets] for sets in self._sets.get(shard.key, [])))
        return found

    def dropped(self) -> Output:
        """What goes by the verdicts so far, with its cluster."""
        last = [verdicts.history(known, part) for part, known in enumerate(self._facts)]
        going = self._runner.map(verdicts.GOING, last, self._setting).shards("going")
        params = verdicts.DropParams(
            step="near_duplicates", rule="near_copy", jaccard=self._judging.jaccard
        )
        return self._runner.exchange(verdicts.CLUSTERS, going, params, self._partitions)


def shuffled_bytes(outputs: Iterable[Output]) -> int:
    """Bytes that the partition tasks of these stages wrote for others to read (compressed)."""
    segments = {
        (shard.path, shard.meta["offset"]): shard.bytes
        for output in outputs
        for task in output.tasks
        if task.kind == "reduce"
        for shard in task.inputs[""]
    }
    return sum(segments.values())


def beside_their_shard(shards: Sequence[Shard], parts: Sequence[Shard]) -> list[Shard]:
    """Each shard joined with the part in which its rows are, `parts` being the outputs of an
    exchange keyed by `proposals.shard_number`: a key is sent to partition key % partitions.
    """
    return join(shards, [_part_of(shard, parts) for shard in shards])


def _part_of(shard: Shard, parts: Sequence[Shard]) -> Shard:
    return replace(parts[proposals.shard_number(shard.key) % len(parts)], key=shard.key)
