"""One form for addresses of one page: each rule of docs/urls.md, and that a form has no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.config import UrlsConfig
from skywright.corpus.urls import normalise, params_of, rules_of

SESSION = "0A1B2C3D4E5F60718293A4B5C6D7E8F9"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("http://Example.org", "https://www.example.org/"),
        ("http://example.org:80/a/", "http://example.org/a#top"),
        ("http://example.org/a?b=2&a=1", "http://example.org/a?a=1&b=2&utm_source=x"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("http://example.org./a", "http://example.org/a"),
        ("http://user:word@example.org/a", "http://example.org/a"),
        ("http://example.org/%7euser/%e4%b8%ad", "http://example.org/~user/%E4%B8%AD"),
        ("http://example.org/中 文", "http://example.org/%E4%B8%AD%20%E6%96%87"),
        ("http://例子.example/", "http://xn--fsqu00a.example/"),
        ("http://例子。example/", "http://xn--fsqu00a.example/"),
        ("http://example.org/a/./b/../c", "http://example.org/a/c"),
        ("http://example.org/../a", "http://example.org/a"),
        (f"http://example.org/a;jsessionid={SESSION}?x=1", "http://example.org/a?x=1"),
        (f"http://example.org/a?PHPSESSID={SESSION}", "http://example.org/a"),
        ("http://example.org/a?ASPSESSIONIDQQACRRCD=HELLO", "http://example.org/a"),
        (f"http://example.org/(S({SESSION.lower()}))/a.aspx", "http://example.org/a.aspx"),
        ("http://example.org/a?spm=a1.b2&fbclid=x&_ga=1", "http://example.org/a"),
        ("http://example.org/a?", "http://example.org/a"),
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
        ("http://example.org/article?sid=1001", "http://example.org/article?sid=1002"),
        ("http://example.org/?s=river", "http://example.org/?s=bridge"),
        ("http://example.org/a%2Fb", "http://example.org/a/b"),
        ("http://example.org/a.html", "http://example.org/a"),
        ("http://en.example.org/", "http://example.org/"),
    ],
)
def test_addresses_of_different_pages_stay_apart(a: str, b: str) -> None:
    assert normalise(a) != normalise(b)


@given(st.text(max_size=60), st.booleans())
def test_any_text_has_a_form_that_does_not_change_again(text: str, scheme: bool) -> None:
    url = "http://example.org/" + text if scheme else text
    rules_of(params_of(UrlsConfig())).check(url)
    form = normalise(url)
    if scheme and form is not None:
        assert normalise("http:" + form) == form


@given(
    st.lists(
        st.sampled_from(
            [*"/.%;?&=#!中a ", "..", "%2e", "%2F", "%e4", ";sid=", ";jsessionid=", "(S(", "))",
             "www.", "sid=", SESSION, SESSION.lower()]
        ),
        max_size=14,
    )
)  # fmt: skip
def test_forms_of_awkward_paths_do_not_change_again(parts: list[str]) -> None:
    form = normalise("http://example.org/" + "".join(parts))
    assert form is not None
    assert normalise("http:" + form) == form


def test_blank_is_no_address_and_a_lone_surrogate_is_escaped_everywhere() -> None:
    assert normalise("  ") is normalise("") is normalise(None) is None
    escaped = "%ED%A0%80"
    assert (
        normalise("http://a.b/\ud800?q=\ud800&r=中") == f"//a.b/{escaped}?q={escaped}&r=%E4%B8%AD"
    )
