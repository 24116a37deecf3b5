from __future__ import annotations

from pathlib import Path

import pytest

from skywright.corpus import plugins
from skywright.corpus.config import EditsConfig, RulesConfig
from skywright.corpus.rules import PRESETS
from skywright.corpus.rules.inforce import edits_in_force, rules_in_force
from skywright.errors import UserError


def rules(value: dict[str, object]) -> dict[str, dict[str, list[str]]]:
    found = rules_in_force(RulesConfig.model_validate(value), ["a", "b"])
    return {s: {lang: [r.name for r in some] for lang, some in by.items()}
            for s, by in found.items()}  # fmt: skip


def test_presets_are_chosen_by_language_and_by_source() -> None:
    found = rules({"lang": {"en": {"presets": ["c4"]}}, "source": {"b": {"presets": ["code"]}}})
    assert found["a"]["en"] == [rule.name for rule in PRESETS["c4"]]
    assert found["b"]["en"] == found["b"]["zh-Hans"] == [rule.name for rule in PRESETS["code"]]
    assert found["a"]["zh-Hant"] == [rule.name for rule in PRESETS["zh"]]
    assert found["a"]["other"] == []


def test_a_tag_becomes_a_drop_and_a_drop_a_tag_by_recipe() -> None:
    config = {"lang": {"zh-Hans": {"drop": ["zh_mojibake"], "tag": ["chineseweb_chars_min"]}}}
    found = rules_in_force(RulesConfig.model_validate(config), ["a"])["a"]["zh-Hans"]
    actions = {rule.name: rule.action for rule in found}
    assert actions["zh_mojibake"] == "drop"
    assert actions["chineseweb_chars_min"] == "tag"
    assert actions["zh_ui_lines"] == "tag"  # precision below .95 in the audit


def test_what_does_not_exist_is_named() -> None:
    for value, message in (
        ({"lang": {"en": {"presets": ["gofer"]}}}, "no preset 'gofer'"),
        ({"lang": {"en": {"off": ["gofer"]}}}, "no rule is called 'gofer'"),
        ({"add": [{"name": "x", "signal": "char"}]}, "no signal 'char'"),
        ({"add": [{"name": "x", "signal": "user.mine"}]}, "no signal 'user.mine'"),
        ({"add": [{"name": "zh_mojibake", "signal": "chars"}]}, "is a preset's rule"),
        ({"add": [{"name": "x", "function": "nowhere:f"}]}, "no module 'nowhere'"),
        ({"add": [{"name": "x", "function": "nowhere"}]}, "is no `module:function`"),
    ):
        with pytest.raises(UserError, match=message):
            rules_in_force(RulesConfig.model_validate(value), ["a"])
    with pytest.raises(UserError, match="no edit 'zh_u'"):
        edits_in_force(EditsConfig.model_validate({"lang": {"en": {"on": ["zh_u"]}}}), ["a"])


def test_edits_are_switched_by_language_and_source() -> None:
    config = EditsConfig.model_validate(
        {"lang": {"en": {"on": ["c4_few_words"]}}, "source": {"b": {"off": ["*"]}}}
    )
    found = edits_in_force(config, ["a", "b"])
    assert "c4_few_words" in found["a"]["en"]
    assert found["b"]["en"] == ()
    assert found["a"]["code"] == ()


def test_a_plugin_is_its_source_and_is_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(x):\n    return 1\n")
    first = plugins.find("mine:f", tmp_path, "signals.f")
    (tmp_path / "mine.py").write_text("def f(x):\n    return 2\n")
    second = plugins.find("mine:f", tmp_path, "signals.f")
    assert first.sha256 != second.sha256
    assert (plugins.load(first, "")(0), plugins.load(second, "")(0)) == (1, 2)
    assert plugins.find("textwrap:dedent", tmp_path, "signals.d").source is None
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(UserError, match=r"broken\.py fails: SyntaxError"):
        plugins.find("broken:f", tmp_path, "signals.f")
    with pytest.raises(UserError, match="has no function 'g'"):
        plugins.find("mine:g", tmp_path, "signals.g")
