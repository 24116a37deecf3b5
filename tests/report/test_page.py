"""The page as text: what it holds, what it says of absent steps, what it refuses."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from skywright.errors import UserError
from skywright.report import build
from skywright.report.pages import safe_json

from .sample import DOMAINS, write_run
from .sample_data import ATTACK

STEPS = ("corpus", "tokenizer", "tokens", "train", "evaluate", "leak", "study")


class Tags(HTMLParser):
    """Collects start tags with attributes, ids, and the visible text outside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._silent = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    return build(write_run(folder), folder / "report.html").read_text(encoding="utf-8")


def test_plotly_stands_in_the_page_exactly_once_and_nothing_is_loaded(page: str) -> None:
    assert page.count(get_plotlyjs()) == 1
    for tag, attributes in Tags(page).tags:
        assert "src" not in attributes, tag
        if "href" in attributes:
            assert (attributes["href"] or "").startswith(("#", "data:,")), attributes


def test_sections_come_in_the_order_of_the_work(page: str) -> None:
    ids = [attributes.get("id") for tag, attributes in Tags(page).tags if tag == "section"]
    assert ids == [
        "corpus", "tokenizer", "mixture", "training", "validation", "perplexity", "leak", "study",
        "made",
    ]  # fmt: skip


def test_ids_are_unique_and_every_link_of_the_contents_leads_somewhere(page: str) -> None:
    tags = Tags(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        if tag == "a":
            assert (attributes["href"] or "")[1:] in ids


def test_the_headline_gives_the_macro_perplexity_with_its_interval_and_the_baseline(
    page: str,
) -> None:
    text = Tags(page).text
    # The sample's macro loss is 3.9393 +- .022 nats, its unigram baseline 6.621 nats.
    assert "51.4 (95 % interval 50.3–52.5)" in text
    assert "Unigram baseline 751" in text


def test_every_figure_has_a_description_and_a_protocol(page: str) -> None:
    parsed = Tags(page)
    plots = [a for _, a in parsed.tags if a.get("class") == "plot"]
    assert len(plots) == 10
    for plot in plots:
        assert plot["role"] == "img"
        assert len(plot["aria-label"] or "") > 40
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.S)
    assert len(captions) == len(plots)
    assert all(
        re.search(r"interval|no interval|display only", caption, re.I) for caption in captions
    )


def test_the_data_of_every_figure_is_json(page: str) -> None:
    found = re.findall(r'<script type="application/json" id="(.*?)-data">(.*?)</script>', page)
    assert len(found) == 10
    for _, text in found:
        assert {"data", "layout", "views"} <= json.loads(text).keys()


def test_counts_that_agree_are_said_to_agree_and_counts_that_do_not_are_not(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run")
    page = build(run, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Counts agree" in page
    path = run / "corpus" / "current" / "waterfall.json"
    waterfall = json.loads(path.read_text(encoding="utf-8"))
    waterfall["kept"] -= 1
    path.write_text(json.dumps(waterfall), encoding="utf-8")
    page = build(run, tmp_path / "b.html").read_text(encoding="utf-8")
    assert "Counts agree" not in page
    assert "Counts do not agree" in page


def test_what_the_data_card_counts_is_shown_where_it_was_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", without=STEPS[1:])
    text = Tags(build(run, tmp_path / "a.html").read_text(encoding="utf-8")).text
    assert "quality bin documents characters bytes en 9 321" in text
    assert "licence documents characters bytes CC BY-SA 4.0 321" in text
    (run / "corpus" / "current" / "card.json").unlink()
    text = Tags(build(run, tmp_path / "b.html").read_text(encoding="utf-8")).text
    assert "quality bin" not in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    first = build(run, tmp_path / "a.html").read_bytes()
    assert build(run, tmp_path / "b.html").read_bytes() == first


def test_a_folder_as_target_gets_report_html(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", without=STEPS[1:])
    assert build(run, tmp_path / "report" / "key") == tmp_path / "report" / "key" / "report.html"


@pytest.mark.parametrize("absent", [*[(step,) for step in STEPS], STEPS[2:], STEPS])
def test_an_absent_step_gets_a_section_that_says_what_to_run(
    tmp_path: Path, absent: tuple[str, ...]
) -> None:
    run = write_run(tmp_path / "run", without=absent)
    parsed = Tags(build(run, tmp_path / "report.html").read_text(encoding="utf-8"))
    for step in sorted(set(STEPS) - {"tokens"}):  # which leaves nothing that the report reads
        assert (f"skywright run RECIPE --only {step}" in parsed.text) == (step in absent), step
    assert sum(tag == "section" for tag, _ in parsed.tags) == 9


def test_a_training_run_that_is_still_going_is_shown_up_to_its_last_whole_line(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run", without=STEPS[4:])
    (run / "train" / "current" / "summary.json").unlink()
    with (run / "train" / "current" / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"step": 301, "tok')
    text = Tags(build(run, tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "Training has not finished" in text


def test_a_damaged_line_is_named_by_file_line_and_field(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = run / "train" / "current" / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[4] = lines[4].replace('"lr"', '"rate"')
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 5: lr: .*--from train"):
        build(run, tmp_path / "report.html")


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "leak" / "current" / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"leak.*summary\.json: cannot be read as JSON"):
        build(run, tmp_path / "report.html")


def test_a_run_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run folder"):
        build(tmp_path / "absent", tmp_path / "report.html")


def test_hostile_text_is_shown_and_makes_no_tag(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", hostile=True)
    page = build(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert ATTACK not in page
    parsed = Tags(page)
    assert ATTACK in parsed.text
    assert not [tag for tag, _ in parsed.tags if tag == "img"]
    assert sum(tag == "script" for tag, _ in parsed.tags) == 12  # 10 figures, plotly, our own
    assert "{{ 7 * 7 }}" in parsed.text


def test_json_in_a_script_cannot_close_it() -> None:
    value = {"a": "</script><!-- & \u2028 >"}
    text = str(safe_json(value))
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == value


def test_perplexities_are_bold_only_where_intervals_separate(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = run / "evaluate" / "current" / "summary.json"

    def best_cells() -> int:
        page = build(run, tmp_path / "report.html").read_text(encoding="utf-8")
        return len(re.findall(r'<td class="num[^"]*best', page))

    summary = json.loads(path.read_text(encoding="utf-8"))
    # The last two checkpoints differ by .03 nats: less than any interval of the sample.
    assert best_cells() == 0
    for row in summary["rows"]:
        if row["model"] == "step-00000300":
            for bound in ("value", "low", "high"):
                row["perplexity"][bound] /= 2
    path.write_text(json.dumps(summary), encoding="utf-8")
    assert best_cells() == len(DOMAINS) + 1


def test_missing_values_are_dashes_not_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = run / "leak" / "current" / "summary.json"
    leak = json.loads(path.read_text(encoding="utf-8"))
    for row in leak["models"]:
        row["train_seen"] = row["seen_minus_unseen"] = None
        row["delta1"] = {"value": 0.01, "low": None, "high": None, "n": 3}
    path.write_text(json.dumps(leak), encoding="utf-8")
    metrics = run / "train" / "current" / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    row = json.loads(lines[3]) | {"loss_nats": float("nan")}
    lines[3] = json.dumps(row) + "\n"
    metrics.write_text("".join(lines), encoding="utf-8")
    page = build(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no interval" in page
    assert "nan" not in Tags(page).text.lower().split()


def test_a_plan_is_drawn_before_anything_is_trained(tmp_path: Path) -> None:
    from skywright.report import plan_page
    from skywright.tokens import Plan, Ramp, SegmentMixture, SourceSize, summary

    sizes = {name: SourceSize.declared(10**12, [4096]) for name in ("web", "books", "<stem>")}
    plan = Plan(
        1,
        4096,
        sizes,
        [
            SegmentMixture(name="long", tokens=10**12, mixture={"web": 0.6, "books": 0.4}),
            SegmentMixture(
                name="short",
                tokens=10**9,
                mixture={
                    "web": 0.6,
                    "books": 0.4,
                    "<stem>": Ramp(from_=0.1, to=0.4, mean=0.2),
                },
            ),
        ],
    )
    page = plan_page("big", summary(plan), tmp_path / "plan.html").read_text()
    assert "10.0 % → 40.0 %" in page
    assert "every segment drawn equally wide" in page
    assert "<stem>" not in page.split("<script>")[0]
