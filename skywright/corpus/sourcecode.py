"""Whether a text is mostly source code, told line by line.

A line counts as code when it ends as statements do, begins with a keyword that prose does not begin
with, or holds an operator that prose has no use for. It is asked of every document, so a count of
the characters that code is full of comes first and lets prose pass at once.
"""

from __future__ import annotations

import re

MIN_CODE_SHARE = 0.55
"""A document is code when at least this share of its bytes stands in lines of code. Bytes, because
a Han character says as much as several letters. Measured in docs/language.md."""

MIN_MARK_SHARE = 0.02
"""Share of the marks below under which a text is not looked at any further: it spares nearly all
prose the cost. Of 900 source files 11 have fewer."""

MIN_LINES = 5  # fewer tell nothing: a review that ends in a semicolon is no program
SAMPLE_LINES = 120  # of a longer text, from three places
MAX_LINE_CHARS = 300  # a longer line is a paragraph

_MARKS = "=;(){}[]<>_"
_ENDS = (";", "{", "}")  # of statements and blocks
_OPERATORS = ("==", "!=", "+=", "-=", "*=", "/=", "||", "&&", "->", "::", ":=", "<<", ">>", "=>")
_CALL_ENDS = (")", "):", ");", "),")
_CALL = re.compile(r"\w\([^)]*\)[:;,)]*$")
_ASSIGNMENT = re.compile(r"""[\w.\[\]"'*&]+(?:\s*:\s*[\w.\[\], |]+)?\s*=\s*\S""")
_HEAD = re.compile(
    r"""
    \#\s*(?:include|define|if|ifn?def|endif|else|elif|undef|pragma)\b        # C preprocessor
    |//|/\*|\*/|\*\s|\#!|@\w+(?:\(|$)                                      # comments, decorators
    |(?:def|class|async\s+def|elif|if|for|while|with|try|except|match)\b[^.!?]*:\s*(?:\#.*)?$
    |(?:import|from)\s+[\w.]+(?:\s+import\b|\s+as\b|\s*$|\s*,)
    |(?:return|raise|assert|yield|del|pass|break|continue|else|finally|global)\b[^.,!?]*:?$
    |(?:public|private|protected|static|const|constexpr|inline|template|using|namespace|typedef
      |struct|enum|virtual|extern|func|fn|let|var|val|package|impl|pub)\s[^.!?]*[;{(=<>,]$
    |[\]})]+[;,)]*\s*(?:else\b.*)?$
    |["'][^"']*["']\s*[:,]                                                   # literals in lists
    """,
    re.VERBOSE,
)


def _is_code_line(line: str, operators: list[str]) -> bool:
    """`line` has no white space at its ends; `operators` are those that the text holds at all."""
    if line.endswith(_ENDS):
        return True
    for operator in operators:
        if line.find(operator) > 0:
            return True
    if line.endswith(_CALL_ENDS) and _CALL.search(line):
        return True
    return _HEAD.match(line) is not None or ("=" in line and _ASSIGNMENT.match(line) is not None)


def code_share(text: str) -> float:
    """Share of the bytes (margins aside) that stand in lines of code, 0 to 1; 0 for few lines."""
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if len(lines) < MIN_LINES:
        return 0.0
    if len(lines) > SAMPLE_LINES:
        part = SAMPLE_LINES // 3
        middle = (len(lines) - part) // 2
        lines = lines[:part] + lines[middle : middle + part] + lines[-part:]
    sample = "\n".join(lines)
    operators = [operator for operator in _OPERATORS if operator in sample]
    total = of_code = 0
    for line in map(str.strip, lines):
        size = len(line) if line.isascii() else len(line.encode("utf-8", "replace"))
        total += size
        if len(line) <= MAX_LINE_CHARS and _is_code_line(line, operators):
            of_code += size
    return of_code / total


def may_be_code(text: str) -> bool:
    """Whether a text has as many of the marks of code as code has."""
    return sum(map(text.count, _MARKS)) >= MIN_MARK_SHARE * len(text) > 0


def is_code(text: str) -> bool:
    """Whether a text is mostly source code."""
    return may_be_code(text) and code_share(text) >= MIN_CODE_SHARE
