"""Code: headers go and nothing else, secrets are found, rules know the language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.code.header import licence_header
from skywright.corpus.code.languages import Language, language_of
from skywright.corpus.code.rules import CodeConfig, comment_share, failure
from skywright.corpus.code.secrets import entropy_bits, find_secrets

BODY = "int main(void) { return 0; }\n" * 12
LICENCE = "Copyright (c) 2020 A. Person. All rights reserved."


def known(path: str) -> Language:
    found = language_of(path)
    assert found is not None
    return found


def stripped(text: str, path: str) -> str:
    span = licence_header(text, known(path))
    return text if span is None else text[: span[0]] + text[span[1] :]


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b.py", "python"), ("x.C", "cpp"), ("x.c", "c"), ("Makefile", "makefile"),
     ("A.JSON", "json"),
     ("https://example.org/x/Dockerfile", "dockerfile"), ("CMakeLists.txt", "cmake")],
)  # fmt: skip
def test_a_file_is_known_by_its_name(path: str, name: str) -> None:
    assert known(path).name == name


def test_a_name_outside_the_list_is_no_language() -> None:
    assert language_of("a.txt") is None
    assert language_of(None) is None


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("a.c", "#include <stdio.h>\n#define N 3\n"),
        ("a.h", "#ifndef A_H\n#define A_H\n"),
        ("a.py", "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nimport os\n"),
        ("a.md", "# Licence and copyright\n\nText.\n"),
        ("a.sh", "#!/bin/sh\n# Builds everything, in order.\n"),
        ("a.css", "#copyright { color: red }\n"),
        ("a.sql", "-- creates the tables\nCREATE TABLE t (a int);\n"),
        ("a.cpp", "// Computes the sum.\n#include <vector>\n"),
    ],
)
def test_what_is_no_licence_survives(path: str, head: str) -> None:
    assert stripped(head + BODY, path) == head + BODY


@pytest.mark.parametrize(
    ("path", "top", "header", "rest"),
    [
        ("a.c", "", f"/*\n * {LICENCE}\n */\n", "#include <stdio.h>\n"),
        ("a.cpp", "", f"// {LICENCE}\n// See LICENSE.\n", "#include <vector>\n"),
        (
            "a.py",
            "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n",
            f"# {LICENCE}\n",
            "import os\n",
        ),
        ("a.php", "<?php\n", f"/** {LICENCE} */\n", "echo 1;\n"),
        ("a.html", "<!DOCTYPE html>\n", "<!-- Licensed under MIT -->\n", "<p>x</p>\n"),
        ("a.go", "", "// SPDX-License-Identifier: Apache-2.0\n", "\npackage main\n"),
    ],
)
def test_a_licence_header_goes_and_the_rest_stays(
    path: str, top: str, header: str, rest: str
) -> None:
    assert stripped(top + header + rest + BODY, path) == top + rest + BODY


@given(st.text(), st.sampled_from(["a.c", "a.py", "a.md", "a.html", "a.lua"]))
def test_only_comments_at_the_top_can_go(text: str, path: str) -> None:
    span = licence_header(text, known(path))
    if span is not None:
        assert 0 <= span[0] < span[1] <= len(text)
        assert text[span[0] :].lstrip().startswith(("/*", "//", "#", "<!--", "--"))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key = AKIA" + "IOSFODNN7QWERTYU", "AKIA" + "IOSFODNN7QWERTYU"),
        ("token: ghp_" + "a1B2" * 9, "ghp_" + "a1B2" * 9),
        ('api_key = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"', "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
        ("'password': 'Tr0ub4dor-Zq8vKw2p'", "Tr0ub4dor-Zq8vKw2p"),
    ],
)
def test_secrets_are_found(text: str, secret: str) -> None:
    assert [text[a:b] for a, b in find_secrets(text)] == [secret]


def test_a_private_key_is_cut_whole() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow" * 20 + "\n-----END RSA PRIVATE KEY-----"
    text = f"x = 1\n{key}\ny = 2\n"
    assert [text[a:b] for a, b in find_secrets(text)] == [key]


@pytest.mark.parametrize(
    "text",
    [
        'password = "your-password-here"',
        'token = "aaaaaaaaaaaaaaaaaaaaaaaa"',
        'sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
        'secret_name = "projects/my-project/secrets"',
        'API_KEY = os.environ["API_KEY_OF_THE_SERVICE"]',
        "AKIAEXAMPLE",
    ],
)
def test_placeholders_names_and_checksums_are_no_secrets(text: str) -> None:
    assert find_secrets(text) == []


def test_lines_are_counted_as_an_editor_does() -> None:
    line = "x = 1  # one\n"
    assert rule(line * 9, "a.py") == rule((line * 9)[:-1], "a.py") == "starcoder_lines_min"
    assert rule(line * 10, "a.py") is rule((line * 10)[:-1], "a.py") is None


@pytest.mark.parametrize(
    ("part", "path"), [("/*", "a.js"), ("<script>", "a.html"), ("<", "a.html")]
)
def test_what_is_never_closed_costs_one_look_each(part: str, path: str) -> None:
    assert rule(part * 200_000 + "\n" * 20, path, CodeConfig(shares={})) is not None


@pytest.mark.parametrize("part", ["# coding: ", "-*- coding: ", "#!", "# "])
def test_a_first_line_without_an_end_costs_one_look(part: str) -> None:
    assert licence_header(part * 40_000, language_of("a.py")) is None
    assert licence_header("# coding: x\n# Copyright A\nx", language_of("a.py")) == (12, 26)


def test_entropy_is_shannons() -> None:
    assert entropy_bits("aabb") == pytest.approx(1.0)
    assert entropy_bits("abcdefgh") == pytest.approx(3.0)


def test_comments_are_counted_and_strings_are_not() -> None:
    code = 'x = "# no comment"\n# four\n'
    assert comment_share(code, "python") == pytest.approx(len("# four") / len(code))
    java = 'String s = "// no"; // yes\n'
    assert comment_share(java, "java") == pytest.approx(len("// yes") / len(java))
    documented = '"""Says what it is."""\n'
    assert comment_share(documented, "python") > 0.9


def rule(
    text: str, path: str, config: CodeConfig | None = None, licence: str = "MIT"
) -> str | None:
    found = failure(text, language_of(path), licence, "00" * 16, config or CodeConfig())
    return found and found.rule


def test_each_rule_names_its_failure() -> None:
    program = "# adds\ndef add(a, b):\n    return a + b\n\n" * 4
    assert rule(program, "a.py") is None
    assert rule("x = 1\n", "a.py") == "starcoder_lines_min"
    assert rule("# Generated by protoc. DO NOT EDIT.\n" + program, "a.py") == "starcoder_generated"
    assert rule('<?xml version="1.0"?>\n' + program, "a.py") == "starcoder_xml"
    assert rule(program.replace("# adds\n", "\n"), "a.py") == "starcoder_comments_min"
    assert rule("# prose of many words\n" * 30, "a.py") == "starcoder_comments_max"
    assert rule("<div></div>\n" * 30, "a.html", CodeConfig(shares={})) == "starcoder_html_visible"
    assert rule("1, 2, 3, 4, 5,\n" * 30, "a.sql") == "starcoder_alphabetic"
    strict = CodeConfig(licences=("MIT",))
    assert rule(program, "a.py", strict) is None
    assert rule(program, "a.py", strict, licence="") == "licence"
    program = program.replace("# adds\n", "\n")
    assert rule(program, "a.py", CodeConfig(off=("starcoder_comments_min",))) is None


def test_data_formats_stay_at_the_chosen_share_and_the_draw_is_the_files_own() -> None:
    names = [f"{n:032x}" for n in range(2000)]
    config = CodeConfig(shares={"json": 0.2})
    kept = [n for n in names if failure("{}", language_of("a.json"), "", n, config) is None]
    assert 320 <= len(kept) <= 480  # .2 of 2000, five standard deviations
    more = CodeConfig(shares={"json": 0.5})
    assert all(failure("{}", language_of("a.json"), "", n, more) is None for n in kept)
    with pytest.raises(ValueError, match="no data format"):
        CodeConfig(shares={"python": 0.5})
