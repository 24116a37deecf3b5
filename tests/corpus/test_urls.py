"""Address rules: lists, scored words, and one form for addresses of one page."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.config import UrlsConfig
from skywright.corpus.urls import normalise, params_of, rules_of
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
        ("https://example.org/%E8%89%B2%E6%83%85/1", "hard_word"),
        ("https://example.org/sexy/girls/1", "soft_words"),
        ("https://example.org/girls-in-science", None),
        ("https://essex.ac.uk/", None),
        ("https://example.org/scunthorpe-adult-education", None),
        ("https://example.org/taipornese", None),
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


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("http://Example.org", "https://www.example.org/"),
        ("http://example.org:80/a/", "http://example.org/a#top"),
        ("http://example.org/a?b=2&a=1", "http://example.org/a?a=1&b=2&utm_source=x"),
        ("https://example.org:443/a", "https://example.org/a"),
    ],
)
def test_addresses_of_one_page_have_one_form(a: str, b: str) -> None:
    assert normalise(a) == normalise(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("http://example.org/a", "http://example.org/A"),
        ("http://example.org/a?id=1", "http://example.org/a?id=2"),
        ("http://example.org:8080/", "http://example.org/"),
        ("http://example.org/#!/one", "http://example.org/#!/two"),
    ],
)
def test_addresses_of_different_pages_stay_apart(a: str, b: str) -> None:
    assert normalise(a) != normalise(b)


@given(st.text(max_size=60), st.booleans())
def test_any_text_has_a_form_that_does_not_change_again(text: str, scheme: bool) -> None:
    url = "http://example.org/" + text if scheme else text
    rule(url)
    form = normalise(url)
    if scheme and form is not None:
        assert normalise("http:" + form) == form


@needs_data
def test_no_address_of_the_real_pages_is_refused() -> None:
    from skywright.corpus.sources.warc import read_warc

    handbook = DATA / "warc" / "debian_handbook_zh_en.warc.gz"
    assert handbook in WARC_FILES
    assert [r.url for r in read_warc(handbook, "s", 8 << 20) if rule(r.url or "")] == []


@needs_data
def test_a_real_block_list_is_read_as_it_is_published() -> None:
    path = DATA / "filters" / "ut1" / "gambling_domains.txt.gz"
    names = gzip.decompress(path.read_bytes()).decode().split()
    first = next(name for name in names if name[0].isalpha())
    assert rule(f"http://www.{first}/x", blocked_hosts=[str(path)]) == "blocked_host"
