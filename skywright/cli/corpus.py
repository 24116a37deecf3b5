"""`skywright corpus`: build, status, waterfall, why, whatif, samples, export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from skywright.cli.console import say, show_json, show_table
from skywright.cli.shared import (
    Engine,
    EngineOption,
    Json,
    Overrides,
    Place,
    RecipePath,
    Workdir,
    read_summary,
    run_steps,
    step_folder,
)
from skywright.errors import UserError

app = typer.Typer(
    help="Clean documents from raw pages; every drop can say why.", no_args_is_help=True
)


class Form(StrEnum):
    """What an export is written as."""

    jsonl = "jsonl"
    parquet = "parquet"


class By(StrEnum):
    """What a row of the waterfall stands for."""

    rule = "rule"
    step = "step"
    source = "source"


@app.command(epilog="Example: skywright corpus build recipes/laptop.yaml")
def build(
    recipe: RecipePath,
    workdir: Workdir = None,
    overrides: Overrides = None,
    engine: EngineOption = Engine.processes,
    as_json: Json = False,
) -> None:
    """Build the recipe's corpus."""
    run_steps(recipe, overrides, workdir, engine, as_json, only="corpus")


@app.command(epilog="Example: skywright corpus status runs/laptop")
def status(where: Place, as_json: Json = False) -> None:
    """Records in, documents kept, by source and language."""
    found = read_summary(where, "corpus", "waterfall.json")
    if as_json:
        show_json(found)
        return
    say(f"{found['kept']:,} of {found['input_records']:,} records kept")
    show_table([{"source": name, **row} for name, row in found["by_source"].items()])
    _say_alarms(found)


def _say_alarms(found: dict[str, Any]) -> None:
    from skywright.corpus.waterfall import alarm_sentence

    for alarm in found.get("alarms", ()):
        say(f"alarm: {alarm_sentence(alarm)}")


@app.command(epilog="Example: skywright corpus waterfall runs/laptop")
def waterfall(
    where: Place,
    by: Annotated[
        By, typer.Option("--by", help="rule, or step with its seconds, or source and language.")
    ] = By.rule,
    as_json: Json = False,
) -> None:
    """What each step and rule dropped: documents, bytes, tokens, seconds."""
    found = read_summary(where, "corpus", "waterfall.json")
    if as_json:
        show_json(found)
        return
    show_table(found[{"rule": "steps", "step": "flow", "source": "by_step"}[by.value]])
    _say_alarms(found)


@app.command(epilog="Example: skywright corpus samples runs/laptop --rule mapneo_digits")
def samples(
    where: Place,
    rule: Annotated[str, typer.Option("--rule", help="A rule, step/rule, or an edit.")],
    as_json: Json = False,
) -> None:
    """Up to 20 documents that a rule dropped, or 20 cuts of an edit."""
    from skywright.corpus.waterfall import rule_samples

    rows = rule_samples(step_folder(where, "corpus"), rule)
    if as_json:
        show_json(rows)
        return
    for row in rows:
        if "removed" in row:
            print(f"{row['id']}:{row['start']}  {row['removed']!r}")
        else:
            value = "" if row["value"] is None else f"  {row['value']:.4g}"
            print(f"{row['url'] or row['record']}{value}\n    {(row['excerpt'] or '')!r}")


@app.command(epilog="Example: skywright corpus whatif runs/laptop chineseweb_chars_min=100")
def whatif(
    where: Place,
    changes: Annotated[
        list[str], typer.Argument(help="rule=threshold or rule=off.", metavar="RULE=THRESHOLD...")
    ],
    as_json: Json = False,
) -> None:
    """What other thresholds would keep, from the stored signals; nothing is built."""
    from skywright.corpus.rules import whatif as asked

    found = asked.whatif(step_folder(where, "corpus"), asked.parse(changes))
    if as_json:
        show_json(found)
        return
    show_table(found["by"])
    for title in ("newly_kept", "newly_dropped"):
        part = found[title]
        say(f"{title.replace('_', ' ')}: {part['documents']:,} documents")
        for row in part["examples"]:
            value = "" if row["value"] is None else f" ({row['rule']} {row['value']:.4g})"
            print(f"  {row['url'] or row['record']}{value}  {row['excerpt'][:80]!r}")
    for note in found["notes"]:
        say(f"note: {note}")


@app.command(epilog="Example: skywright corpus why runs/laptop https://example.org/page")
def why(
    where: Place,
    query: Annotated[str, typer.Argument(help="A URL, a record or a document id (hex).")],
    as_json: Json = False,
) -> None:
    """Why a page was kept or dropped."""
    from skywright.corpus import ledger

    folder = step_folder(where, "corpus")
    rows = ledger.why(folder, query)
    if as_json:
        show_json(rows)
        return
    if not rows:
        raise UserError(f"{query}: no such URL, record or id in {folder / ledger.LEDGER}; check it")
    if rows[0]["match"] == "near":
        say(f"{query} is not in the ledger; the nearest addresses of its host:")
    for row in rows:
        print(row["sentence"])


@app.command(epilog="Example: skywright corpus export runs/laptop corpus-release")
def export(
    where: Place,
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    form: Annotated[
        Form, typer.Option("--to", help="jsonl (zstd, field `text`) or parquet.")
    ] = Form.jsonl,
) -> None:
    """Write the kept documents as JSONL.zst or Parquet."""
    from skywright.corpus.export import export as write

    for path in write(step_folder(where, "corpus"), out, form.value):
        print(path)
