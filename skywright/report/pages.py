"""The report: one HTML file that needs nothing but a browser.

plotly.js stands in it once; a content security policy with the hashes of our own scripts allows
no other script and no request, so that text from the web can neither run nor call home.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from skywright.engine.files import atomic_open
from skywright.report import figures, text
from skywright.report.read import read_run
from skywright.report.records import MACRO, Plan, Reject, Run, Score, Waterfall
from skywright.report.theme import Figure

TEMPLATES = Path(__file__).parent / "templates"
FILTERS = (
    "count", "decimal", "quantity", "size", "share", "duration", "estimate", "inline", "describe",
    "language", "perplexity", "breakable",
)  # fmt: skip


class Rejects(NamedTuple):
    """The samples of one rule."""

    rule: str
    dropped: int | None
    samples: tuple[Reject, ...]


class Column(NamedTuple):
    """One domain of the perplexity table."""

    domain: str
    group: str


class ScoreTable(NamedTuple):
    """Scores as a table: `cells[row][column]`; `best` names the cells that stand clear."""

    columns: tuple[Column, ...]
    models: tuple[Score, ...]
    cells: tuple[tuple[Score | None, ...], ...]
    best: frozenset[tuple[int, int]]


def safe_json(value: Any) -> Markup:
    """JSON that cannot close or open a tag: `<`, `>` and `&` are written as \\u escapes."""
    dumped = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        dumped = dumped.replace(character, f"\\u{ord(character):04x}")
    return Markup(dumped)


def figure_json(figure: Figure) -> Markup:
    """What the page's script needs to draw `figure`."""
    drawing = json.loads(figure.drawing.to_json())
    drawing["views"] = [{"visible": v.visible, "layout": v.layout} for v in figure.views]
    return safe_json(drawing)


def _rejects(waterfall: Waterfall) -> list[Rejects]:
    dropped = {f"{drop.step}/{drop.rule}": drop.dropped for drop in waterfall.steps}
    rules = [*dropped, *(rule for rule in waterfall.samples if rule not in dropped)]
    return [
        Rejects(rule, dropped.get(rule), waterfall.samples[rule])
        for rule in rules
        if waterfall.samples.get(rule)
    ]


def score_table(rows: tuple[Score, ...]) -> ScoreTable:
    """Rows by checkpoint (in order of tokens), columns by domain, macro first.

    A cell is `best` if its interval ends below the start of every other interval in its column.
    """
    languages = {row.domain: text.language_group(row.lang) for row in rows}
    domains = sorted(
        languages,
        key=lambda domain: (
            domain != MACRO,
            {"en": 0, "zh": 1}.get(languages[domain], 2),
            languages[domain],
        ),
    )
    models = list({row.model: row for row in sorted(rows, key=lambda row: row.tokens)}.values())
    found = {(row.model, row.domain): row for row in rows}
    cells = tuple(tuple(found.get((m.model, domain)) for domain in domains) for m in models)
    best = set()
    for column in range(len(domains)):
        bounds = [
            (row, score.perplexity.low, score.perplexity.high)
            for row, score in enumerate(line[column] for line in cells)
            if score is not None
        ]
        for row, _, high in bounds:
            others = [low for other, low, _ in bounds if other != row]
            if (
                others
                and high is not None
                and all(low is not None and high < low for low in others)
            ):
                best.add((row, column))
    columns = tuple(
        Column(d, "" if d == MACRO else text.language(languages[d] or None)) for d in domains
    )
    return ScoreTable(columns, tuple(models), cells, frozenset(best))


def _final(run: Run) -> Score | None:
    """The macro row of the last checkpoint of the training run."""
    if run.evaluation is None:
        return None
    macro = {row.model: row for row in run.evaluation.rows if row.domain == MACRO}
    trained = [c.name for c in run.train.checkpoints if c.name in macro] if run.train else []
    if trained:
        return macro[trained[-1]]
    return max(macro.values(), key=lambda row: row.tokens, default=None)


def _groups(columns: tuple[Column, ...]) -> list[tuple[str, int]]:
    groups: list[tuple[str, int]] = []
    for column in columns:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups


def _plan_figures(run: Run) -> dict[str, Any]:
    if not run.plan or not run.plan.segments:
        return {"sources": [], "pie": None, "area": None}
    return {
        "sources": figures.sources_by_tokens(run.plan),
        "pie": figures.mixture_pie(run.plan),
        "area": figures.mixture_area(run.plan),
    }


def _context(run: Run) -> dict[str, Any]:
    """Everything the templates show, by name."""
    context: dict[str, Any] = {
        "run": run,
        "final": _final(run),
        "rejects": _rejects(run.waterfall) if run.waterfall else [],
        "funnel": None,
        **_plan_figures(run),
        "training": figures.training(run.metrics) if run.metrics else None,
        "validation": figures.validation(run) if run.validation else [],
        "table": None,
        "column_groups": [],
        "final_figure": None,
        "deltas": None,
        "branch": figures.branch(run.study) if run.study else [],
    }
    if run.waterfall and run.waterfall.flow:
        context["funnel"] = figures.corpus_funnel(run.waterfall)
    if run.evaluation and run.evaluation.rows:
        table = score_table(run.evaluation.rows)
        context["table"] = table
        context["column_groups"] = _groups(table.columns)
        final = context["final"]
        if final is not None:
            row = [m.model for m in table.models].index(final.model)
            there = [score for score in table.cells[row] if score is not None]
            context["final_figure"] = figures.final_domains(there, run.evaluation.unigram)
    if run.leak and run.leak.models:
        context["deltas"] = figures.leak_deltas(run.leak)
    return context


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _fill(template: str, context: Mapping[str, Any]) -> str:
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in FILTERS:
        jinja.filters[name] = getattr(text, name)
    jinja.filters["figure_json"] = figure_json
    plotly, draw = get_plotlyjs(), (TEMPLATES / "draw.html").read_text(encoding="utf-8")
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return jinja.get_template(template).render(
        plotly_script=Markup(plotly),
        draw_script=Markup(draw),
        style=Markup(style),
        script_hashes=Markup(f"{_hash(plotly)} {_hash(draw)}"),
        **context,
    )


def render(run: Run) -> str:
    """The whole page as text; the same run gives the same text."""
    return _fill("report.html", {"kind": "report", **_context(run)})


def plan_page(name: str, plan: dict[str, Any], out: Path) -> Path:
    """Draw a plan (`skywright.tokens.summary`) into the HTML file `out`; return it."""
    run = Run(name, plan=Plan.model_validate(plan))
    with atomic_open(out, "w") as stream:
        stream.write(_fill("plan.html", {"kind": "plan", "run": run, **_plan_figures(run)}))
    return out


def build(run_folder: Path, out: Path) -> Path:
    """Write the report of `run_folder`; return the HTML file.

    `out` is the file if its name ends in `.html`, else the folder that gets `report.html`. Steps
    that have not run get a section that says what to run. Raises `UserError` if the run folder
    is absent or one of its files is damaged.
    """
    out = Path(out)
    page = out if out.suffix == ".html" else out / "report.html"
    html = render(read_run(Path(run_folder)))
    with atomic_open(page, "w") as stream:
        stream.write(html)
    return page
