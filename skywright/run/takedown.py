"""Takedown in a whole run: from the request down to the token shards.

The corpus is built again (from its stages, so that only files that lose a document change), the
vocabulary is carried over, and the token shards of the changed files are made anew. A model that
was trained on them is not changed by this.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from skywright.corpus import remove
from skywright.corpus.pipeline import check
from skywright.engine.files import atomic_folder, read_json, write_json
from skywright.engine.progress import Progress, silent
from skywright.engine.runner import ExecutorName
from skywright.errors import UserError
from skywright.run.recipe import CorpusRecipe, Recipe
from skywright.run.runner import STEP_RECORD, StepResult, locked, point, run_recipe, survey


@dataclass(frozen=True)
class Removal:
    """What a takedown would remove, or has removed.

    `documents` are rows `file, id, url, source, lang`; `shards` names token shards by token source;
    `copies` are documents that stay with the text of a page that leaves; `folders` are older
    outputs of this run that hold the documents still.
    """

    documents: list[dict[str, Any]]
    shards: dict[str, list[str]]
    copies: list[dict[str, Any]]
    folders: list[Path]


def look(recipe: CorpusRecipe, entries: Sequence[remove.Entry]) -> Removal:
    """What removing `entries` would remove from a finished run, without doing it."""
    corpus = _current(recipe, "corpus")
    if corpus is None:
        raise UserError(
            f"{recipe.workdir}: no finished corpus there; run `skywright run RECIPE --only corpus`"
        )
    asked = remove.Takedown(entries=tuple(entries)).asked()
    found = remove.matches(_documents(corpus), asked)
    return Removal(
        documents=[
            {"file": path.name, **{n: row[n] for n in ("id", "url", "source", "lang")}}
            for path, rows in found.items()
            for row in rows
        ],
        shards=_shards(recipe, corpus, found),
        copies=remove.kept_copies(corpus, asked),
        folders=_holding(recipe, asked),
    )


def take_down(
    recipe: CorpusRecipe,
    entries: Sequence[remove.Entry],
    copies: bool = False,
    executor: ExecutorName = "processes",
    progress: Progress = silent,
) -> tuple[Removal, list[StepResult]]:
    """Remember `entries` and rebuild corpus and token shards without what they name.

    With `copies` the documents that hold a removed page's text under another address go too. The
    request is written first: killed at any later moment, the same call goes on from what is done.
    """
    check(recipe.corpus, recipe.folder)  # a request that no build could follow is not remembered
    found = look(recipe, entries)
    if copies:
        first = entries[0]
        urls = [row["url"] for row in found.copies if row["url"]]
        entries = [*entries, *remove.url_entries(urls, first.added, "copy", "copies")]
        found = look(recipe, entries)
    folder = recipe.workdir / "corpus"
    had_tokens = _current(recipe, "tokens") is not None
    with locked(recipe.workdir):
        remove.write_takedown(folder, remove.read_takedown(folder).with_entries(entries))
    done = list(run_recipe(recipe, "corpus", executor=executor, progress=progress))
    if had_tokens:
        _carry_tokenizer(recipe)
        done += run_recipe(recipe, "tokens", executor=executor, progress=progress)
    return found, done


def purge(recipe: CorpusRecipe) -> list[Path]:
    """Delete what may still hold removed text: older corpus and token folders, the tables of the
    stages, finished token tasks. What they save (work on the next build) is lost; models stay.
    """
    gone = []
    with locked(recipe.workdir):
        for step in ("corpus", "tokens"):
            current = _current(recipe, step)
            for folder in sorted((recipe.workdir / step).glob("*")):
                kept = folder.name == "current" or folder.resolve() == current
                if folder.is_dir() and not kept:
                    shutil.rmtree(folder)
                    gone.append(folder)
    return gone


# ---------------------------------------------------------------- telling


def as_json(found: Removal, done: bool, deleted: Sequence[Path]) -> dict[str, Any]:
    """The outcome for machines; ids in hex."""
    rows = {"documents": found.documents, "copies": found.copies}
    return {
        "done": done,
        **{name: [{**row, "id": row["id"].hex()} for row in part] for name, part in rows.items()},
        "shards": found.shards,
        "older_folders": [str(path) for path in found.folders],
        "deleted": [str(path) for path in deleted],
    }


def sentences(found: Removal, done: bool, copies: bool, deleted: Sequence[Path]) -> list[str]:
    """The outcome for people."""
    held = [name for names in found.shards.values() for name in names]
    one = len(found.documents) == 1
    verb = "would go" if not done else "was removed" if one else "were removed"
    lines = [f"{_counted(len(found.documents), 'document')} {verb}"]
    if held:
        made = "made anew" if done else "to be made anew"
        lines.append(f"{made}: {_counted(len(held), 'token shard')}, {', '.join(held)}")
    if found.copies and not copies:
        others = _counted(len(found.copies), "other document")
        lines.append(
            f"{others} with the text of a page that leaves: to go, they need --copies; "
            f"{', '.join(row['url'] or '?' for row in found.copies[:5])}"
        )
    if not done:
        return [*lines, "nothing is changed yet; give --yes to do it"]
    lines.append("a model that was trained on them is not changed; nor are the files of the crawl")
    if deleted:
        lines.append(f"{len(deleted)} folders with older outputs were deleted")
    else:
        lines.append("older outputs and the tables of the stages hold the text (--purge)")
    return lines


# ---------------------------------------------------------------- parts


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _current(recipe: CorpusRecipe, step: str) -> Path | None:
    folder = recipe.workdir / step / "current"
    return folder.resolve() if (folder / STEP_RECORD).is_file() else None


def _documents(corpus: Path) -> list[Path]:
    return sorted((corpus / "documents").glob("*.parquet"))


def _holding(recipe: CorpusRecipe, asked: remove.Asked) -> list[Path]:
    """Older corpus folders that hold documents that are asked for."""
    current = _current(recipe, "corpus")
    older = [
        folder
        for folder in sorted((recipe.workdir / "corpus").glob("*"))
        if (folder / STEP_RECORD).is_file() and folder.resolve() != current
    ]
    return [folder for folder in older if remove.matches(_documents(folder), asked)]


def _shards(
    recipe: CorpusRecipe, corpus: Path, found: dict[Path, list[dict[str, Any]]]
) -> dict[str, list[str]]:
    """Token shards that hold the documents: a source's shards follow its documents' order."""
    from skywright.tokens.config import quality_bin_of
    from skywright.tokens.manifest import MANIFEST, read_manifest

    tokens = _current(recipe, "tokens")
    if tokens is None or not isinstance(recipe, Recipe):
        return {}
    manifest = read_manifest(tokens / MANIFEST)
    held: dict[str, list[str]] = {}
    for name, source in manifest.sources.items():
        config = recipe.tokens.sources[name]
        places: list[int] = []
        seen = 0
        for path in _documents(corpus):
            table = pq.read_table(path, columns=["source", "lang", "meta"])
            columns = [table["source"].to_pylist(), table["lang"].to_pylist()]
            columns.append([quality_bin_of(meta) for meta in table["meta"].to_pylist()])
            taken = np.array([config.takes(*row) for row in zip(*columns, strict=True)], dtype=bool)
            before = seen + np.concatenate([[0], np.cumsum(taken)])
            places += [int(before[r["row"]]) for r in found.get(path, []) if taken[r["row"]]]
            seen = int(before[-1])
        ends = np.cumsum([shard.documents for shard in source.shards])
        numbers = sorted(set(np.searchsorted(ends, places, side="right").tolist()))
        if numbers:
            held[name] = [source.shards[number].name for number in numbers]
    return held


def _carry_tokenizer(recipe: CorpusRecipe) -> None:
    """Give the rebuilt corpus the vocabulary that the run has, so that shards stay comparable.

    The copy's record says where it comes from.
    """
    old = _current(recipe, "tokenizer")
    with locked(recipe.workdir):
        for step, folder, record in survey(recipe):
            if step.name != "tokenizer":
                continue
            if record is None and old is not None and folder is not None:
                with atomic_folder(folder) as copy:
                    shutil.copytree(old, copy, dirs_exist_ok=True)
                    told = read_json(old / STEP_RECORD)
                    told |= {"key": folder.name, "carried_from": old.name, "seconds": 0.0}
                    write_json(copy / STEP_RECORD, told)
                point(folder.parent / "current", folder)
            return
