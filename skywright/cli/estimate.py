"""`skywright estimate`: what a training run will need, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywright.cli.console import say, show_json, show_table
from skywright.cli.shared import Json, Overrides
from skywright.errors import UserError

if TYPE_CHECKING:
    from skywright.planner import HardwareConfig, ParallelConfig, PlannedRun

SHOWN_LAYOUTS = 12  # lines of a comparison; --json has all


def estimate(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe file (YAML).", metavar="[RECIPE]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A model by name: skywork-13b, gpt-7b, ladder-10m ..."),
    ] = None,
    overrides: Overrides = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="Number of devices.")] = None,
    layouts: Annotated[
        list[str] | None,
        typer.Option("--layout", help="dp256+pp2, tp2, fsdp64+ckpt ... (repeatable), or all."),
    ] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", help="a800, a100, h100, h200, this, or a file.")
    ] = None,
    software: Annotated[
        str | None, typer.Option("--software", help="Whose habits: skywright or megatron.")
    ] = None,
    micro_batch: Annotated[
        int | None, typer.Option("--micro-batch", min=1, help="Sequences of a forward pass.")
    ] = None,
    global_batch: Annotated[
        int | None, typer.Option("--global-batch", min=1, help="Sequences of a step.")
    ] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", help="Of the run: 3.2T.")] = None,
    tokens_per_s: Annotated[
        float | None,
        typer.Option("--tokens-per-s", min=1e-9, help="A measured rate of one device to use too."),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="US dollars a device and hour.")
    ] = None,
    flash: Annotated[
        bool, typer.Option("--flash/--no-flash", help="Attention keeps no probabilities (GPUs).")
    ] = True,
    against_report: Annotated[
        bool, typer.Option("--against-report", help="The planner against the Skywork layouts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Parameters, operations, memory, time and cost of a training run; nothing is run."""
    if against_report:
        _against_report(as_json)
        return
    from skywright.planner import load_hardware
    from skywright.planner.estimate import changed, model_facts

    run = _planned_run(recipe, model, overrides)
    sequence = run.workload.sequence_tokens
    workload = changed(
        run.workload,
        micro_batch_tokens=micro_batch and micro_batch * sequence,
        global_batch_tokens=global_batch and global_batch * sequence,
        tokens=tokens,
    )
    machine = load_hardware(hardware or run.hardware)
    run = run.model_copy(update={"workload": workload, "software": software or run.software})
    facts = {
        "name": run.name,
        **model_facts(run.model, workload),
        "workload": workload.model_dump(),
        "hardware": machine.model_dump(),
    }
    given = {"tokens_per_s": tokens_per_s, "price": price}
    if machine.kind == "gpu":
        chosen = _layouts(run, machine, gpus, layouts)
        _on_gpus(run, machine, chosen, facts, as_json, {**given, "flash": flash})
    elif layouts or (gpus or 1) > 1:
        raise UserError(
            f"{machine.name}: an estimate for a processor is for one process; leave out --gpus "
            "and --layout, or name a GPU with --hardware"
        )
    else:
        _on_processor(run, machine, facts, as_json, given)


def _planned_run(recipe: Path | None, model: str | None, overrides: list[str] | None) -> PlannedRun:
    from skywright.planner.presets import load_preset, of_recipe

    if recipe is None and model is not None:
        return load_preset(model, overrides or ())
    if recipe is None or model is not None:
        raise UserError("name either a recipe or a --model; `skywright estimate --help` has more")
    from skywright.run import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    return of_recipe(loaded.name, loaded.model, loaded.train, loaded.parallel)


def _layouts(
    run: PlannedRun, machine: HardwareConfig, gpus: int | None, texts: list[str] | None
) -> list[ParallelConfig]:
    from skywright.planner import ParallelConfig, parse_layout
    from skywright.planner.estimate import every_layout

    if texts == ["all"]:
        devices = gpus or run.layout.processes
        found = every_layout(run.model, run.workload, devices, machine)
        if not found:
            raise UserError(
                f"no layout of {devices} devices divides the model and a batch of "
                f"{run.workload.global_batch_tokens:,} tokens; change --gpus or --global-batch"
            )
        return found
    if texts:
        return [parse_layout(text, gpus) for text in texts]
    return [run.layout if gpus in (None, run.layout.processes) else ParallelConfig(data=gpus)]


def _on_gpus(
    run: PlannedRun,
    machine: HardwareConfig,
    layouts: list[ParallelConfig],
    facts: dict[str, Any],
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from skywright.planner import tables, throughput
    from skywright.planner.estimate import best_first, on_gpus
    from skywright.planner.software import software_named

    habits = software_named(run.software)
    answers = [
        on_gpus(run.model, run.workload, layout, machine, habits, **options) for layout in layouts
    ]
    answers = best_first(answers) if len(answers) > 1 else answers
    if as_json:
        show_json(facts | {"software": habits.model_dump(), "layouts": answers})
        return
    show_table(tables.model_rows(facts))
    if len(answers) > 1:
        show_table(tables.layout_rows(answers[:SHOWN_LAYOUTS]))
        if len(answers) > SHOWN_LAYOUTS:
            say(f"the first {SHOWN_LAYOUTS} of {len(answers)} layouts; --json has all")
    else:
        (answer,) = answers
        columns = {
            "raw": answer["raw"],
            "calibrated": answer["calibrated"],
            "given": answer["measured"],
        }
        show_table(tables.utilisation_rows(facts, machine.bf16_flops, columns))
        show_table(tables.run_rows(columns))
        both = {name: answer[name] for name in ("raw", "calibrated")}
        show_table(tables.step_rows(both, throughput.TERMS))
        show_table(tables.memory_rows(answer, machine.memory_bytes))
    for line in tables.remarks(answers, machine):
        say(line)


def _on_processor(
    run: PlannedRun,
    machine: HardwareConfig,
    facts: dict[str, Any],
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from skywright.planner import tables
    from skywright.planner.cpu import TIME_TERMS, precision_on
    from skywright.planner.estimate import on_this_processor

    precision = precision_on(machine, run.precision)
    answer = on_this_processor(run.model, run.workload, machine, precision, run.exports, **options)
    if as_json:
        show_json(facts | {"processor": answer})
        return
    columns = {"predicted": answer, "given": answer["measured"]}
    show_table(tables.model_rows(facts))
    show_table(tables.utilisation_rows(facts, answer["peak_flops"], columns))
    show_table(tables.run_rows(columns))
    show_table(tables.step_rows({"seconds": answer}, TIME_TERMS))
    show_table(tables.processor_memory_rows(answer, machine.memory_bytes))
    say(
        f"{precision}, {machine.threads} threads; optimizer steps only: validation, checkpoints "
        "and exports take their time on top"
    )
    if not answer["fits"]:
        say("OUT OF MEMORY: more than the machine has")


def _against_report(as_json: bool) -> None:
    from skywright.planner import tables
    from skywright.planner.calibration import CALIBRATED, leave_one_model_out, rows

    times, sizes = tables.report_rows()
    if as_json:
        constants = {"all rows": CALIBRATED.model_dump()}
        for tested, (calibration, _) in leave_one_model_out().items():
            constants[f"tested on {tested}"] = calibration.model_dump()
        show_json({"tokens_per_s": times, "memory": sizes, "constants": constants})
        return
    show_table(times)
    show_table(sizes)
    say("%: error of the figure before it. other's: constants of the other model's rows alone")
    for row in rows():
        if row.inconsistent:
            say(f"{row.model} {row.layout} is not used for time: {row.inconsistent}")
