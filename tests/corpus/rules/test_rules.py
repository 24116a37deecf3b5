from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from skywright.corpus import rules, signals
from skywright.corpus.rules import DEFAULT_RULES, Rule, decide
from skywright.errors import UserError

CORPUS = Path(__file__).parents[4] / "shared" / "data" / "corpus"

SHORT = Rule(signal="chars", op="<", threshold=5, name="short")
LONG = Rule(signal="chars", op=">", threshold=8, name="long")
FEW = Rule(signal="tokens", op="<", threshold=2, name="few_tokens")


def test_the_first_failing_rule_in_order_is_named_with_its_value() -> None:
    measured = signals.measure(pa.array(["a", "a b c", "abcdefghi", "abcde", "a b c d e f"]))
    lang = pa.array(["en"] * 5)
    table = decide(measured, lang, {"en": [SHORT, FEW, LONG]})
    assert table.schema == rules.DECISIONS
    assert table.to_pylist() == [
        {"kept": False, "rule": "short", "value": 1.0, "threshold": 5.0},
        {"kept": True, "rule": None, "value": None, "threshold": None},
        {"kept": False, "rule": "few_tokens", "value": 1.0, "threshold": 2.0},
        {"kept": False, "rule": "few_tokens", "value": 1.0, "threshold": 2.0},
        {"kept": False, "rule": "long", "value": 11.0, "threshold": 8.0},
    ]
    table = decide(measured, lang, {"en": [LONG, FEW, SHORT]})
    assert table["rule"].to_pylist() == ["few_tokens", None, "long", "few_tokens", "long"]


def test_a_value_at_the_threshold_is_kept() -> None:
    measured = signals.measure(pa.array(["abcde", "abcdefgh"]))
    table = decide(measured, pa.array(["en", "en"]), {"en": [SHORT, LONG]})
    assert table["kept"].to_pylist() == [True, True]


def test_each_language_has_its_rules_and_scripts_of_one_language_share_them() -> None:
    measured = signals.measure(pa.array(["a"] * 5))
    lang = pa.array(["en", "zh-Hans", "zh-Hant", "zh", "code"])
    table = decide(measured, lang, {"en": [], "zh": [SHORT], "zh-Hant": [FEW], "code": []})
    assert table["rule"].to_pylist() == [None, "short", "few_tokens", "short", None]


def test_what_cannot_be_decided_is_refused_in_one_line() -> None:
    measured = signals.measure(pa.array(["a"]))
    with pytest.raises(UserError, match="no entry for language 'fr'"):
        decide(measured, pa.array(["fr"]), {"en": []})
    with pytest.raises(UserError, match="row 0 has no language"):
        decide(measured, pa.array([None], pa.string()), {"en": []})
    with pytest.raises(UserError, match="1 rows of signals but 2 languages"):
        decide(measured, pa.array(["en", "en"]), {"en": []})
    with pytest.raises(UserError, match="needs the signal 'chars'"):
        decide(measured.drop_columns(["chars"]), pa.array(["en"]), {"en": [SHORT]})
    with pytest.raises(ValidationError, match="no signal 'char'"):
        Rule(signal="char", op="<", threshold=1, name="x")


def test_an_empty_table_gives_an_empty_table() -> None:
    table = decide(
        signals.measure(pa.array([], pa.string())), pa.array([], pa.string()), DEFAULT_RULES
    )
    assert table.num_rows == 0
    assert table.schema == rules.DECISIONS


def test_preset_rules_have_one_name_each() -> None:
    for preset in DEFAULT_RULES.values():
        assert len({rule.name for rule in preset}) == len(preset)


@pytest.mark.parametrize(
    ("text", "lang", "rule"),
    [
        ("word " * 200, "en", "gopher_stop_words"),
        ("the cat and the dog sat with the bird\n" * 30, "en", "gopher_dup_lines"),
        ("Buy now! " * 3, "en", "gopher_tokens_min"),
        ("我们的产品是最好的，" * 40, "zh-Hans", "fineweb2_top_3gram"),
        ("【点击领取的是优惠】" * 3 + "。", "zh-Hans", "chineseweb_chars_min"),
        ("The price of the ticket is twenty pounds. " * 10, "zh-Hans", "chineseweb_han_share"),
        ("x = 1  # " + "y" * 2000, "code", "redpajama_max_line"),
    ],
)
def test_presets_drop_obvious_rubbish(text: str, lang: str, rule: str) -> None:
    table = decide(signals.measure(pa.array([text])), pa.array([lang]), DEFAULT_RULES)
    assert table["rule"].to_pylist() == [rule]


# Least share of clean documents that the web presets keep (measured, rounded down). Lists of short
# or formulaic texts are not here: for those a recipe switches rules off.
KEPT = {
    "en_news_2024_06": ("en", 0.99),
    "en_literature": ("en", 0.98),
    "en_peps_to_2024": ("en", 0.90),
    "en_wiki_2024_06": ("en", 0.90),
    "zh_tech_weekly_1_330": ("zh-Hans", 0.99),
    "zh_wiki": ("zh-Hans", 0.86),
    "zh_news_2022_2024": ("zh-Hans", 0.87),
    "code_python_2024_06": ("code", 0.98),
    "code_cpp_2024_06": ("code", 0.98),
}


@pytest.mark.parametrize("name", KEPT)
def test_presets_keep_clean_documents(name: str) -> None:
    path = CORPUS / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip("the development data is not beside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        texts = [json.loads(line)["text"] for line in stream]
    lang, least = KEPT[name]
    measured = signals.measure(pa.array(texts))
    table = decide(measured, pa.array([lang] * len(texts)), DEFAULT_RULES)
    assert sum(table["kept"].to_pylist()) / len(texts) >= least
