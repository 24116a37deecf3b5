"""Where a site begins: cases of the Public Suffix List's own test file (CC0), and punycode."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.urls.hosts import SUFFIXES, ascii_host, host_of, registrable, unicode_host


@pytest.mark.parametrize(
    ("host", "site"),
    [  # publicsuffix/list, tests/test_psl.txt
        ("com", None),
        ("example.com", "example.com"),
        ("b.example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("example.example", "example.example"),
        ("b.example.uk.com", "example.uk.com"),
        ("ac.jp", None),
        ("a.b.test.ac.jp", "test.ac.jp"),
        ("ide.kyoto.jp", None),
        ("a.b.ide.kyoto.jp", "b.ide.kyoto.jp"),
        ("c.kobe.jp", None),
        ("b.c.kobe.jp", "b.c.kobe.jp"),
        ("city.kobe.jp", "city.kobe.jp"),
        ("www.city.kobe.jp", "city.kobe.jp"),
        ("ck", None),
        ("test.ck", None),
        ("b.test.ck", "b.test.ck"),
        ("www.ck", "www.ck"),
        ("www.www.ck", "www.ck"),
        ("shishi.公司.cn", "shishi.公司.cn"),
        ("公司.cn", None),
        ("www.食狮.中国", "食狮.中国"),
        ("127.0.0.1", None),
    ],
)
def test_sites_begin_where_the_list_says(host: str, site: str | None) -> None:
    assert registrable(ascii_host(host)) == (None if site is None else ascii_host(site))


def test_the_list_is_the_published_one_and_names_its_licence() -> None:
    licence = SUFFIXES.with_name("PUBLIC_SUFFIX_LICENCE.txt").read_text()
    assert "Mozilla Public License 2.0" in licence
    assert hashlib.sha256(SUFFIXES.read_bytes()).hexdigest() in licence


def test_hosts_have_one_form_and_can_be_read_again() -> None:
    assert host_of("HTTP://User@食狮。公司.CN.:80/x") == "xn--85x722f.xn--55qx5d.cn"
    assert unicode_host("www.xn--85x722f.xn--55qx5d.cn") == "www.食狮.公司.cn"
    assert unicode_host("xn--.a.xn--ab\u00fc") == ".a.xn--ab\u00fc"
    assert host_of("mailto:someone") == ""


@given(st.text(max_size=40))
def test_any_text_can_be_asked(text: str) -> None:
    host = host_of("http://" + text)
    assert ascii_host(host) == host
    unicode_host(text)
    site = registrable(host)
    assert site is None or host.endswith(site)
