"""A small multiple-choice benchmark made by program: which worked solution is right?

Problems of one step in the form of GSM8K (Cobbe et al. 2021, arXiv 2110.14168): a question, a
solution with an annotation `<<5+3=8>>`, a last line `#### 8`. It asks for what training on such
solutions teaches first: which numbers to take, what they make, and to repeat the result. Problems
are drawn here, so no model has seen them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from skywright.engine.files import stable_hash
from skywright.evaluate.bench import MultipleChoiceItem

NAME = "worked arithmetic"
OPTIONS = 4
CHANCE = 1 / OPTIONS

_PEOPLE = ("Alice", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Henry", "Julia", "Kevin",
           "Laura", "Martin", "Nina", "Oscar", "Paula", "Robert", "Sarah", "Thomas")  # fmt: skip
_THINGS = ("apples", "books", "candles", "cards", "coins", "cookies", "eggs", "flowers", "marbles",
           "oranges", "pencils", "plates", "shells", "stamps", "stickers", "toys")  # fmt: skip
_TEMPLATES = (
    ("+", "{who} has {a} {things} and buys {b} more {things}. How many {things} does {who} have"
          " now?", "{who} now has {a} + {b} = {made} {things}."),
    ("+", "{who} finds {a} {things} in the morning and {b} {things} in the afternoon. How many"
          " {things} does {who} find in total?", "In total {who} finds {a} + {b} = {made}"
          " {things}."),
    ("-", "{who} has {a} {things} and gives {b} {things} to a friend. How many {things} does {who}"
          " have left?", "{who} has {a} - {b} = {made} {things} left."),
    ("-", "There were {a} {things} on the table. {who} took {b} of the {things}. How many {things}"
          " are still on the table?", "There are {a} - {b} = {made} {things} on the table."),
    ("*", "{who} buys {a} boxes with {b} {things} in each box. How many {things} does {who} buy?",
     "{who} buys {a} * {b} = {made} {things}."),
    ("*", "{who} sells {a} {things} for ${b} each. How much money does {who} get?",
     "{who} gets {a} * {b} = ${made}."),
)  # fmt: skip
_MAKE: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def _solution(
    template: str, who: str, things: str, sign: str, a: int, b: int, stated: int, repeated: int
) -> str:
    made = f"<<{a}{sign}{b}={stated}>>{repeated}"
    return f"{template.format(who=who, things=things, a=a, b=b, made=made)}\n#### {repeated}"


def _numbers(sign: str, draw: random.Random) -> tuple[int, int]:
    if sign == "*":
        return draw.randint(2, 9), draw.randint(2, 9)
    a, b = draw.randint(2, 40), draw.randint(2, 40)
    return (a, b) if sign == "+" else (a + b, b)


def _near(number: int, draw: random.Random, avoid: set[int]) -> int:
    """Another number with as many digits, so that no option stands out by its length."""
    low, high = (
        (2, 9) if number < 10 else (10 ** (len(str(number)) - 1), 10 ** len(str(number)) - 1)
    )
    near = [n for n in range(max(low, number - 5), min(high, number + 5) + 1) if n not in avoid]
    return draw.choice(near)


def make_item(seed: int, number: int, answer: int) -> MultipleChoiceItem:
    """Problem `number` of the benchmark, the right solution at place `answer`.

    The three wrong ones: a wrong result; a number that the question does not have (computed
    right); a right annotation with another result behind it.
    """
    draw = random.Random(int(stable_hash(["arithmetic", seed, number])[:16], 16))
    sign, question, solution = draw.choice(_TEMPLATES)
    who, things = draw.choice(_PEOPLE), draw.choice(_THINGS)
    a, b = _numbers(sign, draw)
    result = _MAKE[sign](a, b)
    # A difference keeps its sign: only numbers above b can stand for a.
    other = _near(a, draw, {a, b, *(range(b) if sign == "-" else ())})
    wrong = _near(result, draw, {result, _MAKE[sign](other, b)})
    options = [
        _solution(solution, who, things, sign, a, b, wrong, wrong),
        _solution(solution, who, things, sign, other, b, *[_MAKE[sign](other, b)] * 2),
        _solution(solution, who, things, sign, a, b, result, _near(result, draw, {result, wrong})),
    ]
    draw.shuffle(options)
    options.insert(answer, _solution(solution, who, things, sign, a, b, result, result))
    context = question.format(who=who, things=things, a=a, b=b) + "\n"
    return MultipleChoiceItem(
        stable_hash([seed, number, context])[:16], context, tuple(options), answer
    )


def make_benchmark(items: int, seed: int) -> list[MultipleChoiceItem]:
    """`items` problems; each place is right equally often (to one item)."""
    answers = [number % OPTIONS for number in range(items)]
    random.Random(seed).shuffle(answers)
    return [make_item(seed, number, answer) for number, answer in enumerate(answers)]
