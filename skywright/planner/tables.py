"""The planner's answers as rows of tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skywright.planner.calibration import CALIBRATED, RAW, compare, leave_one_model_out, rows
from skywright.planner.conventions import CONVENTIONS
from skywright.planner.hardware import HardwareConfig
from skywright.planner.memory import TERMS as MEMORY_TERMS

Rows = list[dict[str, Any]]
Columns = Mapping[str, Mapping[str, Any] | None]
"""Figures side by side: {"raw": ..., "calibrated": ..., "given": None where there is none}."""
GB = 1e9


def model_rows(facts: Mapping[str, Any]) -> Rows:
    """Parameters by part."""
    return [
        {"parameters": name, "count": count, "billions": f"{count / 1e9:.4g}"}
        for name, count in facts["parameters"].items()
    ]


def utilisation_rows(facts: Mapping[str, Any], peak_flops: float, columns: Columns) -> Rows:
    """Operations a token and MFU, a row a convention."""
    out = []
    for name, (formula, _) in CONVENTIONS.items():
        row = {
            f"convention (peak {peak_flops / 1e12:.4g} TFLOP/s)": name,
            "operations a token": formula,
            "GFLOP a token": facts["flops_per_token"][name] / 1e9,
        }
        for title, figures in _given(columns):
            row[f"{title} MFU %"] = f"{100 * figures['utilisation'][name]:.1f}"
        out.append(row)
    return out


def run_rows(columns: Columns) -> Rows:
    """Rate, time, device hours and cost."""
    given = _given(columns)
    lines = {
        "tokens a second and device": [_figure(f["tokens_per_s"]) for _, f in given],
        "time of the run": [_duration(f["seconds"]) for _, f in given],
        "device hours": [_figure(f["device_hours"]) for _, f in given],
    }
    if any(figures["cost_usd"] is not None for _, figures in given):
        lines["cost, US dollars"] = [_figure(f["cost_usd"]) for _, f in given]
    return [
        {"run": label} | {title: value for (title, _), value in zip(given, values, strict=True)}
        for label, values in lines.items()
    ]


def step_rows(columns: Columns, meaning: Mapping[str, str]) -> Rows:
    """Seconds of a step by term; `meaning` says what each term is."""
    given = [(title, figures["step_terms_s"]) for title, figures in _given(columns)]
    out: Rows = [
        {"step, s": name} | {title: terms[name] for title, terms in given} | {"what": meaning[name]}
        for name in given[0][1]
        if any(terms[name] for _, terms in given)
    ]
    sums: dict[str, Any] = {title: sum(terms.values()) for title, terms in given}
    return [*out, {"step, s": "total"} | sums]


def memory_rows(answer: Mapping[str, Any], memory_bytes: int) -> Rows:
    """Memory of the fullest rank by term, raw and calibrated."""
    columns = [(title, answer[title]) for title in ("raw", "calibrated")]
    out: Rows = [
        {"memory of a rank, GB": name}
        | {title: figures["memory_terms_bytes"][name] / GB for title, figures in columns}
        | {"what": what}
        for name, what in MEMORY_TERMS.items()
        if any(figures["memory_terms_bytes"][name] for _, figures in columns)
    ]
    stage, held = columns[1][1]["memory_stage"] + 1, columns[1][1]["in_flight"]
    what = (
        f"fullest: stage {stage}, {held} micro-batches in flight; the device has "
        f"{memory_bytes / GB:.1f}"
    )
    totals: dict[str, Any] = {title: figures["memory_bytes"] / GB for title, figures in columns}
    return [*out, {"memory of a rank, GB": "total", **totals, "what": what}]


def processor_memory_rows(answer: Mapping[str, Any], memory_bytes: int) -> Rows:
    """Memory of one process: what is held throughout, what each phase adds, the peak."""
    lines = dict(answer["memory_state_bytes"])
    for name, value in answer["memory_phases_bytes"].items():
        lines[f"{name} adds" + (" (the most)" if name == answer["memory_phase"] else "")] = value
    lines["peak of the run"] = answer["memory_bytes"]
    lines["interpreter and libraries, on top"] = answer["libraries_bytes"]
    lines["the machine has"] = memory_bytes
    return [{"memory": name, "GB": value / GB} for name, value in lines.items()]


def layout_rows(answers: Sequence[Mapping[str, Any]]) -> Rows:
    """Layouts side by side, with the report's figures where it has them."""
    out = []
    with_report = any(answer["reported"] for answer in answers)
    for answer in answers:
        raw, calibrated, row = answer["raw"], answer["calibrated"], answer["reported"]
        line = {
            "layout": answer["layout"],
            "tokens/s": round(calibrated["tokens_per_s"]),
            "MFU % (body_and_head)": f"{100 * calibrated['utilisation']['body_and_head']:.1f}",
            "GB": f"{calibrated['memory_bytes'] / GB:.1f}",
            "fits": "yes" if calibrated["fits"] else "no",
            "time": _duration(calibrated["seconds"]),
            "raw tokens/s": round(raw["tokens_per_s"]),
            "raw GB": f"{raw['memory_bytes'] / GB:.1f}",
        }
        if with_report:
            ran = row is not None and row["memory_gb"] is not None
            line["report tokens/s"] = round(row["tokens_per_s"]) if ran else None
            line["report GB"] = row["memory_gb"] if ran else "out of memory" if row else None
        out.append(line)
    return out


def report_rows() -> tuple[Rows, Rows]:
    """The Skywork layouts table beside the planner: tokens a second, then memory.

    raw; fitted on all rows; and with the constants that the other model's rows alone give.
    """
    table = rows()
    held_out = [c for _, compared in leave_one_model_out().values() for c in compared]
    versions = {
        "raw": compare(table, RAW),
        "fitted": compare(table, CALIBRATED),
        "other's": [next(c for c in held_out if c.row is row) for row in table],
    }
    times: Rows = []
    sizes: Rows = []
    for index, row in enumerate(table):
        rate = "" if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}"
        memory = "out of memory" if row.memory_gb is None else f"{row.memory_gb}"
        time: dict[str, Any] = {"model": row.model, "layout": row.layout, "report tokens/s": rate}
        size: dict[str, Any] = {"model": row.model, "layout": row.layout, "report GB": memory}
        for name, compared in versions.items():
            figures = compared[index]
            time[name] = round(figures.tokens_per_s)
            time[f"{name} %"] = _percent(figures.time_error)
            size[name] = f"{figures.memory_gb:.1f}" + " (too much)" * figures.out_of_memory
            size[f"{name} %"] = _percent(figures.memory_error)
        times.append(time)
        sizes.append(size)
    return times, sizes


def remarks(answers: Sequence[Mapping[str, Any]], hardware: HardwareConfig) -> list[str]:
    """What must be said beside the tables of GPU layouts."""
    lines = []
    if len(answers) == 1:
        (answer,) = answers
        figures, row = answer["calibrated"], answer["reported"]
        lines.append(
            f"{answer['layout']} on {answer['devices']} x {hardware.name}: "
            f"{figures['micro_batches']} micro-batches of {answer['micro_batch_tokens']:,} tokens "
            f"a step; pipeline bubble (p-1)/(m+p-1) {100 * figures['bubble']:.1f} %"
        )
        if row and row["memory_gb"] is None:
            lines.append("the Skywork-13B report, table 10: out of memory")
        elif row:
            lines.append(
                f"the Skywork-13B report, table 10: {row['tokens_per_s']:,.0f} tokens/s, "
                f"MFU {row['mfu']} %, {row['memory_gb']} GB"
            )
        if not figures["fits"]:
            lines.append("OUT OF MEMORY: more than the device has")
    if any("zero2" in answer["layout"] or "zero3" in answer["layout"] for answer in answers):
        lines.append(
            "zero2, zero3: all of their traffic that could hide behind compute is taken as "
            "hidden, which no measured row here backs"
        )
    lines.append(
        "raw: kernels and links at their best measured rates. calibrated: three constants fitted "
        "on the 512 A800 of the Skywork-13B report; elsewhere they are a guess (docs/planner.md)"
    )
    return lines


def _given(columns: Columns) -> list[tuple[str, Mapping[str, Any]]]:
    return [(title, figures) for title, figures in columns.items() if figures is not None]


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:+.1f}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
