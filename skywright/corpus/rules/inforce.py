"""The rules and edits that a recipe puts in force, by source and language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from skywright.config import suggest
from skywright.corpus import plugins
from skywright.corpus.config import AddedRule, EditsConfig, Lang, RuleChanges, RulesConfig
from skywright.corpus.edits.lines import DEFAULT_EDITS
from skywright.corpus.edits.lines import NAMES as EDITS
from skywright.corpus.rules.decide import USER, Rule
from skywright.corpus.rules.presets import DEFAULT_PRESETS, PRESETS
from skywright.corpus.signals import SIGNALS
from skywright.errors import UserError

LANGS: dict[Lang, str] = {
    "en": "en", "zh-Hans": "zh", "zh-Hant": "zh", "code": "code", "other": "other",
}  # fmt: skip
"""Languages of a corpus, and which defaults each has."""

InForce = dict[str, dict[str, tuple[Rule, ...]]]


def rules_in_force(
    config: RulesConfig,
    sources: Sequence[str],
    signals: Sequence[str] = (),
    folder: Path | None = None,
) -> InForce:
    """The rules of each source and language: presets, the recipe's own, and its changes.

    `signals` are the names of the user's signals; `folder` is where the modules of user rules are
    looked for (default: the working folder). Raises UserError for a preset, rule or signal that
    does not exist.
    """
    added = [_added(rule, signals, folder or Path()) for rule in config.add]
    _check(config, added)
    return {
        source: {lang: _of(config, source, lang, added) for lang in LANGS}
        for source in sorted(set(sources))
    }


def _added(rule: AddedRule, signals: Sequence[str], folder: Path) -> tuple[AddedRule, Rule]:
    where = f"rules.add.{rule.name}"
    if rule.function is not None:
        function = plugins.find(rule.function, folder, where)
        return rule, Rule(name=rule.name, action=rule.action, function=function)
    known = [*SIGNALS, *(USER + name for name in signals)]
    if rule.signal not in known:
        hint = suggest(rule.signal, known, "the signals")
        raise UserError(f"{where}: no signal {rule.signal!r}; {hint}")
    return rule, Rule(
        name=rule.name, signal=rule.signal, op=rule.op, threshold=rule.threshold,
        action=rule.action,
    )  # fmt: skip


def _presets(config: RulesConfig, source: str, lang: Lang) -> tuple[str, ...]:
    """The presets of a source and language: the source's own, the language's, the default."""
    for change in (config.source.get(source), config.lang.get(lang)):
        if change is not None and change.presets is not None:
            return change.presets
    return DEFAULT_PRESETS.get(LANGS[lang], ())


def _of(
    config: RulesConfig, source: str, lang: Lang, added: Sequence[tuple[AddedRule, Rule]]
) -> tuple[Rule, ...]:
    rules = [rule for name in _presets(config, source, lang) for rule in PRESETS[name]]
    rules += [
        rule
        for wish, rule in added
        if (not wish.lang or lang in wish.lang) and (not wish.source or source in wish.source)
    ]
    unchanged = RuleChanges()
    for change in (config.lang.get(lang, unchanged), config.source.get(source, unchanged)):
        rules = _changed(rules, change)
    return tuple(rules)


def _changed(rules: Sequence[Rule], change: RuleChanges) -> list[Rule]:
    if "*" in change.off:
        return []
    return [
        rule.model_copy(
            update={
                "threshold": change.thresholds.get(rule.name, rule.threshold),
                "action": "drop" if rule.name in change.drop
                else "tag" if rule.name in change.tag else rule.action,
            }
        )
        for rule in rules
        if rule.name not in change.off and (change.only is None or rule.name in change.only)
    ]  # fmt: skip


def _check(config: RulesConfig, added: Sequence[tuple[AddedRule, Rule]]) -> None:
    """Raises UserError when a change names a rule or preset that does not exist."""
    preset_rules = [rule for rules in PRESETS.values() for rule in rules]
    known = {rule.name for rule in [*preset_rules, *(rule for _, rule in added)]}
    twice = {rule.name for rule in preset_rules} & {rule.name for _, rule in added}
    if twice:
        raise UserError(f"rules.add: {sorted(twice)[0]!r} is a preset's rule; give it another name")
    for where, change in _changes(config):
        for preset in change.presets or ():
            if preset not in PRESETS:
                raise UserError(
                    f"{where}.presets: no preset {preset!r}; the presets are {', '.join(PRESETS)}"
                )
        named = {*change.off, *change.thresholds, *change.drop, *change.tag, *(change.only or ())}
        unknown = named - {"*"} - known
        if unknown:
            name = sorted(unknown)[0]
            hint = suggest(name, sorted(known), "the rules")
            raise UserError(f"{where}: no rule is called {name!r}; {hint}")


def _changes(config: RulesConfig) -> list[tuple[str, RuleChanges]]:
    by_lang = [(f"rules.lang.{name}", change) for name, change in config.lang.items()]
    return by_lang + [(f"rules.source.{name}", change) for name, change in config.source.items()]


def edits_in_force(
    config: EditsConfig, sources: Sequence[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The names of the line rules by source and language, in the order of their precedence.

    Raises UserError when the recipe names an edit that does not exist.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for changes in (config.lang, config.source):
        for where, wanted in changes.items():
            for name in (*wanted.on, *wanted.off):
                if name not in (*EDITS, "*"):
                    raise UserError(
                        f"edits, {where}: no edit {name!r}; the edits are {', '.join(EDITS)}"
                    )
    for source in sorted(set(sources)):
        found[source] = {}
        for lang in LANGS:
            on = set(DEFAULT_EDITS.get(LANGS[lang], ()))
            for change in (config.lang.get(lang), config.source.get(source)):
                if change is not None:
                    on = set() if "*" in change.off else on
                    on = (on | set(change.on)) - set(change.off)
            found[source][cast(str, lang)] = tuple(name for name in EDITS if name in on)
    return found
