"""Address rules: lists, scored words, and one form for addresses of one page."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from skywright.corpus.config import UrlsConfig
from skywright.corpus.urls import params_of, rules_of
from skywright.errors import UserError
from tests.corpus.pages import DATA, WARC_FILES, needs_data, write


def rule(url: str, **config: object) -> str | None:
    verdict = rules_of(params_of(UrlsConfig.model_validate(config))).check(url)
    return verdict.rule if verdict else None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.pornhub.com/x", "blocked_host"),
        ("https://de.pornhub.com./x", "blocked_host"),
        ("https://notpornhub.org/about", "strict_word"),
        ("https://example.org/free-porn-videos", "strict_word"),
        ("https://example.org/huang-se-wang/1", "strict_word"),
        ("https://example.org/porn/1", "hard_word"),
        ("https://example.org/%E9%BB%84%E7%89%87/1", "hard_word"),
        ("https://example.org/%BB%C6%C6%AC/1", "hard_word"),  # the same in GBK
        ("https://xn--h1x21zbsy.example/", "hard_word"),  # 黄片网
        ("https://example.org/博彩/美女", "soft_words"),
        ("https://example.org/sexy/girls/1", "soft_words"),
        ("https://example.org/girls-in-science", None),
        ("https://essex.ac.uk/", None),
        ("https://example.org/scunthorpe-adult-education", None),
        ("https://example.org/taipornese", None),
        ("https://example.org/essex-video-archive", None),
        ("https://sussex-camgirlsguiding.example/", "strict_word"),
        ("https://socialis.online/", None),
        ("https://example.org/python-XXX/session?id=xxx", None),
        ("https://example.org/打击淫秽色情网络信息", None),
        ("https://example.org/地方特色情景/成人教育/地下注浆", None),
        ("https://example.org/独乐乐不如百家乐/美女与野兽", None),
        ("https://debian-handbook.info/browse/zh-CN/stable/apt.html", None),
        ("http://[broken/", None),
    ],
)
def test_shipped_lists_judge_addresses(url: str, expected: str | None) -> None:
    assert rule(url) == expected


def test_a_soft_word_counts_once_however_often_it_stands() -> None:
    assert rule("https://example.org/casino/casino/casino") is None
    assert rule("https://example.org/casino", max_soft_words=0) == "soft_words"


def test_own_lists_come_on_top_and_shipped_ones_can_be_left_out(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.txt.gz"
    hosts.write_bytes(gzip.compress(b"# mine\nbad.example\n"))
    urls = write(tmp_path / "urls.txt", b"http://www.example.org/ads\n")
    config = {"blocked_hosts": [str(hosts)], "blocked_urls": [str(urls)]}
    assert rule("http://a.bad.example/x", **config) == "blocked_host"
    assert rule("https://example.org/ads/1?x=2", **config) == "blocked_url"
    assert rule("https://example.org/adsense", **config) is None
    assert rule("https://pornhub.com/", shipped_lists=False, **config) is None
    with pytest.raises(UserError, match=r"no\.txt: no such list"):
        params_of(UrlsConfig(hard_words=(str(tmp_path / "no.txt"),)))


def test_a_changed_list_changes_the_parameters(tmp_path: Path) -> None:
    path = write(tmp_path / "words.txt", b"one\n")
    before = params_of(UrlsConfig(hard_words=(str(path),)))
    write(path, b"two\n")
    assert params_of(UrlsConfig(hard_words=(str(path),))) != before


def rows_of(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for path in sorted(folder.rglob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield path.name, json.loads(line)


@needs_data
def test_no_address_in_the_data_is_refused() -> None:
    from skywright.corpus.sources.warc import read_warc_file

    urls = {r.url for path in WARC_FILES for r in read_warc_file(path, "s", 8 << 20) if r.url}
    for _, row in rows_of(DATA):
        text = row.get("text") or row.get("html") or ""
        urls |= {row["url"]} if "://" in (row.get("url") or "") else set()
        urls |= set(re.findall(r"https?://[^\s\"'<>)\]，。）》]+", text))
    rules = rules_of(params_of(UrlsConfig()))
    assert len(urls) > 20_000
    assert [url for url in sorted(urls) if rules.check(url)] == []


@pytest.mark.full
@needs_data
def test_ordinary_sentences_as_names_of_pages_are_not_refused() -> None:
    rules = rules_of(params_of(UrlsConfig()))
    asked, refused = set(), set()
    for name, row in rows_of(DATA / "corpus"):
        if name.startswith("code"):
            continue
        for sentence in re.split(r"[.!?。！？；\n]+", f"{row.get('title') or ''}\n{row['text']}"):
            if name.startswith("zh"):
                parts = re.split("[，、：“”《》（）\\s]+", sentence)
                asked |= {f"https://example.cn/{part}" for part in parts if 3 <= len(part) <= 24}
            else:
                words = re.findall(r"[a-z0-9]+", sentence.lower())
                if 3 <= len(words) <= 12:
                    asked.add(f"https://example.org/{'-'.join(words)}")
    for url in asked:
        verdict = rules.check(url)
        if verdict:
            refused.add(verdict.message)
    assert len(asked) > 500_000
    assert refused <= {"时时彩", "pornhub", "porn", "色情小说", "六合彩"}


def verdict(url: str, **config: object) -> str:
    found = rules_of(params_of(UrlsConfig.model_validate(config))).check(url)
    assert found is not None
    return found.message


def test_the_ledger_names_what_was_hit(tmp_path: Path) -> None:
    hosts = write(tmp_path / "mine.txt", "# x\nhttps://Bad.Example/\n*.坏.example\n".encode())
    assert verdict("https://a.bad.example", blocked_hosts=[str(hosts)]) == "bad.example (mine.txt)"
    assert verdict("http://坏.example/", blocked_hosts=[str(hosts)]) == "xn--7es.example (mine.txt)"
    assert verdict("https://example.org/a/escorts-milf") == "escorts, milf"
    assert verdict("https://example.org/Free_Porn") == "freeporn"


def test_domains_mean_sites_and_hosts_mean_hosts(tmp_path: Path) -> None:
    names = str(write(tmp_path / "names.txt", b"a.bad.co.uk\ngithub.io\n"))
    assert rule("https://bad.co.uk/", blocked_domains=[names]) == "blocked_domain"
    assert rule("https://bad.co.uk/", blocked_hosts=[names]) is None
    assert rule("https://x.a.bad.co.uk/", blocked_hosts=[names]) == "blocked_host"
    assert rule("https://other.co.uk/", blocked_domains=[names], blocked_hosts=[names]) is None
    # A public suffix is no site: naming it does not block all who live under it.
    assert rule("https://github.io/", blocked_hosts=[names]) == "blocked_host"
    assert (
        rule("https://someone.github.io/", blocked_domains=[names], blocked_hosts=[names]) is None
    )


def test_substrings_are_found_in_the_address_as_it_is_read(tmp_path: Path) -> None:
    parts = str(write(tmp_path / "parts.txt", "/affiliate/\n返利\n".encode()))
    assert rule("https://shop.example/Affiliate/1", blocked_substrings=[parts]) == (
        "blocked_substring"
    )
    assert rule("https://shop.example/?q=%E8%BF%94%E5%88%A9", blocked_substrings=[parts])
    assert rule("https://shop.example/affiliates", blocked_substrings=[parts]) is None


def test_where_a_list_stands_is_no_part_of_what_it_makes(tmp_path: Path) -> None:
    keys = []
    for folder in ("a", "b"):
        path = write(tmp_path / folder / "words.txt", b"one\n")
        keys.append(params_of(UrlsConfig(hard_words=(str(path),))).model_dump(mode="json"))
    assert keys[0] == keys[1]


def test_of_two_lists_with_one_entry_the_first_is_named(tmp_path: Path) -> None:
    lists = [str(write(tmp_path / f"{n}.txt", b"bad.example\n")) for n in "ab"]
    assert verdict("https://bad.example/", blocked_hosts=lists) == "bad.example (a.txt)"


@needs_data
def test_a_real_block_list_is_read_as_it_is_published() -> None:
    path = DATA / "filters" / "ut1" / "gambling_domains.txt.gz"
    names = gzip.decompress(path.read_bytes()).decode().split()
    first = next(name for name in names if name[0].isalpha())
    assert rule(f"http://www.{first}/x", blocked_hosts=[str(path)]) == "blocked_host"
