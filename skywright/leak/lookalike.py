"""A look-alike of a worked school problem: other numbers, other names, the same computation.

The `<<expression=value>>` annotations of a solution are a computation graph. Its leaves are
numbers of the question. New leaves are drawn, every value is computed again, and each number in
question and solution is written anew. Whatever cannot be explained is refused: a look-alike that
may be wrong is not made.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from skywright.leak.arithmetic import (
    ANNOTATION,
    FINAL,
    WORDS,
    Expression,
    evaluate,
    false_equations,
    parse_number,
    problems,
    render,
    split_expression,
)
from skywright.leak.names import draw_names, names_in, replace_names
from skywright.leak.question import Mention, Variable, mentions, reserved_constants, variables

TRIES = 400
"""Draws before an item is given up. Of the 1,319 test items of GSM8K 2,000 draws make 676
look-alikes instead of 670, in three times the time."""

_WORD_OF = {value: word for word, value in WORDS.items()}


class RefusedError(Exception):
    """The item cannot be redrawn safely; the message is the reason, one of a few."""


@dataclass(frozen=True)
class LookAlike:
    """A new problem and its worked solution."""

    question: str
    answer: str


State = tuple[Sequence[Fraction], list[Fraction]]  # new variables, new results so far
Candidate = Callable[[State], Fraction]


@dataclass(frozen=True)
class _Step:
    """One annotation: its expression, and for each literal all that it may stand for."""

    expression: Expression
    candidates: tuple[tuple[Candidate, ...], ...]
    value: Fraction
    value_text: str


@dataclass(frozen=True)
class _Slot:
    """A number in the text of the solution, outside expressions."""

    mention: Mention
    candidates: tuple[Candidate, ...]


def _from_variable(place: int, change: Callable[[Fraction], Fraction]) -> Candidate:
    return lambda state: change(state[0][place])


def _from_result(place: int) -> Candidate:
    return lambda state: state[1][place]


def _fixed(value: Fraction) -> Candidate:
    return lambda _: value


def _same(value: Fraction) -> Fraction:
    return value


_PERCENT: tuple[Callable[[Fraction], Fraction], ...] = (
    lambda p: p / 100,
    lambda p: 1 - p / 100,
    lambda p: 1 + p / 100,
    lambda p: 100 - p,
    lambda p: 100 + p,
)


def _candidates(
    value: Fraction,
    leaves: Sequence[Variable],
    results: Sequence[Fraction],
    reserved: set[Fraction],
) -> tuple[Candidate, ...]:
    """All that a number of this value may stand for."""
    found: list[Candidate] = []
    for place, leaf in enumerate(leaves):
        found += [_from_variable(place, c) for c in _changes(leaf) if c(leaf.value) == value]
    found += [_from_result(place) for place, result in enumerate(results) if result == value]
    if value in reserved:
        found.append(_fixed(value))
    if not found:
        raise RefusedError("a number of the solution is not explained")
    return tuple(found)


def _changes(leaf: Variable) -> tuple[Callable[[Fraction], Fraction], ...]:
    """What an expression may make of a number of the question without writing it down."""
    if leaf.percent:
        return (_same, *_PERCENT)
    return (_same, _PERCENT[0]) if leaf.cents else (_same,)


def _only_used(leaves: Sequence[Variable], answer: str) -> list[Variable]:
    """The leaves, those that no expression uses held fixed.

    "Three teenagers", all named, must stay three. Raises RefusedError if such a number is the sum
    of two that may change: it would not hold any more.
    """
    literals = {
        parse_number(literal)
        for match in ANNOTATION.finditer(answer)
        for literal in split_expression(match.group(1)).literals
    }
    found = []
    for leaf in leaves:
        if literals.isdisjoint(change(leaf.value) for change in _changes(leaf)):
            others = [other.value for other in leaves if other is not leaf and not other.frozen]
            if any(a + b == leaf.value for a, b in itertools.combinations(others, 2)):
                raise RefusedError("a number that is not used hangs on others")
            leaf = replace(leaf, frozen=True)
        found.append(leaf)
    return found


def _agreed(candidates: Sequence[Candidate], state: State) -> Fraction | None:
    """The new value, if all that the number may stand for have the same."""
    values = {candidate(state) for candidate in candidates}
    return values.pop() if len(values) == 1 else None


def _read_steps(
    answer: str, leaves: Sequence[Variable], reserved: set[Fraction]
) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    results: list[Fraction] = []
    for match in ANNOTATION.finditer(answer):
        expression = split_expression(match.group(1).strip())
        value_text = match.group(2).strip()
        values = [parse_number(literal) for literal in expression.literals]
        for leaf in leaves:
            # x * x of one number is rarer than a number that equals a constant nobody wrote.
            if not leaf.frozen and values.count(leaf.value) > 1:
                raise RefusedError("a number stands twice in one expression")
        found = tuple(_candidates(value, leaves, results, reserved) for value in values)
        steps.append(_Step(expression, found, parse_number(value_text), value_text))
        results.append(steps[-1].value)
    return tuple(steps)


def _read_slots(
    answer: str, leaves: Sequence[Variable], steps: Sequence[_Step], reserved: set[Fraction]
) -> tuple[_Slot, ...]:
    annotations = list(ANNOTATION.finditer(answer))
    results = [step.value for step in steps]
    final = FINAL.search(answer)
    slots = []
    for mention in mentions(answer):
        if any(a.start() <= mention.start < a.end() for a in annotations):
            continue
        behind = [i for i, a in enumerate(annotations) if a.end() == mention.start]
        is_final = final is not None and mention.start >= final.start()
        candidates: tuple[Candidate, ...]
        if behind:
            candidates = (_from_result(behind[0]),)
        elif is_final and mention.value == results[-1]:
            candidates = (_from_result(len(results) - 1),)
        else:
            candidates = _candidates(mention.value, leaves, results, reserved)
        slots.append(_Slot(mention, candidates))
    return tuple(slots)


def _draw_value(leaf: Variable, random_state: random.Random) -> Fraction:
    """A new value as long and as round as the old one, at most twice and at least half of it."""
    scaled = int(leaf.value * 10**leaf.decimals)
    unit = 1
    while scaled % (unit * 10) == 0:
        unit *= 10
    if scaled // unit % 5 == 0:
        unit *= 5
    digits = len(str(scaled))
    low = max(10 ** (digits - 1), (scaled + 1) // 2, 2)
    high = min(10**digits - 1, 2 * scaled)
    if leaf.percent and leaf.value <= 100:
        high = min(high, 95 * 10**leaf.decimals)
    if leaf.is_word:
        high = min(high, 20)
    low, high = -(-low // unit), high // unit
    if low > high:
        return leaf.value
    return Fraction(random_state.randint(low, high) * unit, 10**leaf.decimals)


def _same_order(old: Sequence[Fraction], new: Sequence[Fraction]) -> bool:
    """Whether the numbers of the question compare as before, so that "more" stays more."""
    order = sorted(range(len(old)), key=lambda i: old[i])
    return all(new[a] < new[b] for a, b in itertools.pairwise(order))


def _compute(steps: Sequence[_Step], new: Sequence[Fraction]) -> tuple[list[Fraction], list[str]]:
    """New results and new annotation texts. Raises RefusedError if a value does not suit."""
    results: list[Fraction] = []
    texts = []
    for step in steps:
        literals = []
        for candidates, old in zip(step.candidates, step.expression.literals, strict=True):
            value = _agreed(candidates, (new, results))
            text = None if value is None else _render_literal(value, old)
            if text is None:
                raise RefusedError("a number may stand for two things")
            literals.append(text)
        expression = step.expression.text(literals)
        result = evaluate(expression)
        text = render(result, step.value_text)
        if text is None or (result == 0) != (step.value == 0) or (result == 1) != (step.value == 1):
            raise RefusedError("a result is not of the kind it was")
        if len(str(int(result))) > len(str(int(step.value))) + 1:
            raise RefusedError("a result is not of the kind it was")
        results.append(result)
        texts.append(f"<<{expression}={text}>>")
    return results, texts


def _render_literal(value: Fraction, like: str) -> str | None:
    """As `render`, but decimals of a share may change (.5 and .25 are one kind of number)."""
    text = render(value, like)
    if text is None and "." in like:
        text = render(value, ("" if like.startswith(".") else "0") + ".00")
    return text


def _write_mention(mention: Mention, value: Fraction) -> str:
    if value == mention.value:
        return mention.text
    if mention.is_word:
        if value.denominator != 1 or int(value) not in _WORD_OF or value < 2:
            raise RefusedError("a number word has no word")
        word = _WORD_OF[int(value)]
        return word.capitalize() if mention.text[0].isupper() else word
    text = _render_literal(value, mention.text)
    if text is None or (mention.percent and mention.value <= 100 < value):
        raise RefusedError("a result is not of the kind it was")
    if (value == 1) != (mention.value == 1):
        raise RefusedError("singular and plural would change")
    return text


def _splice(text: str, pieces: Sequence[tuple[int, int, str]]) -> str:
    written, at = [], 0
    for start, end, new in sorted(pieces):
        written += [text[at:start], new]
        at = end
    return "".join([*written, text[at:]])


def _articles_fit(leaves: Sequence[Variable], new: Sequence[Fraction]) -> bool:
    return not any(
        leaf.after_a and (str(int(v)).startswith("8") or int(v) in (11, 18))
        for leaf, v in zip(leaves, new, strict=True)
    )


def look_alike(question: str, answer: str, seed: int) -> LookAlike:
    """A new problem of the same form, verified by `problems`, from a GSM8K item.

    seed: decides all draws. Raises `RefusedError` with the reason if it cannot be done safely.
    """
    if problems(answer):
        raise RefusedError("the annotations are not exact arithmetic")
    leaves = _only_used(variables(question, answer), answer)
    free = [place for place, leaf in enumerate(leaves) if not leaf.frozen]
    if not free:
        raise RefusedError("no number of the question may change")
    reserved = reserved_constants(question + "\n" + answer)
    steps = _read_steps(answer, leaves, reserved)
    slots = _read_slots(answer, leaves, steps, reserved)
    random_state = random.Random(seed)
    reason = "no draw"
    for _ in range(TRIES):
        new = [leaf.value for leaf in leaves]
        for place in free:
            new[place] = _draw_value(leaves[place], random_state)
        try:
            made = _write(question, answer, leaves, new, steps, slots)
        except (RefusedError, ZeroDivisionError) as refusal:
            reason = str(refusal) or "division by zero"
            continue
        if problems(made.answer):
            raise RefusedError("the new solution does not hold")
        if set(false_equations(made.answer)) and not false_equations(answer):
            raise RefusedError("an equation without annotation would not hold")
        drawn = draw_names(names_in(question + "\n" + answer), random_state)
        return LookAlike(replace_names(made.question, drawn), replace_names(made.answer, drawn))
    raise RefusedError(f"no draw fits: {reason}")


def _write(
    question: str,
    answer: str,
    leaves: Sequence[Variable],
    new: Sequence[Fraction],
    steps: Sequence[_Step],
    slots: Sequence[_Slot],
) -> LookAlike:
    """Question and solution with new numbers. Raises RefusedError if the draw does not suit."""
    old = [leaf.value for leaf in leaves]
    if not _same_order(old, new) or not _articles_fit(leaves, new):
        raise RefusedError("the order of the question's numbers would change")
    results, texts = _compute(steps, new)
    final = results[-1]
    if final == steps[-1].value:
        raise RefusedError("the answer stays the same")
    value_of = dict(zip(old, new, strict=True))
    asked = _splice(
        question,
        [(m.start, m.end, _write_mention(m, value_of[m.value])) for m in mentions(question)],
    )
    pieces = [
        (match.start(), match.end(), text)
        for match, text in zip(ANNOTATION.finditer(answer), texts, strict=True)
    ]
    for slot in slots:
        value = _agreed(slot.candidates, (new, results))
        if value is None:
            raise RefusedError("a number may stand for two things")
        pieces.append((slot.mention.start, slot.mention.end, _write_mention(slot.mention, value)))
    return LookAlike(asked, _splice(answer, pieces))
