"""`skywright eval protocols`, `compare` and `stability`: several models side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skywright.cli.comparison_tables import (
    show_comparison,
    show_differences,
    show_early,
    show_stability,
)
from skywright.cli.console import progress_bar, say, show_json
from skywright.cli.eval_options import Device, Doctor, Dtype, named_model, refuse_unused
from skywright.cli.shared import Json, can_be_written, is_finite

app = typer.Typer()

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL MODEL...", help="Two or more folders or GGUF files, or NAME=FOLDER."
    ),
]
FirstReference = Annotated[
    Path | None,
    typer.Option(help="Folder of the reference tokenizer (default: the first model's)."),
]
MaxChars = Annotated[int, typer.Option(min=1, help="Cut of a document.")]
NoiseFloor = Annotated[
    float,
    typer.Option(
        min=0,
        help="Smaller differences are not called: nats per reference token.",
        callback=is_finite,
    ),
]
Sets = Annotated[
    list[Path], typer.Option("--set", "--sets", help="An evaluation set (repeatable).")
]


@app.command(
    epilog="Example: skywright eval protocols model-a model-b --set examples/sets/zh_wiki --out o"
)
def protocols(
    context: typer.Context,
    models: Models,
    sets: Sets,
    out: Annotated[
        Path,
        typer.Option(
            help="Where differences.json and the score store go.", callback=can_be_written
        ),
    ],
    reference: FirstReference = None,
    window_tokens: Annotated[
        int | None, typer.Option(min=6, help="Longest window in every protocol.")
    ] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    doctor: Doctor = True,
    as_json: Json = False,
) -> None:
    """Score models under every protocol; show how the ranking moves."""
    from skywright.engine.files import write_json
    from skywright.evaluate.differences import differences, headlines
    from skywright.evaluate.protocols import PROTOCOLS, named
    from skywright.evaluate.reference import open_reference
    from skywright.evaluate.step import load_domain_sets, sets_by_domain
    from skywright.evaluate.store import Store

    listed = [named_model(text) for text in models]
    refuse_unused(context, [model["path"] for model in listed])
    with progress_bar(quiet=as_json) as progress:
        found = headlines(
            listed,
            sets_by_domain(load_domain_sets(sets)),
            [named(name, window_tokens=window_tokens) for name in PROTOCOLS],
            open_reference(reference or Path(listed[0]["path"])),
            Store(out / "store"),
            progress,
            device=device,
            dtype=dtype,
            examine=doctor,
        )
    rows = differences(found)
    write_json(out / "differences.json", rows)
    if as_json:
        show_json(rows)
    else:
        show_differences(rows)


@app.command(
    epilog="Example: skywright eval compare base=runs/a/hf/step-1000 models/b"
    " --sets examples/sets/zh_wiki --sets examples/sets/en_wiki --out comparison"
)
def compare(
    context: typer.Context,
    models: Models,
    sets: Sets,
    out: Annotated[
        Path,
        typer.Option(
            help="Where compare.json, both pages and the score store go.", callback=can_be_written
        ),
    ],
    reference: FirstReference = None,
    max_chars: MaxChars = 4096,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    noise_floor: NoiseFloor = 0.0,
    stop_when_sure: Annotated[
        bool,
        typer.Option(
            "--stop-when-sure",
            help="Score documents in random order only until every pair is decided; no pages.",
        ),
    ] = False,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="With --stop-when-sure: most documents a model reads."),
    ] = None,
    seed: Annotated[int, typer.Option(help="With --stop-when-sure: of the order.")] = 0,
    doctor: Doctor = True,
    as_json: Json = False,
) -> None:
    """Rank models and compare every pair, with intervals; see where they differ, byte by byte."""
    from skywright.evaluate.compare import compare as compare_models
    from skywright.evaluate.compare import compare_early
    from skywright.evaluate.protocols import Protocol
    from skywright.evaluate.reference import open_reference
    from skywright.evaluate.step import load_domain_sets

    listed = [named_model(text) for text in models]
    refuse_unused(context, [model["path"] for model in listed])
    given = (
        listed,
        load_domain_sets(sets),
        Protocol(max_chars=max_chars),
        open_reference(reference or Path(listed[0]["path"])),
        out,
    )
    opened: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "noise_floor": noise_floor,
        "examine": doctor,
    }
    if stop_when_sure:
        with progress_bar(quiet=as_json) as progress:
            early = compare_early(*given, progress, budget_documents=budget, seed=seed, **opened)
        if as_json:
            show_json(early.as_json())
        else:
            show_early(early)
        return
    if budget is not None:
        raise typer.BadParameter("goes with --stop-when-sure", param_hint="--budget")
    with progress_bar(quiet=as_json) as progress:
        found = compare_models(*given, progress, **opened)
    if as_json:
        show_json(found.as_json())
        return
    show_comparison(found)
    say(f"pages: {out / 'compare.html'}, {out / 'documents.html'}")


@app.command(
    epilog="Example: skywright eval stability models/a models/b --first sets/news-july"
    " --second sets/news-september --out stability"
)
def stability(
    context: typer.Context,
    models: Models,
    first: Annotated[
        list[Path], typer.Option(help="A set of the first period (repeatable: one a domain).")
    ],
    second: Annotated[
        list[Path], typer.Option(help="A set of the second period; the same domains.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="Where stability.json and the score store go.", callback=can_be_written),
    ],
    reference: FirstReference = None,
    max_chars: MaxChars = 4096,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    noise_floor: NoiseFloor = 0.0,
    doctor: Doctor = True,
    as_json: Json = False,
) -> None:
    """Does a ranking hold on newer documents? Both rankings, and which pairs changed."""
    from skywright.evaluate.compare import compare_periods
    from skywright.evaluate.protocols import Protocol
    from skywright.evaluate.reference import open_reference
    from skywright.evaluate.step import load_domain_sets

    listed = [named_model(text) for text in models]
    refuse_unused(context, [model["path"] for model in listed])
    with progress_bar(quiet=as_json) as progress:
        found = compare_periods(
            listed,
            load_domain_sets(first),
            load_domain_sets(second),
            Protocol(max_chars=max_chars),
            open_reference(reference or Path(listed[0]["path"])),
            out,
            progress,
            device=device,
            dtype=dtype,
            noise_floor=noise_floor,
            examine=doctor,
        )
    if as_json:
        show_json(found.as_json())
    else:
        show_stability(found)
