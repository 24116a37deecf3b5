"""The page in headless Chromium: it draws, asks for nothing and runs no one's text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from skywright.report import build

from .sample import write_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Visit:
    """A page that was opened, with what it logged, asked for and threw."""

    def __init__(self, page: playwright.Page, file: Path) -> None:
        self.page = page
        self.logged: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.logged.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.logged.append(f"thrown: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.logged.append("dialog"), dialog.dismiss()))
        page.goto(file.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn !== undefined")
        self.file = file

    def overflow(self) -> int:
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return build(write_run(folder), folder / "report.html")


@pytest.fixture(scope="module")
def wide(browser: playwright.Browser, report: Path) -> Visit:
    return Visit(browser.new_page(viewport={"width": 1280, "height": 900}), report)


def test_all_figures_are_drawn(wide: Visit) -> None:
    plots = wide.page.locator(".plot")
    assert plots.count() == 10
    for index in range(plots.count()):
        plot = plots.nth(index)
        assert plot.locator("svg.main-svg").count() >= 1
        marks = plot.locator(".scatterlayer path, .barlayer path, .pielayer path, .errorbars path")
        assert marks.count() > 0, plot.get_attribute("id")


def test_nothing_is_logged_and_nothing_is_requested(wide: Visit) -> None:
    assert wide.logged == []
    assert wide.requests == [wide.file.as_uri()]


def test_the_page_does_not_scroll_sideways_on_a_laptop(wide: Visit) -> None:
    assert wide.overflow() == 0
    tables = wide.page.locator(".wide")
    for index in range(tables.count()):
        if not tables.nth(index).is_visible():
            continue
        spare = tables.nth(index).evaluate("node => node.clientWidth - node.scrollWidth")
        assert spare >= 0, tables.nth(index).get_attribute("aria-label")


def test_the_page_does_not_scroll_sideways_on_a_phone(
    browser: playwright.Browser, report: Path
) -> None:
    visit = Visit(browser.new_page(viewport={"width": 390, "height": 844}), report)
    assert visit.overflow() == 0
    assert visit.logged == []
    visit.page.close()


def test_the_switch_shows_bits_per_byte_in_every_panel(wide: Visit) -> None:
    page = wide.page
    title = "#validation-0 .ytitle"
    assert page.locator(title).text_content() == "nats per token"
    page.get_by_role("button", name="bits per byte").click()
    for panel in ("validation-0", "validation-1"):
        page.wait_for_function(
            f"document.querySelector('#{panel} .ytitle').textContent === 'bits per byte'"
        )
        visible = page.evaluate(f"document.getElementById('{panel}').data.map(t => t.visible)")
        half = len(visible) // 2
        assert visible == [False] * half + [True] * half
    page.get_by_role("button", name="nats per token").click()
    page.wait_for_function(f"document.querySelector('{title}').textContent === 'nats per token'")


def test_hostile_text_does_not_run_and_labels_are_shown_as_they_are(
    browser: playwright.Browser, tmp_path: Path
) -> None:
    file = build(write_run(tmp_path / "run", hostile=True), tmp_path / "report.html")
    visit = Visit(browser.new_page(viewport={"width": 1280, "height": 900}), file)
    for details in visit.page.locator("details").all():
        details.evaluate("node => { node.open = true }")
    visit.page.wait_for_timeout(200)
    assert visit.page.evaluate("window.ATTACKED") is None
    assert visit.requests == [file.as_uri()]
    assert visit.logged == []
    assert visit.overflow() == 0
    assert "<script>" in (visit.page.locator("#validation-0 .legend").text_content() or "")
    visit.page.close()


def test_a_script_that_is_not_ours_is_refused_by_the_page_itself(
    browser: playwright.Browser, report: Path, tmp_path: Path
) -> None:
    text = report.read_text(encoding="utf-8")
    altered = tmp_path / "altered.html"
    altered.write_text(
        text.replace("<main>", "<main><script>window.ATTACKED=1</script>"), encoding="utf-8"
    )
    visit = Visit(browser.new_page(), altered)
    assert visit.page.evaluate("window.ATTACKED") is None
    assert any("Content Security Policy" in line for line in visit.logged)
    visit.page.close()


def test_the_page_prints_without_losing_figures(wide: Visit, tmp_path: Path) -> None:
    printed = wide.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert wide.logged == []
