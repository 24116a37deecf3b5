"""`skywright corpus dedup`: a corpus less the copies of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skywright.cli.console import progress_bar, say, show_json
from skywright.cli.shared import Engine, EngineOption, Json, step_folder
from skywright.errors import UserError


def dedup(
    new: Annotated[Path, typer.Argument(help="A recipe, a run, or a folder of Parquet files.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", help="A corpus that stands, read and not changed (repeatable)."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="An index that grows by what stays; made if it is not there."),
    ] = None,
    within: Annotated[bool, typer.Option(help="Remove copies among the new documents too.")] = True,
    jaccard: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The true similarity that a removal needs.")
    ] = 0.8,
    partitions: Annotated[
        int, typer.Option(min=1, max=4096, help="More partitions: less memory, more files.")
    ] = 16,
    engine: EngineOption = Engine.processes,
    as_json: Json = False,
) -> None:
    """Remove near copies, of each other and of what stands in other corpora or in an index."""
    from skywright.corpus.config import DuplicatesConfig
    from skywright.corpus.dedup.against import DROPPED, subtract
    from skywright.corpus.dedup.index import grow

    if index and (against or not within):
        raise UserError("--index: goes with neither --against nor --no-within; leave one out")
    new, against = _documents(new), [_documents(place) for place in against or ()]
    config = DuplicatesConfig(jaccard=jaccard)
    with progress_bar(quiet=as_json) as progress:
        if index:
            counts = grow(index, new, out, config, partitions, engine.value, progress).counts
        else:
            counts = subtract(
                new, against, out, config, within,
                partitions=partitions, executor=engine.value, progress=progress,
            )  # fmt: skip
    if as_json:
        show_json(
            {"documents": counts.documents, "dropped": counts.dropped, "rounds": counts.rounds,
             "settled": counts.settled, "out": str(out)}
        )  # fmt: skip
        return
    say(f"{counts.documents - counts.dropped:,} of {counts.documents:,} documents stay")
    if not counts.settled:
        say(f"copies of copies went on after {counts.rounds} rounds: run it again on {out}")
    print(out / DROPPED)


def _documents(place: Path) -> Path:
    """The folder of documents that `place` means: as it is, or a recipe's or run's corpus."""
    run = place.is_dir() and (place / "corpus" / "current").exists()
    return step_folder(place, "corpus") if run or place.suffix in (".yaml", ".yml") else place
