"""Exact arithmetic of worked solutions: numbers in text, `<<expression=value>>` annotations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

WORDS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
}  # fmt: skip
NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
FINAL = re.compile(r"\n#### (.+?)\s*$")
_LITERAL = re.compile(NUMBER)
_EXPRESSION_TOKEN = re.compile(rf"\s*({NUMBER}|[-+*/()])")


def parse_number(text: str) -> Fraction:
    """The exact value of digits with optional thousands commas and decimals."""
    return Fraction(text.replace(",", ""))


@dataclass(frozen=True)
class Expression:
    """An expression cut at its numbers: `parts[i] literal parts[i + 1]`."""

    parts: tuple[str, ...]
    literals: tuple[str, ...]

    def text(self, literals: Sequence[str]) -> str:
        """The expression with other literals in the places of its own."""
        woven = [self.parts[0]]
        for literal, part in zip(literals, self.parts[1:], strict=True):
            woven += [literal, part]
        return "".join(woven)


def split_expression(text: str) -> Expression:
    """Cut an expression at its numbers."""
    matches = list(_LITERAL.finditer(text))
    ends = [0, *(match.end() for match in matches)]
    starts = [*(match.start() for match in matches), len(text)]
    return Expression(
        tuple(text[end:start] for end, start in zip(ends, starts, strict=True)),
        tuple(match.group() for match in matches),
    )


class _Parser:
    """Recursive descent over + - * / ( ) and numbers, in exact fractions."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _EXPRESSION_TOKEN.match(text, at)
            if not match:
                raise ValueError(f"not arithmetic: {text!r}")
            self.tokens.append(match.group(1))
            at = match.end()
        self.at = 0

    def _next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._next()
        self.at += 1
        return token

    def total(self) -> Fraction:
        value = self.product()
        while self._next() in ("+", "-"):
            value = value + self.product() if self._take() == "+" else value - self.product()
        return value

    def product(self) -> Fraction:
        value = self.atom()
        while self._next() in ("*", "/"):
            value = value * self.atom() if self._take() == "*" else value / self.atom()
        return value

    def atom(self) -> Fraction:
        token = self._take()
        if token == "(":
            value = self.total()
            if self._take() != ")":
                raise ValueError("a parenthesis is open")
            return value
        if token == "-":
            return -self.atom()
        if not token or token in "+*/)":
            raise ValueError("a number is missing")
        return parse_number(token)


def evaluate(text: str) -> Fraction:
    """Exact value of an expression of numbers and + - * / ( ).

    Raises ValueError if it is anything else, ZeroDivisionError if it divides by zero.
    """
    parser = _Parser(text)
    value = parser.total()
    if parser.at != len(parser.tokens):
        raise ValueError(f"not arithmetic: {text!r}")
    return value


def render(value: Fraction, like: str) -> str | None:
    """`value` written as the number `like` is (commas, decimals); None if it does not fit.

    A whole number stays whole; with decimals as many are kept ("2.50"), but "1.5" may become
    "2".
    """
    whole, dot, decimals = like.partition(".")
    scaled = value * 10 ** len(decimals)
    if scaled.denominator != 1 or value < 0:
        return None
    digits = str(scaled.numerator).rjust(len(decimals) + 1, "0")
    head, tail = (digits, "") if not dot else (digits[: -len(decimals)], digits[-len(decimals) :])
    if "," in whole or (len(whole) > 3 and "," in like):
        head = f"{int(head):,}"
    if not dot or (len(tail) == 1 and tail == "0"):
        return head
    return f"{'' if whole == '' and head == '0' else head}.{tail}"


_EQUATION = re.compile(rf"((?:{NUMBER}|[-+*/() $])+)=\s*\$?\s*({NUMBER})(?![\d/*+%-])")


def false_equations(text: str) -> list[str]:
    """Equations written in the text, annotations left out, that do not hold."""
    plain = re.sub(r"<<[^<>]*>>", "", text)
    wrong = []
    for match in _EQUATION.finditer(plain):
        left = match.group(1).replace("$", "").strip()
        if not re.search(r"\d\s*[-+*/]\s*[\d(.]", left):
            continue
        try:
            if evaluate(left) != parse_number(match.group(2)):
                wrong.append(match.group())
        except (ValueError, ZeroDivisionError):
            continue
    return wrong


def problems(answer: str) -> list[str]:
    """What is wrong with a worked solution's arithmetic; empty if nothing is.

    Every annotation must evaluate to its value exactly, the text after an annotation must repeat
    the value, and the final answer must be the value of one of them.
    """
    found = []
    values = []
    for match in ANNOTATION.finditer(answer):
        try:
            stated = parse_number(match.group(2).strip())
            if evaluate(match.group(1)) != stated:
                found.append(f"{match.group()} does not hold")
            values.append(stated)
        except (ValueError, ZeroDivisionError):
            found.append(f"{match.group()} is not arithmetic")
            continue
        after = _LITERAL.match(answer, match.end())
        if after and parse_number(after.group()) != stated:
            found.append(f"{match.group()} is followed by {after.group()}")
    if answer.count("<<") != len(values):
        found.append("an annotation cannot be read")
    final = FINAL.search(answer)
    if final is None:
        found.append("no final answer")
    else:
        try:
            if parse_number(final.group(1)) not in values:
                found.append(f"the final answer {final.group(1)} is no annotation's value")
        except ValueError:
            found.append(f"the final answer {final.group(1)!r} is no number")
    return found
