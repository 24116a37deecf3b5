"""A recipe whose parts do not agree is refused before its first step, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from skywright.errors import UserError
from skywright.run import load_recipe, plan_steps
from skywright.run.steps import branch_config
from skywright.tokens import Plan, SourceSize

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/run/tiny.yaml"
LAPTOPS = ("recipes/laptop.yaml", "recipes/laptop-long.yaml")


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # paths of data are relative to the working folder


def problem(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        plan_steps(load_recipe(TINY, overrides))
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("path", LAPTOPS)
def test_the_shipped_recipes_agree_with_themselves(path: str) -> None:
    load_recipe(ROOT / path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.vocab_size=4096", "model.vocab_size: 4096, but tokenizer.vocab_size is 2048"),
        ("model.context_tokens=64", "train.sequence_tokens: 128 is more than"),
        ("tokens.sources.en.from=[nowhere]", "tokens.sources.en.from: there is no 'nowhere'"),
        ("tokens.sources.en.quality=[5, 10]", "tokens.sources.en.quality: there is no bin 10"),
        ("tokens.sources.en.lang=[zh]", "tokens.sources.en.lang: there is no 'zh'"),
        (
            "train.segments.session-1.mixture={en: .6, de: .4}",
            "train.segments.session-1.mixture: there is no 'de'",
        ),
        ("study.source=law", "study.source: there is no 'law'"),
        ("study.branch_from=segment:x", "study.branch_from: there is no 'segment:x'"),
        ("leak.checkpoints=['segment:x']", "leak.checkpoints: there is no 'segment:x'"),
        ("train.optimizer.betas=[0.9, 1]", "train.optimizer.betas.1: Input should be less than 1"),
        ("train.global_batch_tokens=1000", "not a multiple of the length"),
    ],
)
def test_parts_that_do_not_agree_are_named_with_the_file(override: str, message: str) -> None:
    text = problem(override)
    assert text.startswith((str(TINY), "override"))
    assert message in text
    assert "{'" not in text  # no whole part of the recipe is printed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sets=[examples/sets/absent]", "examples/sets/absent: is no evaluation set"),
        ("leak.test=gsm8k", "leak.test: no set named 'gsm8k'"),
        ("leak.overlap_reference=absent.jsonl", "absent.jsonl is no file"),
        ("corpus.inputs.0.path=absent", "absent: no such file or folder"),
    ],
)
def test_what_is_not_on_the_disk_is_named_before_the_first_step(
    override: str, message: str
) -> None:
    assert message in problem(override)


def test_a_work_folder_may_have_any_name() -> None:
    assert load_recipe(TINY, (), Path("2024")).workdir == Path("2024")


def test_a_dry_run_says_what_only_and_from_would_run(tmp_path: Path) -> None:
    recipe = load_recipe(TINY, (), tmp_path)
    assert [row["step"] for row in plan_steps(recipe, only="train")] == ["train"]
    assert [row["step"] for row in plan_steps(recipe, start="study")] == ["study", "report"]
    with pytest.raises(UserError, match="--only and --from cannot both"):
        plan_steps(recipe, only="train", start="study")


def test_a_branch_that_reads_its_source_too_often_is_refused_before_training() -> None:
    recipe = load_recipe(TINY, ["study.tokens=10M"])
    branch = branch_config(recipe.train, recipe.study)
    stem = SourceSize.declared(400 * branch.sequence_tokens, [branch.sequence_tokens])
    with pytest.raises(UserError, match="branch"):
        Plan(branch.seed, branch.sequence_tokens, {"stem": stem}, branch.segments)
