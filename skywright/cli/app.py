"""The commands, a file a group."""

from __future__ import annotations

import typer

from skywright.cli import (
    corpus,
    dedup,
    estimate,
    evaluate,
    generate,
    leak,
    report,
    run,
    study,
    tokenizer,
    tokens,
    train,
)

app = typer.Typer(
    help="From raw web pages to a measured bilingual base language model, from one recipe file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run", epilog="Example: skywright run recipes/laptop.yaml")(run.run)
corpus.app.command(
    "dedup", epilog="Example: skywright corpus dedup may/ --against april/ --out may-new/"
)(dedup.dedup)
app.add_typer(corpus.app, name="corpus")
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(tokens.app, name="tokens")
app.command("train", epilog="Example: skywright train recipes/laptop.yaml")(train.train)
app.command("estimate", epilog="Example: skywright estimate --model skywork-13b --layout all")(
    estimate.estimate
)
app.command(
    "generate",
    epilog="Example: skywright generate runs/laptop/train/current/hf/step-00000100 'The river'",
)(generate.generate)
app.add_typer(evaluate.app, name="eval")
app.add_typer(leak.app, name="leak")
app.add_typer(study.app, name="study")
app.command("report", epilog="Example: skywright report runs/laptop")(report.report)


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """From raw web pages to a measured bilingual base language model, from one recipe file."""
    if show:
        from skywright import __version__

        print(__version__)
        raise typer.Exit
