"""`skywright corpus classifier`: train, eval, apply, ngrams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skywright.cli.console import show_json, show_table
from skywright.cli.shared import Json
from skywright.errors import UserError

app = typer.Typer(
    help="Learned scores of pages: linear models over hashed n-grams.", no_args_is_help=True
)

Data = Annotated[
    list[Path],
    typer.Argument(help="JSON lines (.gz, .zst) with text, url or host, and the labels as 0 or 1."),
]
Model = Annotated[str, typer.Argument(help="A model's file, or the name of a shipped one.")]


@app.command(epilog="Example: skywright corpus classifier train pages.jsonl.gz --label good")
def train(
    data: Data,
    labels: Annotated[list[str], typer.Option("--label", help="A label to learn (repeatable).")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path(
        "classifier.safetensors"
    ),
    pages_a_host: Annotated[int, typer.Option(help="At most so many pages of one host.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the order of pages.")] = 1,
    as_json: Json = False,
) -> None:
    """Train a classifier and say how good it is on hosts that it has not seen."""
    from skywright.corpus.classify.examples import read_examples
    from skywright.corpus.classify.report import measure
    from skywright.corpus.classify.train import TrainingConfig
    from skywright.corpus.classify.train import train as make

    config = TrainingConfig(pages_a_host=pages_a_host, seed=seed)
    made = make(read_examples(data, labels), config)
    digest = made.model.save(out)
    rows = measure(made.examples, made.held_out)
    _show(rows, {"file": str(out), "sha256": digest}, as_json)


@app.command("eval", epilog="Example: skywright corpus classifier eval safety pages.jsonl.gz")
def evaluate(model: Model, data: Data, as_json: Json = False) -> None:
    """AUC, precision and recall of a model on labelled pages that it was not trained on."""
    import pyarrow as pa

    from skywright.corpus.classify.examples import read_examples
    from skywright.corpus.classify.model import find, load_model
    from skywright.corpus.classify.report import measure

    loaded = load_model(find(model))
    examples = read_examples(data, loaded.labels)
    rows = measure(examples, loaded.scores(pa.array(examples.texts, pa.string())))
    if not rows:
        raise UserError(f"no page has both kinds of a label of {model}: {', '.join(loaded.labels)}")
    _show(rows, {"file": str(find(model))}, as_json)


@app.command(epilog="Example: skywright corpus classifier apply quality pages.jsonl.gz")
def apply(
    model: Model,
    data: Annotated[Path, typer.Argument(help="JSON lines with text and url or host.")],
) -> None:
    """Print the scores of pages, one JSON object a line."""
    import json

    import pyarrow as pa

    from skywright.corpus.classify.examples import read_examples
    from skywright.corpus.classify.model import find, load_model

    loaded = load_model(find(model))
    examples = read_examples([data], ())
    scores = loaded.scores(pa.array(examples.texts, pa.string()))
    for host, row in zip(examples.hosts, scores.tolist(), strict=True):
        told = {label: round(score, 4) for label, score in zip(loaded.labels, row, strict=True)}
        print(json.dumps({"host": host, **told}, ensure_ascii=False))


@app.command(
    epilog="Example: skywright corpus classifier ngrams wiki.jsonl.gz --out en.safetensors"
)
def ngrams(
    data: Annotated[
        list[Path], typer.Argument(help="JSON lines (.gz, .zst) with text, url or host.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path(
        "ngrams.safetensors"
    ),
    bucket_bits: Annotated[int, typer.Option(help="2^bits counts an order.", min=8, max=28)] = 20,
) -> None:
    """Count the n-grams of good text; the recipe's classify.ngrams then scores pages by them."""
    import pyarrow as pa

    from skywright.corpus.classify.examples import read_examples
    from skywright.corpus.classify.ngrams import NgramModel

    texts = pa.array(read_examples(data, ()).texts, pa.string())
    print(f"{out}  sha256 {NgramModel.train(texts, bucket_bits).save(out)}")


@app.command(
    epilog="Example: skywright corpus classifier tune pages.jsonl.gz --label good --encoder minilm"
)
def tune(
    data: Data,
    label: Annotated[str, typer.Option("--label", help="The label to learn.")],
    encoder: Annotated[Path, typer.Option(help="A pretrained encoder's Hugging Face folder.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")] = Path("encoder"),
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 200,
    max_tokens: Annotated[int, typer.Option(help="Of a page, so many are read.", min=8)] = 512,
    pages_a_host: Annotated[int, typer.Option(help="At most so many pages of one host.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the order of pages.")] = 1,
    as_json: Json = False,
) -> None:
    """Give an encoder a head (for classify.rescore), and measure it on a fifth of the hosts."""
    from skywright.corpus.classify import encoder as encoders
    from skywright.corpus.classify.examples import read_examples
    from skywright.corpus.classify.report import measure

    config = encoders.TuningConfig(
        steps=steps, max_tokens=max_tokens, pages_a_host=pages_a_host, seed=seed
    )
    held, scores = encoders.tune(read_examples(data, [label]), encoder, out, config)
    made = {"file": str(out), "sha256": encoders.fingerprint(str(out))}
    _show(measure(held, scores), made, as_json)


def _show(rows: list[dict[str, object]], made: dict[str, str], as_json: bool) -> None:
    if as_json:
        show_json({**made, "labels": rows})
        return
    print("  ".join(f"{name} {value}" for name, value in made.items()))
    show_table(rows)
