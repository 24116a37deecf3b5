"""`skywright eval`: score models by domain loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywright.cli import comparison
from skywright.cli.console import progress_bar, say, show_json, show_table
from skywright.cli.eval_options import Device, Doctor, Dtype, own_name, refuse_unused
from skywright.cli.shared import Json, Place, can_be_written, read_summary

if TYPE_CHECKING:
    from skywright.evaluate.backends.options import BackendOptions

app = typer.Typer(help="Score models on held-out documents.", no_args_is_help=True)
set_app = typer.Typer(help="Evaluation sets.", no_args_is_help=True)
app.add_typer(comparison.app)
app.add_typer(set_app, name="set")


Model = Annotated[
    str,
    typer.Argument(
        help="A Hugging Face folder, a training checkpoint, a GGUF file (llama-cpp+FILE: by"
        " llama.cpp itself), or a server: vllm+http://HOST:PORT#NAME (sglang+, openai+)."
    ),
]
TokenizerFolder = Annotated[
    Path | None,
    typer.Option("--tokenizer", help="Folder of the model's tokenizer; a server needs it."),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python files of the model's folder.")
]
ContextTokens = Annotated[
    int | None, typer.Option(min=2, help="Longest window, if shorter than the model's.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests to a server at once.")]
_SERVER_BATCH_TOKENS = 65_536  # enough for every place of --concurrency to be taken


@app.command(
    epilog="Example: skywright eval score path/to/model examples/sets/zh_wiki --out scores"
)
def score(
    context: typer.Context,
    model: Model,
    sets: Annotated[list[Path], typer.Argument(help="Evaluation sets' folders.")],
    out: Annotated[
        Path,
        typer.Option(help="Where summary.json and the score store go.", callback=can_be_written),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(help="Folder of the reference tokenizer (default: the model's own)."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="skywright, skywork2023, lm-eval, uncheatable or llm-compression.")
    ] = "skywright",
    max_chars: Annotated[
        int | None,
        typer.Option(
            min=1, help="Cut of a document, in our own protocol alone.", show_default="4096"
        ),
    ] = None,
    window_tokens: Annotated[
        int | None, typer.Option(min=6, help="Longest window, instead of the protocol's own.")
    ] = None,
    tokens: Annotated[bool, typer.Option(help="Keep the loss of every token.")] = False,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Padded tokens in a batch: more for a GPU.")
    ] = None,
    tokenizer: TokenizerFolder = None,
    trust_remote_code: TrustRemoteCode = False,
    context_tokens: ContextTokens = None,
    concurrency: Concurrency = 16,
    doctor: Doctor = True,
    as_json: Json = False,
) -> None:
    """Score a model on evaluation sets; what was scored before is not scored again."""
    from skywright.evaluate import EvaluateConfig, run
    from skywright.evaluate.config import BATCH_TOKENS, MAX_CHARS
    from skywright.evaluate.reference import open_reference
    from skywright.evaluate.step import load_domain_sets

    if max_chars is not None and protocol != "skywright":
        raise typer.BadParameter(
            f"goes with --protocol skywright; {protocol} cuts documents in its own way",
            param_hint="--max-chars",
        )
    refuse_unused(context, [model])
    options = _options(tokenizer, trust_remote_code, context_tokens, concurrency)
    served = "://" in model
    name = model.rpartition("#")[2] if served else own_name(model)
    config = EvaluateConfig(
        protocol=protocol,
        max_chars=max_chars or MAX_CHARS,
        window_tokens=window_tokens,
        tokens=tokens,
        device=device,
        dtype=dtype,
        batch_tokens=batch_tokens or (_SERVER_BATCH_TOKENS if served else BATCH_TOKENS),
    )
    with progress_bar(quiet=as_json) as progress:
        summary = run(
            config,
            [{"name": name, "path": model, "tokens": 0, "segment": ""}],
            load_domain_sets(sets),
            open_reference(
                reference or tokenizer or Path(model), trust_remote_code and reference is None
            ),
            out,
            progress,
            options=options,
            examine=doctor,
        )
    _show(summary, as_json)


@app.command("doctor", epilog="Example: skywright eval doctor path/to/model examples/sets/zh_wiki")
def doctor_command(
    context: typer.Context,
    model: Model,
    sets: Annotated[
        list[Path] | None, typer.Argument(help="Sets to take the texts from (default: our own).")
    ] = None,
    documents: Annotated[int, typer.Option(min=2, help="Texts to take from the sets.")] = 50,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    tokenizer: TokenizerFolder = None,
    trust_remote_code: TrustRemoteCode = False,
    context_tokens: ContextTokens = None,
    concurrency: Concurrency = 16,
    as_json: Json = False,
) -> None:
    """Check whether a model can be scored, and how far its numbers reach; exit 1 if it cannot."""
    from skywright.evaluate.backends import open_backend
    from skywright.evaluate.doctor import examine, texts_of, tokens_of
    from skywright.sets import load

    refuse_unused(context, [model])
    options = _options(tokenizer, trust_remote_code, context_tokens, concurrency)
    backend = open_backend(model, device, dtype, options)
    loaded = [load(path) for path in sets or []]
    has_dtypes = backend.name in ("transformers", "gguf")
    other = "bfloat16" if dtype == "float32" else "float32"
    with progress_bar(quiet=as_json) as progress:
        report = examine(
            backend,
            model,
            texts_of(loaded, documents) if loaded else None,
            (lambda: open_backend(model, device, other, options)) if has_dtypes else None,
            tokens_of(backend, loaded),
            progress,
        )
    if as_json:
        show_json(report.as_json())
    else:
        show_table([{"check": c.name, "": c.verdict, "found": c.finding, "do": c.advice}
                    for c in report.checks])  # fmt: skip
        floor = report.noise_floor
        if floor is not None:
            print(
                f"noise floor: {floor.maximum:.2g} nats per token (95 % of texts: {floor.p95:.2g});"
                " no smaller difference between two documents' losses is one"
            )
    if report.refusals:
        raise typer.Exit(1)


def _options(
    tokenizer: Path | None, trust_remote_code: bool, context_tokens: int | None, concurrency: int
) -> BackendOptions:
    from skywright.evaluate.backends.options import BackendOptions

    return BackendOptions(
        tokenizer=tokenizer,
        trust_remote_code=trust_remote_code,
        context_tokens=context_tokens,
        concurrency=concurrency,
    )


@app.command(epilog="Example: skywright eval report runs/laptop")
def report(where: Place, as_json: Json = False) -> None:
    """Perplexity of every checkpoint and domain, with intervals."""
    _show(read_summary(where, "evaluate"), as_json)


def _show(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(summary)
        return
    from skywright.evaluate.compare.numbers import interval, value

    unit = summary.get("headline_unit", "bits per byte")

    def emulated(row: dict[str, Any]) -> dict[str, Any]:
        if unit == "bits per byte":
            return {}
        found = row.get("headline")
        return {unit: found and value(found), f"{unit}, 95 %": found and interval(found)}

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
                **emulated(row),
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
