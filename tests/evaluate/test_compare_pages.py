"""The two pages of a comparison: what they hold, and how they behave in headless Chromium."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from skywright.evaluate.compare import draw
from skywright.evaluate.compare.cells import ShownDocument, TokenLosses, losses_by_character
from skywright.evaluate.compare.documents import chosen_lines, documents_by_key
from skywright.evaluate.compare.numbers import decimal, interval, p_value, ranks, value
from skywright.evaluate.compare.pages import write_pages
from skywright.evaluate.compare.places import ALL
from skywright.evaluate.compare.result import ModelComparison, compare_scores
from skywright.evaluate.compare.scores import gather
from skywright.statistics import Estimate
from tests.evaluate.compared import made_scores, made_set, texts

HOSTILE = (
    "</script><script>window.ATTACKED=1</script><img src=x onerror='window.ATTACKED=1'>"
    " & <b>bold</b> \u202eturned\u202c 语言\u0000\U0001f469\u200d\U0001f52c\nnext\tline {{ 7 * 7 }}"
)
MODELS = {"<i>one</i>": 1.0, "two & more": 1.1, "a name that is much longer than its label": 1.4}


def shown(line_text: str, line: object, comparison: ModelComparison) -> ShownDocument:
    size = len(line_text.encode())
    losses = {}
    for number, model in enumerate(comparison.models):
        ends = np.unique(np.append(np.arange(number + 2, size, number + 2), size))
        nats = np.linspace(0.1, 9.0, len(ends))
        if number == 2:
            nats[0] = np.nan
        losses[model] = TokenLosses(ends, nats, losses_by_character(line_text, nats, ends))
    return ShownDocument(line, line_text, losses)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    sets = {
        "en": made_set("en", [HOSTILE, *texts(1, 9)]),
        "zh": made_set("zh", [f"第{n}篇" + "语言模型" * (5 + 100 * n) for n in range(10)], "zh"),
    }
    comparison = compare_scores(
        gather(made_scores(sets, MODELS)), sets, protocol={"name": "by hand", "dtype": "float32"},
        reference_tokenizer="0123456789abcdef0123", draws=200, worst=20,
    )  # fmt: skip
    documents = documents_by_key(sets)
    lines = sorted(chosen_lines(comparison.gaps, 20), key=lambda line: "window" not in line.opening)
    return write_pages(
        comparison,
        [shown(documents[line.key].text, line, comparison) for line in lines],
        tmp_path_factory.mktemp("pages"),
    )


# ---------------------------------------------------------------- without a browser


def test_a_small_p_is_not_shown_as_0() -> None:
    assert [p_value(p) for p in (0.0, 1e-9, 0.00099)] == ["<0.001"] * 3
    assert [p_value(p) for p in (0.001, 0.0496, 1.0)] == ["0.001", "0.050", "1.000"]


def test_no_markup_of_models_or_documents_stands_in_a_page(pages: tuple[Path, Path]) -> None:
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<script>window" not in text
        assert "<img" not in text
        assert "<i>one" not in text
        assert not re.search(r"(src|href)=.?(https?:)?//", text)


def test_pictures_are_well_formed_and_every_label_is_escaped() -> None:
    sets = {"en": made_set("en", ["a" * 3000, "b" * 400, "c" * 900, "d" * 5000])}
    found = compare_scores(
        gather(made_scores(sets, MODELS)), sets, protocol={}, reference_tokenizer="", draws=100
    )
    overall = [row for row in found.positions if row.domain == ALL]
    for picture in (draw.standings(found.rows), draw.positions(overall, found.models)):
        labels = "".join(ET.fromstring(picture).itertext())
        assert "<i>one</i>" in labels
        assert "a name that is much longer than its label" in labels
        assert "nan" not in picture
        assert "inf" not in picture


def test_one_document_a_domain_has_values_and_no_interval(tmp_path: Path) -> None:
    sets = {"en": made_set("en", ["only one"])}
    found = compare_scores(
        gather(made_scores(sets, {"a": 1.0, "b": 2.0})), sets,
        protocol={"name": "by hand"}, reference_tokenizer="", draws=100,
    )  # fmt: skip
    assert [row.macro.worst_rank for row in found.rows] == [2, 2]
    page, _ = write_pages(found, [], tmp_path)
    assert "no interval" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(9.424, 9.31, 9.54, 0.06, 9), ("9.42", "9.31 to 9.54")),
        (Estimate(-0.01234, -0.0344, 0.0101, 0.01, 9), ("−0.012", "−0.034 to 0.010")),
        (Estimate(333.4, 290.0, 370.0, 20, 9), ("333", "290 to 370")),
        (Estimate(2.0, -np.inf, np.inf, np.nan, 1), ("2.000", "no interval")),
    ],
)
def test_numbers_have_the_digits_that_their_interval_supports(
    estimate: Estimate, words: tuple[str, str]
) -> None:
    assert (value(estimate), interval(estimate)) == words
    assert (value(estimate.as_json()), interval(estimate.as_json())) == words


def test_ranks_and_numbers_in_words() -> None:
    assert (ranks(2, 2), ranks(1, 3)) == ("2", "1–3")
    assert (decimal(None), decimal(-0.0001), decimal(1234.5, 0)) == ("—", "0.000", "1,234")


# ---------------------------------------------------------------- in Chromium

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Visit:
    """A page that was opened, with what it logged, asked for and threw."""

    def __init__(self, browser: object, file: Path, fragment: str = "", width: int = 1280) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})  # type: ignore[attr-defined]
        self.logged: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.logged.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.logged.append(f"thrown: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri() + fragment)
        self.file = file

    def is_calm(self) -> bool:
        """Nothing was logged or thrown, nothing asked for but the page, no text has run."""
        asked = {url.partition("#")[0] for url in self.requests}
        assert self.logged == []
        assert asked == {self.file.as_uri()}
        return self.page.evaluate("window.ATTACKED") is None

    def overflow(self) -> int:
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


def test_the_leaderboard_page_draws_and_asks_for_nothing(
    browser: object, pages: tuple[Path, Path]
) -> None:
    for width in (1280, 390):
        visit = Visit(browser, pages[0], width=width)
        for details in visit.page.locator("details").all():
            details.evaluate("node => { node.open = true }")
        assert visit.page.locator("#leaderboard svg circle").count() == len(MODELS)
        assert visit.page.locator("#positions svg polyline").count() == len(MODELS)
        assert visit.page.locator("#pairs tbody").first.locator("tr").count() == 3
        assert "<i>one</i>" in (visit.page.locator("#leaderboard table").first.text_content() or "")
        assert visit.overflow() == 0
        assert visit.is_calm()
        visit.page.close()


def test_a_document_is_shown_character_by_character(
    browser: object, pages: tuple[Path, Path]
) -> None:
    visit = Visit(browser, pages[1])
    page = visit.page
    page.wait_for_function("document.documentElement.dataset.drawn === '1'")
    cells = page.locator("#text span")
    assert cells.count() == len(HOSTILE)
    told = page.locator("#text").text_content() or ""
    assert "</script><script>window.ATTACKED=1</script>" in told
    assert "[U+202E]turned[U+202C]" in told
    assert "\u202e" not in told
    cells.nth(HOSTILE.index("语")).hover()
    detail = page.locator("#detail").text_content() or ""
    assert "U+8BED" in detail
    assert "bytes e8 af ad" in detail
    assert "<i>one</i>:" in detail
    assert "nats here" in detail
    assert "bytes e8 af" in detail  # a token that holds a part of the character
    assert visit.overflow() == 0
    assert visit.is_calm()
    page.close()


def test_colours_follow_the_view_the_models_and_the_document(
    browser: object, pages: tuple[Path, Path]
) -> None:
    visit = Visit(browser, pages[1], "#1.0.2")
    page = visit.page
    page.wait_for_function("document.documentElement.dataset.drawn === '1'")
    assert page.locator("#document").input_value() == "1"
    assert page.locator("#b").input_value() == "2"

    def colours() -> list[str]:
        return page.eval_on_selector_all(
            "#text span", "nodes => nodes.map((node) => node.style.backgroundColor)"
        )

    difference = colours()
    page.get_by_label("loss of a").check()
    page.wait_for_function("location.hash === '#1.0.2.a'")
    loss = colours()
    assert len(difference) == len(loss)
    assert difference != loss
    page.locator("#b").select_option("0")
    page.get_by_label("a − b").check()
    page.wait_for_function("location.hash === '#1.0.0.difference'")
    assert set(colours()) == {"rgb(255, 255, 255)"}  # a model against itself
    page.locator("#text").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#text .picked").get_attribute("data-cell") == "1"
    assert visit.is_calm()
    page.close()


def test_a_script_that_is_not_ours_is_refused_by_the_page_itself(
    browser: object, pages: tuple[Path, Path], tmp_path: Path
) -> None:
    for page in pages:
        altered = tmp_path / page.name
        altered.write_text(
            page.read_text(encoding="utf-8").replace(
                "<main>", "<main><script>window.ATTACKED=1</script>"
            ),
            encoding="utf-8",
        )
        visit = Visit(browser, altered)
        assert visit.page.evaluate("window.ATTACKED") is None
        assert any("Content Security Policy" in line for line in visit.logged)
        visit.page.close()
