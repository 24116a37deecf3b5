"""The two pages of a comparison: each one HTML file that needs nothing but a browser.

Text from the web is escaped wherever it is written; a content security policy with the hashes of
our own style and script allows nothing else to run, to style or to be asked for.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import skywright
from skywright.engine.files import atomic_open
from skywright.evaluate.compare import draw, numbers
from skywright.evaluate.compare.cells import ShownDocument
from skywright.evaluate.compare.places import ALL
from skywright.evaluate.compare.result import ModelComparison
from skywright.evaluate.prepare import FLAGS

TEMPLATES = Path(__file__).parent / "templates"

UNIT_TABLES = (
    ("perplexity", "Perplexity per reference token"),
    ("bpb", "Bits per UTF-8 byte"),
    ("bits_per_char", "Bits per character"),
)
"""Fields of a `Cell` that get a table each, and its title."""

LOSS_BITS = 8.0
"""Bits per byte where the colour of a loss is full: what a byte costs a model that knows nothing.
Fixed, so that one colour means one loss on every page."""

DIFFERENCE_BITS = 4.0
"""The same for the difference of two models: half of it, since both have learned something."""


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _fill(template: str, script: str, **context: Any) -> str:
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    for name in ("decimal", "value", "interval"):
        jinja.filters[name] = getattr(numbers, name)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return jinja.get_template(template).render(
        version=skywright.__version__,
        ranks=numbers.ranks,
        span=numbers.span,
        style=Markup(style),
        style_hash=Markup(_hash(style)),
        script=Markup(script),
        script_hash=Markup(_hash(script) if script else "'none'"),
        **context,
    )


def leaderboard_page(comparison: ModelComparison, documents: Sequence[ShownDocument]) -> str:
    """Table, rank ranges, pairs, loss by place, worst documents and flags as one page.

    documents: those that the other page shows; their lines lead there.
    """
    place_of_model = {model: place for place, model in enumerate(comparison.models)}
    place_of_document = {found.line.key: place for place, found in enumerate(documents)}

    def link(key: tuple[str, str], a: str, b: str) -> str | None:
        place = place_of_document.get(key)
        if place is None:
            return None
        return f"documents.html#{place}.{place_of_model[a]}.{place_of_model[b]}"

    overall = [row for row in comparison.positions if row.domain == ALL]
    langs = {domain: facts.lang for domain, facts in comparison.sets.items()}
    return _fill(
        "compare.html",
        "",
        comparison=comparison,
        domains=sorted(comparison.sets, key=lambda domain: langs[domain]),
        langs=langs,
        tables=UNIT_TABLES,
        picture=draw.standings(comparison.rows),
        overall=overall,
        curves=draw.positions(overall, comparison.models),
        flag_words=FLAGS,
        overall_flags=[found for found in comparison.flags if found.domain == ALL],
        link=link,
    )


def documents_page(comparison: ModelComparison, documents: Sequence[ShownDocument]) -> str:
    """Documents with two models' losses on every character, as one page."""
    script = (TEMPLATES / "documents_script.html").read_text(encoding="utf-8")
    data = {
        "models": list(comparison.models),
        "scale": {"difference": DIFFERENCE_BITS, "loss": LOSS_BITS},
        "documents": [document.as_json() for document in documents],
    }
    return _fill("documents.html", script, comparison=comparison, documents=documents, data=data)


def write_pages(
    comparison: ModelComparison, documents: Sequence[ShownDocument], out: Path
) -> tuple[Path, Path]:
    """Write `compare.html` and `documents.html` under `out`; return their paths."""
    pages = {
        Path(out) / "compare.html": leaderboard_page(comparison, documents),
        Path(out) / "documents.html": documents_page(comparison, documents),
    }
    for path, page in pages.items():
        with atomic_open(path, "w") as stream:
            stream.write(page)
    first, second = pages
    return first, second
