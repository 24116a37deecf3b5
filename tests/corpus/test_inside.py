"""Lines and substrings cut in the whole corpus: all told of, the rest as it stood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skywright.corpus import signals
from skywright.corpus.config import CorpusConfig
from skywright.corpus.edits import restore
from skywright.corpus.inside import CUTTING
from skywright.corpus.ledger import why
from skywright.corpus.pipeline import build
from skywright.corpus.publish import CorpusResult
from skywright.corpus.waterfall import rule_samples
from tests.corpus.pages import DATA, needs_data, packed, page_record, write
from tests.corpus.test_pipeline import essay, fingerprint

NOTICE = "Follow us by letter, by pigeon or by standing at the gate in the evening."
QUOTE = "\n".join(
    f"{n} ships lay in the harbour of the north, and number {n} was the finest that they had seen"
    for n in ("Seven", "Eight", "Nine", "Eleven", "Twelve")
)
ITEM = (
    "A merchant buys twelve brass lamps at three coins each, breaks two of them on the way over "
    "the pass, sells half of the others at five coins and the rest, which are dented, at four; how "
    "many coins has the merchant gained when the last of the lamps is sold and the toll of one "
    "coin a lamp has been paid at the gate?"
)
BOTH: dict[str, Any] = {"lines": {"max_hosts": 3}, "substrings": {}}
NOTICES: dict[str, Any] = {"lines": {"max_copies": None, "max_hosts": 3}, "substrings": {}}


def config(folder: Path, duplicates: dict[str, Any], **changes: Any) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "inputs": [
                {"source": "web", "path": str(folder / "a.warc.gz")},
                {"source": "list", "path": str(folder / "b.jsonl"), "priority": 1},
            ],
            "rules": {"lang": {"en": {"off": ["*"]}, "zh-Hans": {"off": ["*"]}}},
            "duplicates": duplicates,
            "pii": {"sources": []},  # what it forgets cannot be put back
            "partitions": 3,
        }
        | changes
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    names = ("harbour", "orchard", "market", "winter")
    pages = [
        page_record(f"http://{name}.org/page", f"{essay(name, 3)}\n{NOTICE}") for name in names
    ]
    quoting = f"{essay('garden', 4)}\n{QUOTE}\nThe end of the garden."
    exam = f"{QUOTE}\n{ITEM}\n{essay('island', 4)}"
    pages += [
        page_record("http://quote.org/garden", quoting),
        page_record("http://quote.org/exam", exam),
        page_record("http://quote.org/alone", f"So it is\n{QUOTE}"),
    ]
    write(folder / "a.warc.gz", packed(pages))
    listed = [{"text": f"{essay('mountain', 4)}\n{QUOTE}", "url": "http://list.org/mountain"}]
    write(folder / "b.jsonl", "\n".join(map(json.dumps, listed)).encode())
    item = {"question": ITEM, "answer": ""}
    write(folder / "bench.jsonl", json.dumps(item).encode())
    return folder


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CorpusResult:
    # Lines that quote are repeated lines too; here only notices are cut line by line.
    return build(
        config(inputs, NOTICES),
        [], tmp_path_factory.mktemp("corpus"), executor="inline",
    )  # fmt: skip


def texts(result: CorpusResult) -> dict[str, str]:
    rows = [row for path in result.documents for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row["text"] for row in rows}


def table(folder: Path) -> list[dict[str, Any]]:
    return [row for path in folder.glob("*.parquet") for row in pq.read_table(path).to_pylist()]


def test_repeats_are_cut_where_they_stand_a_second_time(
    inputs: Path, built: CorpusResult, tmp_path: Path
) -> None:
    plain = texts(build(config(inputs, {}), [], tmp_path, executor="inline"))
    left = texts(built)
    assert QUOTE in left["http://list.org/mountain"]  # the source of the higher priority
    assert not any(NOTICE in text for text in left.values())
    assert sum(QUOTE in text for text in left.values()) == 1
    assert plain.keys() - left.keys() == {"http://quote.org/alone"}
    assert not (tmp_path / "signals_cut").exists()
    ids = {row["url"]: row["id"] for path in built.documents
           for row in pq.read_table(path).to_pylist()}  # fmt: skip
    edits = table(built.folder / "edits")
    for url, text in left.items():
        rows = [row for row in edits if row["id"] == ids[url]]
        assert all(span["removed"] for row in rows for span in row["spans"])
        before = plain[url]
        for step in ("substring_duplicates", "line_duplicates"):
            text = restore(text, [row for row in rows if row["step"] == step])
        assert text == before


def test_every_record_has_its_row_and_every_cut_its_count(built: CorpusResult) -> None:
    ledger = pq.read_table(built.ledger).to_pylist()
    assert len(ledger) == 8 == built.waterfall["input_records"]
    (short,) = [row for row in ledger if not row["kept"]]
    assert (short["step"], short["rule"]) == ("substring_duplicates", "left_short")
    assert (short["value"], short["threshold"]) == (len("So it is"), 20)
    edits = built.waterfall["edits"]
    assert edits["widespread_line"]["documents"] == 4
    assert edits["repeated_substring"]["documents"] == 3
    flow = {row["step"]: row for row in built.waterfall["flow"]}
    assert flow["substring_duplicates"]["in"] - flow["substring_duplicates"]["out"] == 1
    assert rule_samples(built.folder, "repeated_substring")[0]["removed"].startswith("Seven ships")


def test_why_tells_of_the_cuts(built: CorpusResult) -> None:
    (answer,) = why(built.folder, "http://quote.org/garden")
    (cut,) = answer["edits"].values()
    assert len(QUOTE) < cut < len(QUOTE) + 20  # with the blank lines between its paragraphs
    assert f"repeated_substring cut {cut}" in answer["sentence"]
    (answer,) = why(built.folder, "http://quote.org/alone")
    assert answer["sentence"].endswith(
        "dropped at step substring_duplicates by rule left_short: value 8, threshold 20."
    )


def test_signals_of_what_was_cut_are_those_of_what_is_left(built: CorpusResult) -> None:
    after = {row["id"]: row["text"] for path in built.documents
             for row in pq.read_table(path).to_pylist()}  # fmt: skip
    rows = table(built.folder / "signals_cut")
    cut = {row["id"] for row in table(built.folder / "edits")}
    assert {row["id"] for row in rows} == cut & after.keys()
    measured = signals.measure(pa.array([after[row["id"]] for row in rows]))
    for row, ours in zip(rows, measured.to_pylist(), strict=True):
        assert {name: row[name] for name in ours} == ours


def test_processes_give_the_same_bytes_and_running_again_does_nothing(
    inputs: Path, built: CorpusResult, tmp_path: Path
) -> None:
    asked = config(inputs, NOTICES)
    build(asked, [], tmp_path, executor="processes", workers=2)
    assert fingerprint(tmp_path) == fingerprint(built.folder)
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "stages").rglob("done.json")}
    build(asked, [], tmp_path, executor="inline")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "stages").rglob("done.json")} == done


def test_benchmark_items_are_cut_where_they_stand_after_other_cuts(
    inputs: Path, tmp_path: Path
) -> None:
    bench = {
        "benchmarks": [{"name": "exam", "path": str(inputs / "bench.jsonl")}], "action": "span",
    }  # fmt: skip
    result = build(config(inputs, NOTICES, decontaminate=bench), [], tmp_path, executor="inline")
    rest = texts(result)["http://quote.org/exam"].split("\n")
    left = [line for line in rest if line not in ("", "?")]  # the mark behind the item's last token
    assert left == essay("island", 4).split("\n")


@needs_data
@pytest.mark.parametrize("source", ["warc/debian_handbook_zh_en.warc.gz"])
def test_on_real_pages_rows_are_records_and_edits_give_the_texts_back(
    source: str, tmp_path: Path
) -> None:
    asked = {
        "inputs": [{"source": "web", "path": str(DATA / source)}], "partitions": 4,
        "pii": {"sources": []},
    }  # fmt: skip
    plain = CorpusConfig.model_validate(asked)
    before = texts(build(plain, [], tmp_path, executor="inline"))
    cutting = CorpusConfig.model_validate(asked | {"duplicates": BOTH})
    result = build(cutting, [], tmp_path, executor="inline")
    assert pq.read_metadata(result.ledger).num_rows == result.waterfall["input_records"]
    assert result.waterfall["edits"]["repeated_line"]["documents"] > 10
    left = texts(result)
    ids = {row["url"]: row["id"] for path in result.documents
           for row in pq.read_table(path).to_pylist()}  # fmt: skip
    rows = [row for row in table(result.folder / "edits") if row["step"].endswith("_duplicates")]
    steps = ("substring_duplicates", "line_duplicates")
    assert len(steps) == len(CUTTING)
    for url, text in left.items():
        for step in steps:
            text = restore(text, [r for r in rows if (r["id"], r["step"]) == (ids[url], step)])
        assert text == before[url]
