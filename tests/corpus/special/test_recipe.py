"""Parallel text and exercises as steps of a recipe: rendered, checked, answered for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from skywright.corpus.config import CorpusConfig
from skywright.corpus.edits import restore
from skywright.corpus.ledger import why
from skywright.corpus.pipeline import build
from skywright.corpus.publish import CorpusResult
from skywright.corpus.special.config import ParallelConfig, ParallelFields
from skywright.corpus.special.rows import document, taken
from skywright.errors import UserError
from tests.corpus.pages import html, packed, page_record, write
from tests.corpus.special.test_parallel import EN, ZH

NO_RULES = {"off": ["*"]}
BASE = "http://site.org"
ITEMS = [
    {
        "stem": "A bakery sells 48 loaves in the morning and half as many in the afternoon. How "
        "many loaves does it sell on that day?",
        "A": "24", "B": "72", "C": "96", "how": "48 / 2 = 24, and 48 + 24 = 72.", "right": "B",
    },
    {"stem": "求 3 只猫和 2 只鸟一共有多少条腿？", "A": None, "B": None, "C": None,
     "how": ["每只猫有 4 条，每只鸟有 2 条。", "3 × 4 + 2 × 2 = 16。"], "right": 16},
    {"stem": None, "A": "1", "B": "2", "C": "3", "how": "", "right": "A"},
]  # fmt: skip
PROSE = (
    "The river that runs through the old town has been bridged four times since it was founded, "
    "and the marks that the builders left are still to be seen on the piers."
)
QUIZ = (
    f"{PROSE}\n1) Where is it?\nQ1. What is the value of 2 + 3?\nA) 4\nB) 5\nC) 6\nAns: B\n"
    f"Explanation: write to me@site.org and count on your fingers.\n\n{PROSE[::-1]}"
)


def rows_of_pairs() -> list[dict[str, Any]]:
    menu = "首页 下载 文档"
    return [
        {"id": 1, "url": f"{BASE}/pair", "zh": "\n".join([menu, *ZH]), "en": "\n\n".join(EN)},
        {"id": 2, "url": f"{BASE}/other", "zh": "\n".join(ZH), "en": f"{PROSE}\n" * 3},
        {"id": 3, "url": f"{BASE}/half", "zh": "\n".join(ZH)},
    ]


def made(folder: Path, action: str = "rewrite") -> CorpusResult:
    lines = "\n".join(json.dumps(row) for row in rows_of_pairs())
    write(folder / "pairs.jsonl", lines.encode())
    write(folder / "exam.jsonl", "\n".join(json.dumps(row) for row in ITEMS).encode())
    write(folder / "web.warc.gz", packed([page_record(f"{BASE}/quiz", QUIZ)]))
    config = {
        "inputs": [
            {"source": "pairs", "path": str(folder / "pairs.jsonl"), "fields": {"parallel": {}}},
            {"source": "exam", "path": str(folder / "exam.jsonl"), "lang": "en", "fields": {
                "exercise": {"question": "stem", "options": ["A", "B", "C"], "solution": "how",
                             "answer": "right"}}},
            {"source": "web", "path": str(folder / "web.warc.gz"), "lang": "en"},
        ],
        "rules": {"source": dict.fromkeys(("pairs", "exam", "web"), NO_RULES)},
        "exercises": {"sources": "web", "action": action},
        "partitions": 2,
    }  # fmt: skip
    return build(CorpusConfig.model_validate(config), [], folder / action, "inline")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> CorpusResult:
    return made(tmp_path_factory.mktemp("special"))


def documents(result: CorpusResult, source: str) -> list[dict[str, Any]]:
    table = pa.concat_tables([pq.read_table(path) for path in result.documents])
    return [row for row in table.to_pylist() if row["source"] == source]


def test_parallel_text_stands_paragraph_by_paragraph(result: CorpusResult) -> None:
    (row,) = documents(result, "pairs")
    pairs = zip(ZH, EN, strict=True)
    assert row["text"] == "\n\n".join(f"{zh}\n{en}" for zh, en in pairs)
    assert row["lang"] == "zh-Hans"
    told = json.loads(row["meta"])
    assert told["parallel"] == {"pairs": 4, "zh_paragraphs": 5, "en_paragraphs": 4}
    assert told["id"] == 1


def test_texts_that_are_no_translations_are_dropped_and_answered_for(result: CorpusResult) -> None:
    (other,) = why(result.folder, f"{BASE}/other")
    assert (other["step"], other["rule"], other["threshold"]) == ("extract", "misaligned", 0.6)
    assert other["value"] < 0.6
    ledger = pq.read_table(result.ledger, filters=[("source", "=", "pairs")]).to_pylist()
    (half,) = [row for row in ledger if row["rule"] == "missing_text"]
    told = "no text in the field 'en'; the other fields are id; set `fields` of this input"
    assert (half["step"], half["message"]) == ("read", told)


def test_exercises_of_all_fields_are_rendered_one_way(result: CorpusResult) -> None:
    texts = sorted(row["text"] for row in documents(result, "exam"))
    question = ITEMS[0]["stem"]
    assert texts == [
        f"Question: {question}\nOptions:\nA. 24\nB. 72\nC. 96\n"
        "Solution: 48 / 2 = 24, and 48 + 24 = 72.\nAnswer: B",
        "题目：求 3 只猫和 2 只鸟一共有多少条腿？\n解析：每只猫有 4 条，每只鸟有 2 条。\n"
        "3 × 4 + 2 × 2 = 16。\n答案：16",
    ]
    assert result.waterfall["by_source"]["exam"] == {
        **result.waterfall["by_source"]["exam"], "in": 3, "kept": 2,
    }  # fmt: skip


def test_exercises_of_web_pages_take_the_one_form_and_can_be_undone(result: CorpusResult) -> None:
    (row,) = documents(result, "web")
    one = (
        "Question: What is the value of 2 + 3?\nOptions:\nA. 4\nB. 5\nC. 6\nSolution: write to "
        "[EMAIL] and count on your fingers.\nAnswer: B\n"
    )
    assert one in row["text"]
    assert "1) Where is it?" in row["text"]  # asks, but has no answer
    assert json.loads(row["meta"])["exercises"] == 1
    edits = pa.concat_tables(
        [pq.read_table(p) for p in (result.folder / "edits").glob("*.parquet")]
    )
    (edit,) = [e for e in edits.to_pylist() if e["step"] == "exercises"]
    assert edit["rule"] == "exercises:one_form"
    before = restore(row["text"], [edit])
    assert "Q1. What is the value of 2 + 3?\n\nA) 4\n\nB) 5\n\nC) 6\n\nAns: B\n\nExplan" in before
    assert "me@site.org" not in str(edit["spans"])
    assert result.waterfall["edits"]["exercises:one_form"]["documents"] == 1


def test_exercises_can_be_counted_and_left_as_they_are(tmp_path: Path) -> None:
    (row,) = documents(made(tmp_path, "tag"), "web")
    assert "Q1. What is the value of 2 + 3?\n\nA) 4" in row["text"]
    assert json.loads(row["meta"])["exercises"] == 1


def test_a_side_with_too_many_paragraphs_is_not_aligned() -> None:
    _, text, _ = taken({"zh": "\n".join(ZH), "en": "\n".join(EN)}, ParallelFields())
    assert text is not None
    found = document("parallel", text.encode(), ParallelConfig(max_paragraphs=3))
    assert (found.text, found.rule, found.value, found.threshold) == (None, "paragraphs", 4, 3)


def test_parquet_tables_are_read_by_their_fields(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"c": row["zh"], "e": row.get("en")} for row in rows_of_pairs()])
    pq.write_table(table, tmp_path / "pairs.parquet")

    def config(**fields: str) -> CorpusConfig:
        item = {"source": "p", "path": str(tmp_path / "pairs.parquet"), "lang": "zh-Hans",
                "fields": {"parallel": fields}}  # fmt: skip
        return CorpusConfig.model_validate(
            {"inputs": [item], "rules": {"source": {"p": NO_RULES}}, "partitions": 1}
        )

    kept = build(config(zh="c", en="e"), [], tmp_path / "out", "inline").waterfall
    assert (kept["input_records"], kept["kept"]) == (3, 1)
    with pytest.raises(
        UserError, match=r"no column 'en' \(there are c, e\); set `fields.parallel`"
    ):
        build(config(zh="c"), [], tmp_path / "no", "inline")


def test_fields_that_do_not_fit_an_input_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.html", html(PROSE).encode())
    item = {"source": "x", "path": str(tmp_path / "x.html"), "fields": {"parallel": {}}}
    with pytest.raises(UserError, match="are for rows of JSONL and Parquet"):
        build(CorpusConfig.model_validate({"inputs": [item]}), [], tmp_path / "out", "inline")
    item["fields"] = {"parallel": {}, "exercise": {}}
    with pytest.raises(ValidationError, match="not both"):
        CorpusConfig.model_validate({"inputs": [item]})
