"""What leaves the house: documents with their cuts recorded, a card that counts, a lineage."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from skywright.corpus.config import CorpusConfig
from skywright.corpus.ledger import why
from skywright.corpus.pipeline import build
from skywright.corpus.publish import CorpusResult
from skywright.corpus.release import release
from skywright.errors import UserError
from tests.corpus.pages import packed, page_record, write
from tests.corpus.test_pipeline import essay

ITEM = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May "
    "because the shop of her aunt was closed. How many clips did Natalia sell altogether in April "
    "and May, and how many more would she need to reach one hundred?"
)
KEY = "AKIA" + "IOSFODNN7QWERTYU"
CODE = (
    "#!/usr/bin/env python\n# Copyright (c) 2020 A. Person\nimport os\n\n\n"
    + "# adds two numbers\ndef add(first, second):\n    return first + second\n\n\n" * 3
    + f"KEY = '{KEY}'\n"
)


def config(folder: Path, **changes: Any) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "inputs": [
                {"source": "web", "path": str(folder / "a.warc.gz")},
                {"source": "code", "path": str(folder / "code.jsonl"), "lang": "code"},
                {"source": "list", "path": str(folder / "list.jsonl"), "lang": "en"},
            ],
            "rules": {"lang": {"en": {"off": ["*"]}, "code": {"off": ["*"]}}},
            "decontaminate": {
                "benchmarks": [{"name": "exam", "path": str(folder / "exam.jsonl")}],
                **changes.pop("decontaminate", {}),
            },
            "partitions": 2,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    contact = "Write to jane.roe@mail-host.org or ring 13812345678 about it."
    spoken = ITEM.replace("48", "forty-eight").upper()
    records = [
        page_record("http://a.org/contact", f"{essay('harbour')}\n{contact}"),
        page_record("http://a.org/exam", f"{essay('orchard')}\n{spoken}\n{essay('valley')}"),
    ]
    write(folder / "a.warc.gz", packed(records))
    rows = [
        {"text": CODE, "url": "x:1", "path": "a.py", "license": "MIT"},
        {"text": "x = 1\n", "url": "x:2", "path": "b.py", "license": "MIT"},
    ]
    write(folder / "code.jsonl", "\n".join(map(json.dumps, rows)).encode())
    rows = [
        {"text": f"{essay('garden')}\n{contact}", "url": "x:3", "license": "CC|BY\n4.0"},
        {"text": spoken, "url": "x:4"},
    ]
    write(folder / "list.jsonl", "\n".join(map(json.dumps, rows)).encode())
    exam = [{"question": ITEM}, {"question": essay("exam", 2)}, {"question": "Too short?"}]
    write(folder / "exam.jsonl", "\n".join(map(json.dumps, exam)).encode())
    return folder


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CorpusResult:
    return build(config(inputs), [], tmp_path_factory.mktemp("out"), executor="inline")


def texts(result: CorpusResult) -> dict[str, dict[str, Any]]:
    rows = [row for path in result.documents for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row for row in rows}


def edits(result: CorpusResult) -> list[dict[str, Any]]:
    files = sorted((result.folder / "edits").glob("*.parquet"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def test_personal_data_goes_from_web_pages_only_and_every_cut_is_recorded(
    built: CorpusResult,
) -> None:
    found = texts(built)
    page = found["http://a.org/contact"]
    assert "Write to [EMAIL] or ring [PHONE] about it." in page["text"]
    assert "jane.roe@mail-host.org" in found["x:3"]["text"]
    rows = {row["rule"]: row for row in edits(built) if row["id"] == page["id"]}
    assert set(rows) == {"pii:email", "pii:cn_mobile"}
    original = page["text"].replace("[EMAIL]", "jane.roe@mail-host.org")
    (span,) = rows["pii:email"]["spans"]
    assert original[span["start"] : span["end"]] == "jane.roe@mail-host.org"
    assert rows["pii:email"]["chars_removed"] == len("jane.roe@mail-host.org")
    assert built.waterfall["edits"]["pii:email"] == {
        "documents": 1, "spans": 1, "chars": len("jane.roe@mail-host.org"),
    }  # fmt: skip


def test_code_loses_its_licence_header_and_its_key_and_a_failing_file_goes(
    built: CorpusResult,
) -> None:
    text = texts(built)["x:1"]["text"]
    assert text.startswith("#!/usr/bin/env python\nimport os\n")
    assert KEY not in text
    assert "[SECRET]" in text
    (answer,) = why(built.folder, "x:2")
    assert (answer["step"], answer["rule"]) == ("code", "starcoder_lines_min")


def test_a_benchmark_item_drops_the_document_and_is_reported(built: CorpusResult) -> None:
    (answer,) = why(built.folder, "http://a.org/exam")
    assert (answer["step"], answer["rule"]) == ("decontaminate", "decontaminate:exam")
    told = json.loads((built.folder / "decontamination.json").read_text())["benchmarks"]["exam"]
    assert (told["items"], told["too_short_or_common"], told["found_items"]) == (3, 1, 1)
    assert told["documents"] == 2
    assert list(told["found"]) == ["exam.jsonl:1"]


def test_a_span_is_cut_and_a_document_that_is_all_item_goes(inputs: Path, tmp_path: Path) -> None:
    result = build(config(inputs, decontaminate={"action": "span"}), [], tmp_path, "inline")
    text = texts(result)["http://a.org/exam"]["text"]
    assert "NATALIA" not in text
    for line in (*essay("orchard").splitlines(), *essay("valley").splitlines()):
        assert line in text
    assert "x:4" not in texts(result)
    (row,) = [row for row in edits(result) if row["step"] == "decontaminate"]
    assert row["rule"] == "decontaminate:exam"
    assert 0.9 * len(ITEM) < row["chars_removed"] < 1.1 * len(ITEM)


def test_scores_are_stored_and_pages_are_binned(built: CorpusResult) -> None:
    meta = json.loads(texts(built)["x:3"]["meta"])
    assert 0 <= meta["quality"] <= 1
    assert 0 <= meta["quality_bin"] < 10
    files = sorted((built.folder / "scores").glob("*.parquet"))
    labels = {row["label"] for path in files for row in pq.read_table(path).to_pylist()}
    assert labels == {"quality", "pornography", "gambling", "violence", "advertising"}


def test_a_safety_rule_drops_and_the_ledger_has_the_score(inputs: Path, tmp_path: Path) -> None:
    rule = {"label": "advertising", "threshold": 1e-9, "lang": ["en"]}
    changed = config(inputs, classify={"safety": [rule]})
    result = build(changed, [], tmp_path, executor="inline")
    (answer,) = why(result.folder, "x:3")
    assert (answer["step"], answer["rule"], answer["threshold"]) == ("safety", "advertising", 1e-9)
    assert "x:1" in texts(result)  # code has no score


def test_a_label_or_source_that_there_is_not_is_named(inputs: Path, tmp_path: Path) -> None:
    rule = {"label": "beauty", "threshold": 0.5}
    with pytest.raises(UserError, match="no model has the label 'beauty'"):
        build(config(inputs, classify={"safety": [rule]}), [], tmp_path, executor="inline")
    with pytest.raises(UserError, match="no input has the source 'wbe'"):
        build(config(inputs, pii={"sources": ["wbe"]}), [], tmp_path, executor="inline")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_release_has_data_card_and_lineage(
    built: CorpusResult, inputs: Path, tmp_path: Path, form: Any
) -> None:
    out = tmp_path / "release"
    files = release(built.folder, out, config(inputs), form, "tiny")
    assert {path.name for path in files} >= {"README.md", "lineage.json"}
    lineage = json.loads((out / "lineage.json").read_text())
    for entry in lineage["files"]:
        data = (out / entry["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
    assert {parent["name"] for parent in lineage["parents"]} == {
        "web/a.warc.gz", "code/code.jsonl", "list/list.jsonl",
    }  # fmt: skip
    assert set(lineage["models"]) == {"lid.176.ftz", "lines.json", "quality", "safety"}
    assert lineage["counts"]["total"]["documents"] == built.waterfall["kept"] == 3
    assert lineage["counts"]["by_licence"]["MIT"]["documents"] == 1
    card = (out / "README.md").read_text()
    assert "| decontaminate | decontaminate:exam | 2 |" in card
    assert "| pii:email | 1 | 1 |" in card
    assert "| CC\\|BY 4.0 | 1 |" in card
    if form == "jsonl":
        lines: list[Any] = []
        for path in sorted((out / "data").iterdir()):
            data = zstandard.ZstdDecompressor().stream_reader(path.open("rb"))
            lines += map(json.loads, io.TextIOWrapper(data, encoding="utf-8"))
        assert all(isinstance(line["meta"], str) for line in lines)
        assert {line["url"]: line["text"] for line in lines} == {
            url: row["text"] for url, row in texts(built).items()
        }
    with pytest.raises(UserError, match="exists already"):
        release(built.folder, out)


def test_a_release_loads_with_datasets(built: CorpusResult, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    for form in ("jsonl", "parquet"):
        release(built.folder, tmp_path / form, None, form)
        loaded = datasets.load_dataset(
            str(tmp_path / form), split="train", cache_dir=str(tmp_path / f"cache-{form}")
        )
        assert sorted(loaded["text"]) == sorted(row["text"] for row in texts(built).values())
