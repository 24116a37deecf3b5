"""The example data that is shipped: complete, as listed, licensed, and fit to hold out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from skywright.engine.files import sha256_file
from skywright.sets import load

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFEST = json.loads((EXAMPLES / "MANIFEST.json").read_text(encoding="utf-8"))
FOLDERS = sorted(path for path in (EXAMPLES / "sets").iterdir() if path.is_dir())
SETS = {folder.name: load(folder) for folder in FOLDERS}
LIMIT_BYTES = 14_000_000


def test_files_are_those_of_the_manifest():
    found = {
        path.relative_to(EXAMPLES).as_posix(): sha256_file(path)
        for part in ("crawl", "sets")
        for path in (EXAMPLES / part).rglob("*")
        if path.is_file()
    }
    assert found == {name: entry["sha256"] for name, entry in MANIFEST["files"].items()}


def test_the_examples_stay_small():
    assert sum(entry["bytes"] for entry in MANIFEST["files"].values()) <= LIMIT_BYTES


def test_every_file_and_set_has_a_licence_row():
    rows = (EXAMPLES / "LICENCES.md").read_text(encoding="utf-8")
    for path in (EXAMPLES / "crawl").iterdir():
        assert f"`crawl/{path.name}" in rows, path.name
    for name in SETS:
        assert f"`sets/{name}`" in rows, name


def test_domains_are_enough_in_both_languages():
    domains = [s for s in SETS.values() if s.purpose == "domain"]
    assert sum(s.lang == "en" for s in domains) >= 3
    assert sum(s.lang == "zh" for s in domains) >= 3
    for evaluation_set in domains:
        assert 24 <= len(evaluation_set.documents) <= 40, evaluation_set.name


def test_no_document_is_in_two_sets():
    ids = [document.id for s in SETS.values() for document in s.documents]
    assert len(ids) == len(set(ids))


def test_gsm8k_halves_are_apart_and_the_test_split_is_complete():
    assert len(SETS["gsm8k_test"].documents) == 1319
    assert len(SETS["gsm8k_seen"].documents) == len(SETS["gsm8k_unseen"].documents) == 256

    def texts(name: str) -> set[str]:
        with gzip.open(EXAMPLES / "crawl" / name, "rt", encoding="utf-8") as stream:
            return {json.loads(line)["text"] for line in stream}

    def held(name: str) -> set[str]:
        return {document.text for document in SETS[name].documents}

    assert texts("gsm8k_seen.jsonl.gz") == held("gsm8k_seen")
    rest = texts("gsm8k.jsonl.gz")
    assert held("gsm8k_unseen") <= rest
    assert not held("gsm8k_seen") & rest
    assert not held("gsm8k_test") & rest
    assert len(rest) + 256 == 7473


@pytest.mark.parametrize(
    ("name", "crawl"),
    [("zh_law", "zh_law"), ("en_tech", "en_blogs"), ("en_peps", "en_peps"), ("zh_wiki", "zh_wiki")],
)
def test_the_crawl_keeps_what_the_sets_hold_out(name, crawl):
    with gzip.open(EXAMPLES / "crawl" / f"{crawl}.jsonl.gz", "rt", encoding="utf-8") as stream:
        texts = {json.loads(line)["text"] for line in stream}
    assert all(document.text in texts for document in SETS[name].documents)


@pytest.mark.parametrize(("name", "crawl"), [("zh_law", "zh_law"), ("en_tech", "en_blogs")])
def test_dated_sets_are_newer_than_the_median_of_the_crawl(name, crawl):
    with gzip.open(EXAMPLES / "crawl" / f"{crawl}.jsonl.gz", "rt", encoding="utf-8") as stream:
        dates = sorted(json.loads(line)["date"] for line in stream)
    assert min(d.published for d in SETS[name].documents) > dates[len(dates) // 2]
