"""Edits, tags, a user's own signals and rules, and what-if, on a small corpus that is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from skywright.corpus.config import CorpusConfig
from skywright.corpus.edits import restore
from skywright.corpus.ledger import why
from skywright.corpus.pipeline import build
from skywright.corpus.rules.whatif import parse, whatif
from skywright.corpus.waterfall import alarm_sentence, rule_samples, waterfall
from skywright.errors import UserError

PLUGIN = """
import numpy as np

def shouts(texts):
    return [text.count("!") / max(len(text), 1) for text in texts.to_pylist()]

def has_no_river(signals):
    return np.array([value > 0.5 for value in signals["digit_share"].to_pylist()], dtype=bool)
"""


def story(topic: str, sentences: int) -> str:
    """English text that no default rule drops, of so many sentences, a line each."""
    return "\n".join(
        f"The {topic} of house {n} was seen by the people that have lived there with {n * n + 3} "
        f"others, and the {topic} was to be kept for as long as the {n + 7} owners of it wished."
        for n in range(sentences)
    )


def lines(path: Path, texts: list[str], lang: str) -> dict[str, Any]:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return {"source": path.stem, "path": str(path), "lang": lang}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "my_rules.py").write_text(PLUGIN)
    texts = [
        story("garden", 6) + "\n12 likes",
        story("harbour", 3),
        story("market", 5) + "!" * 80,
        "12 likes\n14 shares",
        "1234567 " * 100 + story("winter", 3),
        "Buy now the best.",
    ]
    config = CorpusConfig.model_validate(
        {
            "inputs": [
                lines(folder / "web.jsonl", texts, "en"),
                lines(folder / "junk.jsonl", [f"too short {n}" for n in range(25)], "en"),
            ],
            "signals": {"shouts": "my_rules:shouts"},
            "rules": {
                "add": [
                    {"name": "shouting", "signal": "user.shouts", "threshold": 0.05},
                    {"name": "numbers", "function": "my_rules:has_no_river", "source": ["web"]},
                    {"name": "digits", "signal": "digit_share", "threshold": 0.01,
                     "action": "tag"},
                ],
                "lang": {"en": {"presets": ["gopher"], "thresholds": {"gopher_tokens_min": 60},
                                "off": ["gopher_letter_tokens",
                                        *(f"gopher_top_{n}gram" for n in range(2, 5)),
                                        *(f"gopher_dup_{n}gram" for n in range(5, 11))]}},
            },
            "edits": {"lang": {"en": {"on": ["refinedweb_counter"]}}},
            "partitions": 2,
        }
    )  # fmt: skip
    out = tmp_path_factory.mktemp("corpus")
    build(config, [], out, executor="inline", folder=folder)
    return out


def fates(folder: Path) -> list[str]:
    rows = pq.read_table(folder / "ledger.parquet").to_pylist()
    return [row["rule"] or "kept" for row in rows if row["source"] == "web"]


def test_rules_of_the_recipe_and_edits_decide(built: Path) -> None:
    assert fates(built) == [
        "kept", "kept", "shouting", "left_short", "numbers", "gopher_tokens_min",
    ]  # fmt: skip


def test_an_edited_document_can_be_put_together_again(built: Path) -> None:
    edits = [row for path in (built / "edits").glob("*") for row in pq.read_table(path).to_pylist()]
    documents = {
        row["id"]: row["text"]
        for path in (built / "documents").glob("*")
        for row in pq.read_table(path).to_pylist()
    }
    (row,) = [row for row in edits if row["id"] in documents]
    assert restore(documents[row["id"]], [row]) == story("garden", 6) + "\n12 likes"
    assert row["rule"] == "refinedweb_counter"
    assert waterfall(built)["edits"]["refinedweb_counter"]["documents"] == 2
    changed = [pq.read_table(path).num_rows for path in (built / "signals_edited").glob("*")]
    assert sum(changed) == 2  # only what was changed is measured again


def test_why_tells_what_was_cut(built: Path) -> None:
    rows = pq.read_table(built / "ledger.parquet").to_pylist()
    (record,) = [row["record"] for row in rows if row["kept"] and row["chars"] > 700]
    (answer,) = why(built, record)
    assert answer["edits"] == {"refinedweb_counter": 8}
    assert answer["sentence"].endswith("characters; refinedweb_counter cut 8.")


def test_tags_name_kept_documents_too(built: Path) -> None:
    tags = [row for path in (built / "tags").glob("*") for row in pq.read_table(path).to_pylist()]
    assert {row["rule"] for row in tags} == {"digits"}
    assert waterfall(built)["tags"] == {"digits": len(tags)}
    samples = rule_samples(built, "digits")
    assert {row["record"] for row in samples} <= {row["record"] for row in tags}
    assert samples[0]["excerpt"].startswith(("The garden", "The harbour"))  # a kept one first


def test_a_signal_of_another_length_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "my_signals.py").write_text("def one(texts):\n    return [1.0]\n")
    config = CorpusConfig.model_validate(
        {
            "inputs": [lines(tmp_path / "web.jsonl", [story("garden", 6), story("sea", 6)], "en")],
            "signals": {"one": "my_signals:one"},
            "partitions": 1,
        }
    )
    with pytest.raises(UserError, match="my_signals:one was given 2 texts"):
        build(config, [], tmp_path / "out", executor="inline", folder=tmp_path)
    assert not (tmp_path / "out" / "ledger.parquet").exists()


def test_whatif_tells_what_a_build_would_keep(built: Path) -> None:
    same = whatif(built, {})
    assert same["total"]["documents_before"] == same["total"]["documents_after"] == 2
    found = whatif(built, parse(["gopher_tokens_min=120", "shouting=off"]))
    assert found["newly_kept"]["documents"] == 1  # the market
    assert found["newly_dropped"]["documents"] == 1  # the harbour
    (example,) = found["newly_dropped"]["examples"]
    assert example["rule"] == "gopher_tokens_min"
    assert example["excerpt"].startswith("The harbour")
    assert "copies" in found["notes"][0]


def test_whatif_says_what_it_cannot_answer(built: Path) -> None:
    with pytest.raises(UserError, match="is an edit"):
        whatif(built, {"refinedweb_counter": None})
    with pytest.raises(UserError, match="called 'gopher_tokens'; did you mean 'gopher_tokens_min'"):
        whatif(built, {"gopher_tokens": 3.0})
    with pytest.raises(UserError, match="write rule=threshold"):
        parse(["gopher_tokens_min"])
    with pytest.raises(UserError, match="write rule=threshold"):
        parse(["gopher_tokens_min=nan"])
    with pytest.raises(UserError, match="finished corpus"):
        whatif(built / "documents", {})


def test_the_waterfall_counts_by_step_source_and_language_and_warns(built: Path) -> None:
    found = waterfall(built)
    cells = {(row["step"], row["source"], row["lang"]): row for row in found["by_step"]}
    assert cells["rules", "junk", "en"]["documents"] == 25
    assert cells["kept", "web", "en"]["tokens"] > 200
    assert sum(row["documents"] for row in found["by_step"]) == found["input_records"]
    (alarm,) = found["alarms"]
    assert (alarm["source"], alarm["kept"], alarm["step"]) == ("junk", 0, "rules")
    assert "'junk' keeps 0 of 25" in alarm_sentence(alarm)
    assert f"--rule rules/{alarm['rule']}" in alarm_sentence(alarm)
    assert rule_samples(built, f"rules/{alarm['rule']}")


def test_samples_of_a_rule_and_of_an_edit(built: Path) -> None:
    assert len(rule_samples(built, "gopher_tokens_min")) == 20
    assert rule_samples(built, "rules/shouting")[0]["excerpt"].startswith("The market")
    removed = {row["removed"] for row in rule_samples(built, "refinedweb_counter")}
    assert removed == {"12 likes", "12 likes\n", "14 shares"}
    with pytest.raises(UserError, match="cut nothing here"):
        rule_samples(built, "gopher_stop_words_")
