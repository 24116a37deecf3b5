"""`skywright eval`: score models by domain loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywright.cli.comparison import (
    named_model,
    own_name,
    show_comparison,
    show_early,
    show_stability,
)
from skywright.cli.console import progress_bar, say, show_json, show_table
from skywright.cli.shared import Json, Place, can_be_written, is_finite, read_summary

if TYPE_CHECKING:
    from skywright.evaluate.backends.options import BackendOptions

app = typer.Typer(help="Score models on held-out documents.", no_args_is_help=True)
set_app = typer.Typer(help="Evaluation sets.", no_args_is_help=True)
app.add_typer(set_app, name="set")


Model = Annotated[
    str,
    typer.Argument(
        help="A Hugging Face folder, a training checkpoint, a GGUF file (llama-cpp+FILE: by"
        " llama.cpp itself), or a server: vllm+http://HOST:PORT#NAME (sglang+, openai+)."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1; auto spreads over all there are.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
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
Doctor = Annotated[bool, typer.Option(help="Check each model before its first score.")]
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
    _refuse_unused(context, [model])
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


@app.command(
    epilog="Example: skywright eval protocols model-a model-b --set examples/sets/zh_wiki --out o"
)
def protocols(
    context: typer.Context,
    models: Models,
    sets: Annotated[
        list[Path], typer.Option("--set", "--sets", help="An evaluation set (repeatable).")
    ],
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
    from skywright.evaluate.compare.numbers import interval, value
    from skywright.evaluate.differences import differences, headlines
    from skywright.evaluate.models import refuse_early
    from skywright.evaluate.protocols import PROTOCOLS, named
    from skywright.evaluate.reference import open_reference
    from skywright.evaluate.step import load_domain_sets, sets_by_domain
    from skywright.evaluate.store import Store

    listed = [named_model(text) for text in models]
    _refuse_unused(context, [model["path"] for model in listed])
    with progress_bar(quiet=as_json) as progress:
        given = (
            listed,
            sets_by_domain(load_domain_sets(sets)),
            [named(name, window_tokens=window_tokens) for name in PROTOCOLS],
            open_reference(reference or Path(listed[0]["path"])),
            Store(out / "store"),
            progress,
        )
        refuse_early(*given, device=device, dtype=dtype, examine=doctor)
        found = headlines(*given, device=device, dtype=dtype)
    rows = differences(found)
    write_json(out / "differences.json", rows)
    if as_json:
        show_json(rows)
        return
    show_table(
        [
            {
                "protocol": row["protocol"],
                **{
                    model: f"{value(found)} ({interval(found)}), rank {row['ranks'][model]}"
                    for model, found in row["values"].items()
                },
                "ranks moved": row["moved"],
                "Kendall tau": row["kendall_tau"],
                "last / first - 1": row["spread"],
            }
            for row in rows
        ]
    )


@app.command(
    epilog="Example: skywright eval compare base=runs/a/hf/step-1000 models/b"
    " --sets examples/sets/zh_wiki --sets examples/sets/en_wiki --out comparison"
)
def compare(
    context: typer.Context,
    models: Models,
    sets: Annotated[
        list[Path], typer.Option("--sets", "--set", help="An evaluation set (repeatable).")
    ],
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
    _refuse_unused(context, [model["path"] for model in listed])
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
    _refuse_unused(context, [model["path"] for model in listed])
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

    _refuse_unused(context, [model])
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


def _refuse_unused(context: typer.Context, models: Sequence[str]) -> None:
    """Wrong usage if an option was given that a model's back-end has no use for."""
    from skywright.evaluate.backends.llama import PREFIX
    from skywright.evaluate.backends.server import is_address

    names: tuple[str, ...]
    for model in models:
        if is_address(model):
            names, reason = ("device", "dtype"), "a server computes where and in what it chooses"
        elif model.startswith(PREFIX):
            names = ("device", "dtype", "concurrency")
            reason = "llama.cpp computes on cpu, in the dtype of the file, a window at a time"
        else:
            names, reason = ("concurrency",), "it goes with servers, and this model runs here"
        for name in names:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(
                    f"not with {model}: {reason}; leave it out", param_hint=f"--{name}"
                )


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
