"""Takedown: what is asked for leaves, copies do not come back, and growth brings nothing back."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from skywright.corpus.ledger import why
from skywright.corpus.pipeline import build
from skywright.corpus.publish import CorpusResult
from skywright.corpus.remove import (
    FILE,
    Asked,
    Matcher,
    Takedown,
    domain_entries,
    kept_copies,
    matches,
    read_takedown,
    requests,
    url_entries,
    write_takedown,
)
from skywright.errors import UserError
from tests.corpus.pages import packed, page_record, write
from tests.corpus.test_pipeline import config, essay, outcomes

BASE = "http://site.org"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    records = [
        page_record(f"{BASE}/one", essay("harbour")),
        page_record(f"{BASE}/two", essay("orchard")),
        page_record("http://mirror.org/two", essay("orchard")),
        page_record("http://a.owned.co.uk/three", essay("market")),
    ]
    write(folder / "a.warc.gz", packed(records))
    lines = [json.dumps({"text": essay("mountain"), "url": f"{BASE}/list"})]
    write(folder / "b.jsonl", "\n".join(lines).encode())
    write(folder / "pages" / "x.html", b"<html><body><p>nothing</p></body></html>")
    return folder


def made(inputs: Path, out: Path) -> CorpusResult:
    return build(config(inputs), [], out, executor="inline")


def entries(urls: list[str], domains: list[str]) -> Takedown:
    return Takedown().with_entries(
        [*url_entries(urls, "2026-01-01", "asked", "urls"),
         *domain_entries(domains, "2026-01-01", "", "domains")]
    )  # fmt: skip


def texts(result: CorpusResult) -> str:
    return "\n".join(t for p in result.documents for t in pq.read_table(p)["text"].to_pylist())


def test_pages_leave_by_address_and_domain_and_the_ledger_says_so(
    inputs: Path, tmp_path: Path
) -> None:
    before = made(inputs, tmp_path / "corpus")
    untouched = {p.name: p.read_bytes() for p in before.documents if "list" in p.name}
    write_takedown(tmp_path / "corpus", entries(["https://www.site.org/one#x"], ["owned.co.uk"]))
    after = made(inputs, tmp_path / "corpus")
    found = outcomes(after)
    assert (found["one"], found["three"], found["list"]) == ("url", "domain", "kept")
    assert "harbour" not in texts(after)
    assert "market" not in texts(after)
    assert after.waterfall["kept"] == before.waterfall["kept"] - 2
    assert untouched
    assert {p.name: p.read_bytes() for p in after.documents if "list" in p.name} == untouched
    (answer,) = why(tmp_path / "corpus", f"{BASE}/one")
    assert answer["sentence"].endswith("at step takedown by rule url (//site.org/one).")
    assert "harbour" not in json.dumps(after.waterfall["samples"])


def test_a_copy_does_not_come_back_in_place_of_a_removed_page(inputs: Path, tmp_path: Path) -> None:
    before = made(inputs, tmp_path / "corpus")
    kept = next(r for r in ("http://site.org/two", "http://mirror.org/two")
                if why(before.folder, r)[0]["kept"])  # fmt: skip
    other = "http://mirror.org/two" if "site" in kept else "http://site.org/two"
    write_takedown(tmp_path / "corpus", entries([kept], []))
    after = made(inputs, tmp_path / "corpus")
    assert "orchard" not in texts(after)
    assert why(after.folder, other)[0]["rule"] == "exact_copy"


def test_a_kept_document_with_the_text_of_a_removed_one_is_named(
    inputs: Path, tmp_path: Path
) -> None:
    built = made(inputs, tmp_path / "corpus")
    addresses = ["http://site.org/two", "http://mirror.org/two"]
    kept, other = sorted(addresses, key=lambda a: not why(built.folder, a)[0]["kept"])
    assert [r["url"] for r in kept_copies(built.folder, entries([other], []).asked())] == [kept]
    assert kept_copies(built.folder, entries([other, kept], []).asked()) == []


def test_a_grown_corpus_brings_nothing_back(inputs: Path, tmp_path: Path) -> None:
    made(inputs, tmp_path / "corpus")
    write_takedown(tmp_path / "corpus", entries([f"{BASE}/one"], []))
    write(
        inputs / "a.warc.gz",
        packed([page_record(f"{BASE}/one?utm_source=x", essay("harbour", 9)),
                page_record(f"{BASE}/new", essay("garden"))]),
    )  # fmt: skip
    after = made(inputs, tmp_path / "corpus")
    assert outcomes(after)["new"] == "kept"
    assert "harbour" not in texts(after)


def test_matching_follows_forms_and_domains() -> None:
    asked = entries(["HTTP://Example.org:80/a/"], ["例子.example", "a.example.org"]).asked()
    matcher = Matcher(asked)
    assert matcher("https://example.org/a?utm_source=x") == ("url", "//example.org/a")
    assert matcher("https://www.xn--fsqu00a.example/x") == ("domain", "xn--fsqu00a.example")
    assert matcher("https://b.a.example.org/") == ("domain", "a.example.org")
    assert matcher("https://example.org/b") is None
    assert matcher(None) is None
    assert Matcher(Asked())("https://example.org/a") is None


def test_requests_are_read_merged_and_refused_when_wrong(tmp_path: Path) -> None:
    urls = write(tmp_path / "urls.txt", b"# asked\nexample.org/A\nhttp://example.org/A\n")
    found = requests(urls, None, "2026-01-01", "law")
    once = Takedown().with_entries(found)
    assert [(e.kind, e.key, e.entry) for e in once.entries] == [
        ("url", "//example.org/A", "example.org/A")
    ]
    write_takedown(tmp_path, once)
    assert read_takedown(tmp_path) == once
    for line in (b"co.uk", b"org", b"http://example.org/x", b"127.0.0.1"):
        with pytest.raises(UserError, match=r"domains\.txt: entry 1: .* no domain"):
            requests(None, write(tmp_path / "domains.txt", line), "d", "")
    with pytest.raises(UserError, match="is no address"):
        requests(write(tmp_path / "urls.txt", b"/path"), None, "d", "")
    with pytest.raises(UserError, match="nothing is asked for"):
        requests(None, None, "d", "")
    (tmp_path / FILE).write_text("{]")
    with pytest.raises(UserError, match="not a list of takedowns"):
        read_takedown(tmp_path)


def test_matches_say_where_in_a_file_a_document_stands(inputs: Path, tmp_path: Path) -> None:
    built = made(inputs, tmp_path / "corpus")
    found = matches(built.documents, entries([], ["site.org"]).asked())
    assert {row["url"] for rows in found.values() for row in rows} <= {
        f"{BASE}/one", f"{BASE}/two", f"{BASE}/list"
    }  # fmt: skip
    for path, rows in found.items():
        table = pq.read_table(path)
        assert [table["url"][row["row"]].as_py() for row in rows] == [row["url"] for row in rows]
