"""`skywright eval`: score models by domain loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skywright.cli.console import progress_bar, say, show_json, show_table
from skywright.cli.shared import Json, Place, read_summary

app = typer.Typer(help="Score models on held-out documents.", no_args_is_help=True)
set_app = typer.Typer(help="Evaluation sets.", no_args_is_help=True)
app.add_typer(set_app, name="set")


@app.command(
    epilog="Example: skywright eval score path/to/model examples/sets/zh_wiki --out scores"
)
def score(
    model: Annotated[Path, typer.Argument(help="A Hugging Face folder or a training checkpoint.")],
    sets: Annotated[list[Path], typer.Argument(help="Evaluation sets' folders.")],
    out: Annotated[Path, typer.Option(help="Where summary.json and the score store go.")],
    reference: Annotated[
        Path | None,
        typer.Option(help="Folder of the reference tokenizer (default: the model's own)."),
    ] = None,
    max_chars: Annotated[int, typer.Option(min=1, help="Cut of a document.")] = 4096,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    as_json: Json = False,
) -> None:
    """Score a model on evaluation sets; what was scored before is not scored again."""
    from skywright.evaluate import EvaluateConfig, run
    from skywright.sets import load
    from skywright.tokenizer import Tokenizer

    with progress_bar(quiet=as_json) as progress:
        summary = run(
            EvaluateConfig(max_chars=max_chars, dtype=dtype),
            [{"name": model.name, "path": str(model), "tokens": 0, "segment": ""}],
            [load(path) for path in sets],
            Tokenizer.load(reference or model),
            out,
            progress,
        )
    _show(summary, as_json)


@app.command(epilog="Example: skywright eval report runs/laptop")
def report(where: Place, as_json: Json = False) -> None:
    """Perplexity of every checkpoint and domain, with intervals."""
    _show(read_summary(where, "evaluate"), as_json)


def _show(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(summary)
        return
    show_table(
        [
            {
                "model": row["model"],
                "domain": row["domain"],
                "documents": row["documents"],
                "perplexity": row["perplexity"]["value"],
                "low": row["perplexity"]["low"],
                "high": row["perplexity"]["high"],
                "bits/byte": row["bpb"]["value"],
            }
            for row in summary["rows"]
        ]
    )


@set_app.command(epilog="Example: skywright eval set check examples/sets/zh_wiki")
def check(folder: Annotated[Path, typer.Argument(help="An evaluation set's folder.")]) -> None:
    """Compare a set's documents with its manifest."""
    from skywright.sets import load

    found = load(folder)
    say(f"{found.name}: {len(found.documents)} documents, content hash {found.content_hash}")
