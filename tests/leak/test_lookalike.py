from __future__ import annotations

import gzip
import json
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.leak.arithmetic import ANNOTATION, evaluate, problems, render
from skywright.leak.lookalike import RefusedError, look_alike
from skywright.leak.names import MEN, WOMEN, draw_names, names_in, replace_names

GSM8K = Path(__file__).parents[3] / "shared/data/bench/gsm8k/test.jsonl.gz"

HOUSE = (
    "Josh buys a house for $80,000 and then puts in $50,000 in repairs. This increased the value of"
    " the house by 150%. How much profit did he make?",
    "The cost came out to 80,000+50,000=$<<80000+50000=130000>>130,000\n"
    "He increased the value of the house by 80,000*1.5=<<80000*1.5=120000>>120,000\n"
    "So the new value of the house is 120,000+80,000=$<<120000+80000=200000>>200,000\n"
    "So he made a profit of 200,000-130,000=$<<200000-130000=70000>>70,000\n#### 70000",
)


@given(st.integers(0, 10**6))
def test_a_look_alike_computes_the_same_thing_with_other_numbers(seed: int) -> None:
    made = look_alike(*HOUSE, seed)
    price, repairs = (int(n.replace(",", "")) for n in re.findall(r"\$([\d,]+)", made.question))
    percent = int(re.findall(r"(\d+)%", made.question)[0])
    profit = price + price * Fraction(percent, 100) - price - repairs
    assert made.answer.endswith(f"\n#### {profit}")
    assert price > repairs
    assert not re.search(r"\bJosh\b", made.question + made.answer)
    assert not problems(made.answer)


def test_the_same_seed_gives_the_same_look_alike() -> None:
    assert look_alike(*HOUSE, 5) == look_alike(*HOUSE, 5)
    assert look_alike(*HOUSE, 5) != look_alike(*HOUSE, 6)


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        # "half" may be the 2 of the question: neither may change.
        ("A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts?",
         "It takes 2/2=<<2/2=1>>1 bolt of white\nSo 2+1=<<2+1=3>>3 bolts\n#### 3",
         "no number of the question may change"),
        ("Ann has 9 cats. Each sees 3 mice. How many mice?", "9*3=<<9*3=28>>28\n#### 28",
         "not exact arithmetic"),
        ("A cinema has 17 rows. How many seats are there?",
         "It has 17*19=<<17*19=323>>323 seats\n#### 323", "not explained"),
        ("How much is 17 and 38?", "It is 55.\n#### 55", "not exact arithmetic"),
        # 18 is a number of the question and a result: which one is meant cannot be told.
        ("Tom has 29 pens, loses 11, and finds 18. How many pens, and how many with those of Ben,"
         " who has 33?", "29-11=<<29-11=18>>18\n18+33=<<18+33=51>>51\n#### 51", "no draw fits"),
        # 44 guests are 15 + 29 without any expression saying so.
        ("Of 44 guests 15 want soup for $3, and 29 want fish for $9. What do they pay?",
         "15*3=<<15*3=45>>45\n29*9=<<29*9=261>>261\n45+261=<<45+261=306>>306\n#### 306",
         "hangs on others"),
    ],
)  # fmt: skip
def test_what_cannot_be_redrawn_safely_is_refused(question: str, answer: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        look_alike(question, answer, 0)


def test_a_number_that_no_expression_uses_stays() -> None:
    question = "Six teenagers score 80 goals in 13 games, and then 45 more. How many goals?"
    answer = "They score 80 + 45 = <<80+45=125>>125 goals.\n#### 125"
    for seed in range(20):
        made = look_alike(question, answer, seed).question
        assert made.startswith("Six teenagers")
        assert "in 13 games" in made


def gsm8k() -> list[tuple[str, str]]:
    if not GSM8K.is_file():
        pytest.skip("the GSM8K test split is not beside the repository")
    with gzip.open(GSM8K, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [(row["question"], row["answer"]) for row in rows]


def test_every_look_alike_of_gsm8k_holds_and_nothing_else_changed() -> None:
    made = refused = 0
    for number, (question, answer) in enumerate(gsm8k()[:400]):
        try:
            new = look_alike(question, answer, number)
        except RefusedError:
            refused += 1
            continue
        made += 1
        assert not problems(new.answer), new
        final = new.answer.rpartition("#### ")[2]
        assert final != answer.rpartition("#### ")[2]
        assert evaluate(final.replace(",", "")) >= 0
        assert len(ANNOTATION.findall(new.answer)) == len(ANNOTATION.findall(answer))
        # Without numbers and names the text is the same.
        for old_text, new_text in ((question, new.question), (answer, new.answer)):
            assert skeleton(old_text) == skeleton(new_text)
        old_names, new_names = (names_in(q) for q in (question, new.question))
        assert not set(old_names) & set(new_names)
        assert [n in WOMEN for n in old_names] == [n in WOMEN for n in new_names]
    assert made > 180, (made, refused)


def skeleton(text: str) -> str:
    names = replace_names(text, dict.fromkeys((*WOMEN, *MEN), "@"))
    words = r"two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty"
    return re.sub(rf"[\d,.]*\d|(?i:\b(?:{words})\b)", "0", names)


def test_problems_finds_what_is_wrong_in_solutions() -> None:
    good = "a <<2+3=5>>5\nb <<5*4=20>>20\n#### 20"
    assert not problems(good)
    assert problems(good.replace("=5>>5", "=6>>6"))
    assert problems(good.replace(">>5\n", ">>6\n"))
    assert problems(good.replace("#### 20", "#### 21"))
    assert problems(good.replace("\n#### 20", ""))
    assert problems(good.replace("<<2+3", "<<2+x"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("2+3*4", 14), ("(2+3)*4", 20), ("-2+10/4", Fraction(1, 2)), (".5*8", 4), ("1,000-1", 999),
     ("8-3-2", 3), ("8/4/2", 1)],
)  # fmt: skip
def test_arithmetic_is_exact(text: str, value: Fraction) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize("text", ["", "2+", "2x3", "(2", "2)", "__import__('os')", "2**9", "2 3"])
def test_anything_but_arithmetic_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        evaluate(text)


@given(st.integers(0, 10**7), st.sampled_from(["7", "7,000", "7.50", ".5", "70.25"]))
def test_a_rendered_number_reads_back(number: int, like: str) -> None:
    decimals = len(like.partition(".")[2])
    value = Fraction(number, 10**decimals)
    text = render(value, like)
    assert text is not None
    assert evaluate(text) == value


@given(st.integers(0, 1000))
def test_new_names_are_distinct_and_none_stays(seed: int) -> None:
    present = ["Tom", "Mary", "John", "Sarah"]
    drawn = draw_names(present, random.Random(seed))
    assert len(set(drawn.values()) | set(present)) == 8
    assert [drawn[n] in WOMEN for n in present] == [False, True, False, True]
