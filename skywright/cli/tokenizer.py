"""`skywright tokenizer`: train, extend and report."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from skywright.cli.console import progress_bar, say, show_json, show_table
from skywright.cli.shared import (
    Engine,
    Json,
    Overrides,
    RecipePath,
    Workdir,
    read_summary,
    run_steps,
    step_folder,
)
from skywright.errors import UserError

COLUMNS = ("lang", "documents", "chars_per_token", "bytes_per_token", "byte_fallback_share")
EXAMPLE_SETS = Path(__file__).parents[2] / "examples" / "sets"

app = typer.Typer(help="Make a tokenizer and see how it cuts.", no_args_is_help=True)


class Unreachable(StrEnum):
    """What happens to a word that the merges cannot reach."""

    bridge = "bridge"
    drop = "drop"


@app.command(epilog="Example: skywright tokenizer train recipes/laptop.yaml")
def train(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Make the recipe's tokenizer on its corpus."""
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="tokenizer")


@app.command(
    epilog="Example: skywright tokenizer extend skywork-65k --model llama2_tokenizer.model"
    " --characters bert_base_chinese_vocab.txt --words words.tsv.gz --size 65536 --reserved 17"
)
def extend(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    model: Annotated[Path, typer.Option(help="A SentencePiece BPE model, such as LLaMA's.")],
    size: Annotated[int, typer.Option(min=300, help="Ids in all.")],
    characters: Annotated[
        Path | None, typer.Option(help="A list; its lines of one character are added.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="Words, each with its frequency, or most frequent first.")
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="Count words here instead: a recipe, a run, or a folder of Parquet documents."
        ),
    ] = None,
    reserved: Annotated[int, typer.Option(min=0, help="Symbols that no text makes.")] = 0,
    unreachable: Annotated[
        Unreachable, typer.Option(help="Add the pieces on the way to a word, or leave it out.")
    ] = Unreachable.bridge,
    sample: Annotated[str, typer.Option(help="Size of the sample of the corpus.")] = "32 MB",
    as_json: Json = False,
) -> None:
    """Grow a SentencePiece vocabulary by characters, words and reserved symbols."""
    from pydantic import ValidationError

    from skywright.tokenizer import ExtendConfig, TokenizerConfig
    from skywright.tokenizer import extend as grow

    try:
        config = TokenizerConfig(
            vocab_size=size,
            sample_bytes=sample,  # type: ignore[arg-type]  # a quantity with its unit
            reserved=reserved,
            extend=ExtendConfig(
                model=model,
                characters=characters,
                words=words,
                unreachable=unreachable.value,
            ),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"{problem['loc'][0]}: {problem['msg']}") from None
    documents = _documents(corpus) if corpus else []
    with progress_bar(quiet=as_json) as progress:
        summary = grow(config, documents, out, progress)
    if as_json:
        show_json(summary)
        return
    for line in _counts(summary):
        say(line)
    if summary["rows"]:
        show_table(summary["rows"], COLUMNS)
    print(out)


def _counts(summary: dict[str, Any]) -> list[str]:
    model, characters, words = summary["model"], summary["characters"], summary["words"]
    bridges = f" and {words['bridges']:,} pieces on the way to them" if words["bridges"] else ""
    return [
        f"{summary['vocab_size']:,} ids: {model['ids']:,} of the model, {characters['added']:,}"
        f" characters, {words['added']:,} words{bridges}, {len(summary['reserved_ids'])} reserved",
        f"characters: {characters['listed']:,} listed, {characters['in_the_model']:,} were in the"
        f" model; {characters['added_not_han']:,} of those added are not Han",
        f"words: of the first {words['free_ids']:,}, {words['without_split_among_first']:,} are no"
        f" two pieces; {words['if_dropped']['dropped']:,} left out, or"
        f" {words['if_bridged']['bridges']:,} pieces more, make every word reachable",
    ]


def _documents(place: Path) -> list[Path]:
    """The Parquet documents of a recipe, a run, a corpus, or a folder; or one such file."""
    if place.suffix == ".parquet":
        return [place]
    if place.is_file() or (place / "corpus").is_dir():
        place = step_folder(place, "corpus")
    folder = place / "documents" if (place / "documents").is_dir() else place
    found = sorted(folder.glob("*.parquet"))
    if not found:
        raise UserError(f"{place}: has no Parquet documents; name a recipe, a run or their folder")
    return found


@app.command(
    epilog="Examples: skywright tokenizer report runs/laptop;"
    " skywright tokenizer report runs/laptop llama2_tokenizer.model --sets examples/sets"
)
def report(
    where: Annotated[
        list[Path],
        typer.Argument(
            help="Recipes, runs, folders with a tokenizer.json, such files, or .model files."
        ),
    ],
    sets: Annotated[
        list[Path] | None,
        typer.Option("--sets", help="An evaluation set, or a folder of them (repeatable)."),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(help="Measure on a corpus instead: a recipe, a run, or Parquet documents."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Characters and bytes per token by language and domain, byte fallback, and dead ids.

    One finished run alone shows what its own step measured. Several, or one with a text named,
    are measured now, side by side; without a text, on the recipe's sets or the example sets.
    """
    if len(where) == 1 and sets is None and documents is None and not _is_bare(where[0]):
        summary = read_summary(where[0], "tokenizer")
        if as_json:
            show_json(summary)
        else:
            show_table(summary["rows"], COLUMNS)
        return
    from skywright.tokenizer import report as compare
    from skywright.tokenizer.readers import open_reader

    names = _names(where)
    readers = [open_reader(_tokenizer(place), names[place]) for place in where]
    if documents is not None:
        texts = compare.texts_of_corpus(_documents(documents))
    else:
        from skywright.sets import load

        texts = compare.texts_of_sets(load(path) for path in _set_folders(where, sets))
    with progress_bar(quiet=as_json) as progress:
        found = compare.report(readers, texts, progress)
    if as_json:
        show_json(found)
    else:
        _show(found, list(names.values()))


def _is_bare(place: Path) -> bool:
    """Whether a place is a tokenizer itself, not a recipe or a finished step."""
    if place.is_dir():
        return (place / "tokenizer.json").is_file() and not (place / "step.json").is_file()
    return place.suffix in (".json", ".model")


def _tokenizer(place: Path) -> Path:
    return place if _is_bare(place) else step_folder(place, "tokenizer")


def _names(where: Sequence[Path]) -> dict[Path, str]:
    """A short name for each place: its last part, or all of it where two would be the same."""
    last = [place.name for place in where]
    return {place: place.name if last.count(place.name) == 1 else str(place) for place in where}


def _set_folders(where: Sequence[Path], sets: Sequence[Path] | None) -> list[Path]:
    recipe = next((place for place in where if place.suffix in (".yaml", ".yml")), None)
    if sets is None and recipe is not None:
        from skywright.run import load_recipe

        return load_recipe(recipe).sets
    if sets is None and not EXAMPLE_SETS.is_dir():
        raise UserError("tokenizer report: name a text with --sets or --documents")
    found = []
    for path in sets or [EXAMPLE_SETS]:
        inner = sorted(manifest.parent for manifest in path.glob("*/MANIFEST.json"))
        found += inner or [path]
    return found


def _show(found: dict[str, Any], names: Sequence[str]) -> None:
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in found["rows"]:
        rows.setdefault((row["lang"], row["domain"]), {})[row["tokenizer"]] = row
    for key, title, scale in (
        ("chars_per_token", "characters a token, with 95 % interval", 1.0),
        ("bytes_per_token", "bytes a token", 1.0),
        ("tokens_against_first", f"tokens as a multiple of {names[0]}'s", 1.0),
        ("byte_fallback_share", "tokens that are byte pieces, %", 100.0),
    ):
        if key == "tokens_against_first" and len(names) == 1:
            continue
        print(title)
        show_table(
            [
                {"lang": lang, "domain": domain, "documents": cells[names[0]]["documents"]}
                | {name: _interval(cells[name][key], scale) for name in names}
                for (lang, domain), cells in rows.items()
            ]
        )
    print("ids, and documents that decoding does not give back")
    show_table(
        found["vocabularies"],
        ("tokenizer", "vocab_size", "special", "unreachable", "unused_on_these_texts",
         "documents_altered"),
    )  # fmt: skip


def _interval(estimate: dict[str, Any], scale: float) -> str:
    value = f"{estimate['value'] * scale:.3f}"
    if estimate["high"] is None:
        return value
    return f"{value} ±{(estimate['high'] - estimate['value']) * scale:.3f}"
