"""The whole corpus: all records answered for, the same bytes everywhere, held-out text out."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from skywright.corpus import pages
from skywright.corpus.config import CorpusConfig
from skywright.corpus.export import export
from skywright.corpus.extract import Extracted, extract
from skywright.corpus.ledger import why
from skywright.corpus.pipeline import build
from skywright.corpus.publish import CorpusResult
from skywright.corpus.waterfall import waterfall
from skywright.errors import UserError
from skywright.sets.schema import document_id
from tests.corpus.pages import (
    EN,
    WARC_FILES,
    ZH,
    html,
    http,
    needs_data,
    packed,
    page_record,
    warc_record,
    write,
)

NO_RULES = {"off": ["*"]}


def essay(topic: str, paragraphs: int = 6) -> str:
    """English text that is no near copy of another topic's."""
    return "\n".join(
        f"{topic.title()} {n} came to the {topic} with a letter about {topic} number {n * n + 7}, "
        f"and the people of {topic} said that they had been waiting for {n + 3} years to read it."
        for n in range(paragraphs)
    )


@dataclass(frozen=True)
class Document:
    id: str
    text: str


@dataclass(frozen=True)
class HeldOut:
    name: str
    documents: tuple[Document, ...]
    purpose: str = "domain"


def held_out(text: str, purpose: str = "domain") -> HeldOut:
    return HeldOut("exam", (Document(document_id(text), text),), purpose)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    base = "http://site.org"
    long_zh = "\n".join(f"第{n}段。{ZH}" for n in range(3))
    records = [
        page_record(f"{base}/one", essay("harbour")),
        page_record(f"{base}/two", essay("orchard")),
        page_record(f"{base}/zh", long_zh),
        page_record(f"{base}/one?utm_source=x", essay("harbour old"), date="2020-01-01T00:00:00Z"),
        page_record(f"{base}/porn", essay("market")),
        page_record(f"{base}/copy", essay("orchard")),
        page_record(f"{base}/near", essay("harbour", 7)),
        page_record(f"{base}/exam", f"{EN}\n{essay('examination', 2)}"),
        page_record(f"{base}/empty", ""),
        page_record(
            f"{base}/de", "Der Fluss fließt durch die alte Stadt und über die Brücke. " * 9
        ),
        warc_record(f"{base}/404", http(b"<html>gone</html>", status="404 Not Found")),
        warc_record(f"{base}/pic", http(b"\x89PNG", "image/png")),
        warc_record(f"{base}/deep", http(b"<html><body>" + b"<div>" * 5000 + b"x")),
        warc_record(f"{base}/gb", http(html(long_zh[::-1]).encode("gb18030"))),
    ]
    data = bytearray(packed([*records, page_record(f"{base}/flip", essay("winter"))]))
    data[-60] ^= 1
    cut = packed([page_record(f"{base}/cut", essay("summer"))])[:-40]
    write(folder / "a.warc.gz", bytes(data) + cut)
    lines = [
        json.dumps({"text": essay("mountain"), "url": f"{base}/list", "title": "M"}),
        json.dumps({"text": essay("valley"), "url": f"{base}/list"}),
        "no json",
        '{"text": "half \\ud83d"}',
        json.dumps({"text": essay("orchard").upper()}),
    ]
    write(folder / "b.jsonl", "\n".join(lines).encode())
    write(folder / "pages" / "x.html", html(essay("garden")).encode())
    return folder


def config(folder: Path, **changes: Any) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "inputs": [
                {"source": "web", "path": str(folder / "a.warc.gz")},
                {"source": "list", "path": str(folder / "b.jsonl"), "priority": 1},
                {"source": "site", "path": str(folder / "pages"), "lang": "en"},
            ],
            "rules": {"lang": {"en": NO_RULES, "zh-Hans": NO_RULES}},
            "partitions": 3,
            "partition_bytes": 1,  # or a corpus this small would have one
        }
        | changes
    )


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CorpusResult:
    out = tmp_path_factory.mktemp("corpus")
    return build(config(inputs), [held_out(EN)], out, executor="inline")


def outcomes(result: CorpusResult) -> dict[str, str]:
    """What became of each record, by the last part of its address."""
    rows = pq.read_table(result.ledger).to_pylist()
    return {(row["url"] or row["record"]).rpartition("/")[2]: row["rule"] or "kept" for row in rows}


def fingerprint(out: Path) -> dict[str, str]:
    """Checksums of all that is published; the waterfall without its measured seconds."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and "stages" not in path.parts:
            content = path.read_bytes()
            if path.name == "waterfall.json":
                value = json.loads(content)
                for row in value["flow"]:
                    row.pop("seconds")
                value.pop("seconds_by_source")
                content = json.dumps(value, sort_keys=True).encode()
            found[str(path.relative_to(out))] = hashlib.sha256(content).hexdigest()
    return found


def test_every_record_is_answered_for(built: CorpusResult) -> None:
    assert outcomes(built) == {
        "one": "near_copy",
        "two": "same_view",  # in favour of the source of higher priority
        "zh": "kept",
        "one?utm_source=x": "same_url",
        "porn": "hard_word",
        "copy": "same_view",
        "near": "kept",
        "exam": "heldout:exam",
        "empty": "no_text",
        "de": "is_de",
        "404": "http_status",
        "pic": "content_type",
        "deep": "depth",
        "gb": "kept",
        "flip": "corrupt",
        "cut": "truncated",
        "list": "kept",
        "b.jsonl:3": "not_json",
        "b.jsonl:4": "lone_surrogate",
        "b.jsonl:5": "kept",
        "x.html": "kept",
    }
    rows = pq.read_table(built.ledger)
    assert rows.num_rows == 16 + 5 + 1 == built.waterfall["input_records"]
    assert len(set(rows["record"].to_pylist())) == rows.num_rows


def test_documents_have_the_promised_columns_and_their_text_as_it_stood(
    built: CorpusResult,
) -> None:
    assert len(built.documents) == 3
    tables = {path.name.split("_")[0]: pq.read_table(path) for path in built.documents}
    assert tables["web"].schema.names == ["id", "url", "date", "source", "lang", "text", "meta"]
    web = {row["url"]: row for row in tables["web"].to_pylist()}
    gb = web["http://site.org/gb"]
    assert "�" not in gb["text"]
    assert json.loads(gb["meta"])["charset"] == "gb18030"
    assert gb["lang"] == "zh-Hans"
    listed = tables["list"].to_pylist()
    assert [row["text"] for row in listed[:2]] == [essay("mountain"), essay("valley")]
    assert json.loads(listed[0]["meta"])["title"] == "M"


def test_counts_add_up(built: CorpusResult) -> None:
    counts = waterfall(built.folder)
    assert counts == built.waterfall
    documents = sum(pq.read_metadata(path).num_rows for path in built.documents)
    assert counts["kept"] == documents
    assert counts["input_records"] == documents + sum(row["dropped"] for row in counts["steps"])
    assert counts["flow"][0]["in"] == counts["input_records"]
    assert counts["flow"][-1]["out"] == documents
    for before, after in zip(counts["flow"], counts["flow"][1:], strict=False):
        assert before["out"] == after["in"]
    assert sum(row["in"] for row in counts["by_source"].values()) == counts["input_records"]
    assert sum(row["kept"] for row in counts["by_lang"].values()) == documents
    (sample,) = counts["samples"]["heldout/heldout:exam"]
    assert sample["excerpt"].startswith(EN[:50])


def test_held_out_text_is_kept_out_and_the_proof_says_how_far(built: CorpusResult) -> None:
    proof = built.waterfall["heldout"]
    assert (proof["documents"], proof["dropped"]) == (1, 1)
    assert proof["max_containment_kept"] < 0.5
    (answer,) = why(built.folder, "http://site.org/exam")
    assert answer["kept_id"] == document_id(EN)
    assert answer["similarity"] == 1.0


def test_sets_that_training_may_read_are_not_held_out(inputs: Path, tmp_path: Path) -> None:
    result = build(config(inputs), [held_out(EN, "leak_train_seen")], tmp_path, executor="inline")
    assert outcomes(result)["exam"] == "kept"
    assert result.waterfall["heldout"]["documents"] == 0


def test_why_answers_by_address_record_and_id(built: CorpusResult) -> None:
    (answer,) = why(built.folder, "https://www.site.org/two#top")
    assert (answer["match"], answer["kept"], answer["rule"]) == ("url", False, "same_view")
    assert answer["kept_record"] == "list/b.jsonl:5"
    assert answer["sentence"] == (
        "http://site.org/two was dropped at step exact_duplicates by rule same_view; "
        "in favour of list/b.jsonl:5 (similarity 1.000)."
    )
    assert why(built.folder, answer["record"])[0]["match"] == "record"
    assert why(built.folder, answer["id"])[0]["url"] == "http://site.org/two"
    assert {a["record"] for a in why(built.folder, "http://site.org/list")} == {
        "list/b.jsonl:1",
        "list/b.jsonl:2",
    }
    near = why(built.folder, "http://site.org/tow")
    assert near[0]["match"] == "near"
    assert near[0]["url"] == "http://site.org/two"
    assert why(built.folder, "http://elsewhere.net/") == []
    (blocked,) = why(built.folder, "http://site.org/porn")
    assert "hard_word" in blocked["sentence"]
    assert "(porn)" in blocked["sentence"]


def test_processes_give_the_same_bytes_and_running_again_does_nothing(
    inputs: Path, built: CorpusResult, tmp_path: Path
) -> None:
    result = build(config(inputs), [held_out(EN)], tmp_path, executor="processes", workers=2)
    assert fingerprint(tmp_path) == fingerprint(built.folder)
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "stages").rglob("done.json")}
    again = build(config(inputs), [held_out(EN)], tmp_path, executor="inline")
    assert again.waterfall == result.waterfall
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "stages").rglob("done.json")} == done


def test_the_order_of_inputs_changes_no_document(
    inputs: Path, built: CorpusResult, tmp_path: Path
) -> None:
    turned = config(inputs, inputs=[i.model_dump() for i in config(inputs).inputs[::-1]])
    result = build(turned, [held_out(EN)], tmp_path, executor="inline")
    assert outcomes(result) == outcomes(built)
    for a, b in zip(result.documents, built.documents, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_one_more_input_extracts_only_that_input(
    inputs: Path, built: CorpusResult, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(built.folder, out)
    before = set((out / "stages" / "extract").iterdir())
    write(tmp_path / "more.jsonl", json.dumps({"text": essay("island")}).encode())
    more = [*config(inputs).inputs, {"source": "more", "path": str(tmp_path / "more.jsonl")}]
    result = build(config(inputs, inputs=more), [held_out(EN)], out, executor="inline")
    assert result.waterfall["kept"] == built.waterfall["kept"] + 1
    tasks = {p for p in (out / "stages" / "extract").iterdir() if p.name != "manifests"}
    assert len(tasks - before) == 1


def test_changing_a_rule_measures_nothing_again(
    inputs: Path, built: CorpusResult, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(built.folder, out)
    before = {n: set((out / "stages" / n).iterdir()) for n in ("extract", "signals", "heldout")}
    strict = {"source": {"web": {"only": ["gopher_tokens_min"],
                                 "thresholds": {"gopher_tokens_min": 10**6}}}}  # fmt: skip
    result = build(config(inputs, rules=strict), [held_out(EN)], out, executor="inline")
    assert outcomes(result)["one"] == "gopher_tokens_min"
    assert {n: set((out / "stages" / n).iterdir()) for n in before} == before


def test_a_rule_that_does_not_exist_is_named(inputs: Path, tmp_path: Path) -> None:
    wrong = config(inputs, rules={"lang": {"en": {"off": ["gopher_token_min"]}}})
    with pytest.raises(UserError, match=r"rules\.lang\.en: no rule is called 'gopher_token_min'"):
        build(wrong, [], tmp_path, executor="inline")


def test_a_near_copy_goes_in_favour_of_a_kept_document_that_it_resembles(tmp_path: Path) -> None:
    long = essay("harbour", 30)
    texts = [long, long + "\nOne more line at the end.", essay("castle", 30)]
    write(tmp_path / "a.jsonl", "\n".join(json.dumps({"text": t}) for t in texts).encode())
    only = config(tmp_path, inputs=[{"source": "s", "path": str(tmp_path / "a.jsonl")}])
    result = build(only, [], tmp_path / "out", executor="inline")
    rows = pq.read_table(result.ledger).to_pylist()
    assert [row["rule"] for row in rows] == ["near_copy", None, None]
    assert rows[0]["kept_id"] == rows[1]["id"]
    assert 0.8 <= rows[0]["similarity"] < 1
    assert result.waterfall["duplicates"]["near_copies"] == 1


def test_a_corpus_of_bad_records_only_is_empty_and_complete(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", b"no json\n{}\n")
    write(tmp_path / "b.jsonl", b"")
    only = config(tmp_path, inputs=[{"source": "s", "path": str(tmp_path)}])
    result = build(only, [held_out(EN)], tmp_path / "out", executor="inline")
    assert (result.waterfall["input_records"], result.waterfall["kept"]) == (2, 0)


def test_a_record_at_which_a_step_fails_is_in_the_ledger_and_the_others_go_on(
    inputs: Path, built: CorpusResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(data: bytes, charset: str | None, *settings: Any) -> Extracted:
        if b"garden" in data:
            raise ZeroDivisionError("a page that breaks the parser")
        return extract(data, charset, *settings)

    monkeypatch.setattr(pages, "extract", failing)
    result = build(config(inputs), [held_out(EN)], tmp_path, executor="inline")
    expected = outcomes(built) | {"x.html": "error:ZeroDivisionError"}
    assert outcomes(result) == expected
    (answer,) = why(tmp_path, "file:///site/x.html")
    assert (answer["step"], answer["message"]) == ("extract", "a page that breaks the parser")


def test_an_export_holds_every_document_once(built: CorpusResult, tmp_path: Path) -> None:
    files = export(built.folder, tmp_path / "lines")
    lines = []
    for path in files:
        with zstandard.open(path, "rt", encoding="utf-8") as stream:
            lines += [json.loads(line) for line in stream]
    kept = [row for path in built.documents for row in pq.read_table(path).to_pylist()]
    assert {row["id"].hex(): row["text"] for row in kept} == {r["id"]: r["text"] for r in lines}
    assert len(lines) == len(kept)
    assert len(export(built.folder, tmp_path / "tables", "parquet")) == len(built.documents)
    with pytest.raises(UserError, match="exists already"):
        export(built.folder, tmp_path / "lines")
    with pytest.raises(UserError, match="no finished corpus"):
        export(tmp_path, tmp_path / "nothing")


@needs_data
def test_real_pages_are_all_answered_for(tmp_path: Path) -> None:
    demo = next(path for path in WARC_FILES if path.name.startswith("demo"))
    only = config(tmp_path, inputs=[{"source": "demo", "path": str(demo)}])
    result = build(only, [], tmp_path / "out", executor="inline")
    counts = result.waterfall
    assert counts["input_records"] == 153
    rules = {(row["step"], row["rule"]): row["dropped"] for row in counts["steps"]}
    assert rules["read", "http_status"] == 1
    assert rules["read", "content_type"] == 2
    assert rules["url_duplicates", "same_url"] == 1
    documents = [r for path in result.documents for r in pq.read_table(path).to_pylist()]
    chinese = [row for row in documents if json.loads(row["meta"])["charset"] == "gb18030"]
    assert len(chinese) >= 10
    assert {row["lang"] for row in chinese} == {"zh-Hans"}
    assert [row["url"] for row in documents if "replaced_chars" in json.loads(row["meta"])] == []
