"""Which outputs a build is made of, and what no build needs any more.

A manifest names the tasks of one call of a stage; a build names its manifests in a note
(`builds/<build>.json`), written before the tasks run. Outputs that no current build names are
garbage: the newest builds are current, and so is one that was begun after them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from skywright.engine.files import TEMPORARY
from skywright.engine.store import DONE, Store

FOLDER = "builds"


class Builds:
    """The note of one build, kept up to date as its stages are called.

    Until it is finished it also names what an earlier run of the build did, so that a run that
    finds everything done writes two notes and not one a stage.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._note = store, f"{FOLDER}/{name}.json"
        self._manifests: list[str] = []
        self._earlier = manifests_of(store, name)
        self._named: set[str] = set()

    def add(self, manifest: str) -> None:
        """One more stage is called."""
        self._manifests.append(manifest)
        if manifest not in self._named:
            self._write(list(dict.fromkeys(self._manifests + self._earlier)), finished=False)

    def finish(self) -> None:
        """All stages are done."""
        self._write(self._manifests, finished=True)

    def _write(self, manifests: list[str], finished: bool) -> None:
        note = {"manifests": manifests, "finished": finished, "time_s": time.time()}
        self._store.write_note(self._note, note)
        self._named = set(manifests)


def manifests_of(store: Store, build: str) -> list[str]:
    """The manifests of a build, in the order of its stages; none for an unknown one."""
    note = store.read_note(f"{FOLDER}/{build}.json")
    return list(note["manifests"]) if note else []


def outputs_of(store: Store, manifests: Iterable[str]) -> set[str]:
    """Names of the outputs that some manifests name, `<stage>/<key>`."""
    named = set()
    for manifest in set(manifests):
        content = store.read_note(manifest)
        named |= {f"{content['stage']}/{key}" for key in content["tasks"]} if content else set()
    return named


def bytes_of(store: Store, build: str) -> int:
    """Size of the finished outputs of a build."""
    records = store.records(sorted(outputs_of(store, manifests_of(store, build))))
    return sum(out["bytes"] for r in records.values() for out in r["outputs"].values())


@dataclass(frozen=True)
class Garbage:
    """What can go: names of files and their bytes, by stage; and what stays."""

    files: dict[str, int]
    by_stage: dict[str, int]
    kept_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes that go."""
        return sum(self.files.values())


def garbage(store: Store, keep: int = 1) -> Garbage:
    """Files that neither the `keep` newest finished builds nor a later unfinished one needs.

    Only folders of stages are looked into; what a living writer is at, and what was not written by
    this package, is left alone.
    """
    sizes = dict(store.files())
    notes = {name: store.read_note(name) for name in sizes if _is_note(name)}
    current, old = _current({name: note for name, note in notes.items() if note}, keep)
    manifests = {manifest for name in current for manifest in notes[name]["manifests"]}
    live = outputs_of(store, manifests)
    files = {name: sizes[name] for name in old}
    stages = {name.split("/")[0] for name in sizes if name.split("/")[1:2] == ["manifests"]}
    attempts = _counted(store, live & {name.rpartition("/")[0] for name in sizes}, stages)
    for name, size in sizes.items():
        stage, _, rest = name.partition("/")
        if stage not in stages or rest.startswith(TEMPORARY) or f"/{TEMPORARY}" in name:
            continue
        first, _, inside = rest.partition("/")
        if first == "manifests":
            dead = name not in manifests
        elif first == "verdicts":
            dead = f"{stage}/{inside.removesuffix('.json')}" not in live
        else:
            output = f"{stage}/{first}"
            dead = output not in live or (output in attempts and name not in attempts[output])
        if dead:
            files[name] = size
    by_stage: dict[str, int] = {}
    for name, size in files.items():
        stage = name.split("/")[0]
        by_stage[stage] = by_stage.get(stage, 0) + size
    kept = sum(size for name, size in sizes.items() if name not in files)
    return Garbage(dict(sorted(files.items())), dict(sorted(by_stage.items())), kept)


def _is_note(name: str) -> bool:
    return name.startswith(f"{FOLDER}/") and not name.startswith(f"{FOLDER}/{TEMPORARY}")


def _current(notes: dict[str, Any], keep: int) -> tuple[list[str], list[str]]:
    """Names of the builds that count, and of those that do not."""
    newest = sorted(notes, key=lambda name: (-notes[name]["time_s"], name))
    finished = [name for name in newest if notes[name]["finished"]][:keep]
    since = max((notes[name]["time_s"] for name in finished), default=0.0)
    begun = [n for n in newest if not notes[n]["finished"] and notes[n]["time_s"] >= since]
    return finished + begun, [name for name in newest if name not in {*finished, *begun}]


def _counted(store: Store, live: set[str], stages: set[str]) -> dict[str, set[str]]:
    """The files that count of each live output: an object store may hold lost attempts beside."""
    records = store.records(sorted(name for name in live if name.split("/")[0] in stages))
    return {
        name: {f"{name}/{DONE}", *(f"{name}/{o['file']}" for o in record["outputs"].values())}
        for name, record in records.items()
    }
