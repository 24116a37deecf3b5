"""Recipes are strict: typos, wrong units and wrong places get one clear line each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from skywright.config import ByteSize, Config, Duration, TokenCount, load
from skywright.errors import UserError


class Schedule(Config):
    kind: str
    peak_lr: float
    warmup: TokenCount = 0


class Segment(Config):
    name: str
    tokens: TokenCount
    schedule: Schedule | None = None


class Example(Config):
    name: str
    seed: int = 1
    size: ByteSize = 0
    wait: Duration = 0
    segments: list[Segment] = []
    shares: dict[str, float] = {}


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(path, Example, overrides)
    return str(caught.value)


def test_units_and_plain_numbers_mean_the_same(tmp_path: Path) -> None:
    recipe = load(
        write(
            tmp_path,
            "name: x\nsize: 16 MiB\nwait: 5 min\n"
            "segments:\n- {name: a, tokens: 3.2T}\n- {name: b, tokens: 100M tokens}\n"
            "- {name: c, tokens: 2_000, schedule: {kind: cosine, peak_lr: 6e-4}}\n",
        ),
        Example,
    )
    assert recipe.size == 16 * 2**20
    assert recipe.wait == 300.0
    assert [segment.tokens for segment in recipe.segments] == [3_200_000_000_000, 10**8, 2000]
    assert recipe.segments[2].schedule is not None
    assert recipe.segments[2].schedule.peak_lr == 6e-4


@given(st.integers(0, 10**6), st.sampled_from([("K", 10**3), ("M", 10**6), ("T", 10**12)]))
def test_a_quantity_is_number_times_unit(number: int, unit: tuple[str, int]) -> None:
    assert Segment(name="a", tokens=f"{number}{unit[0]} tokens").tokens == number * unit[1]


@pytest.mark.parametrize("bad", ["2X", "two", "1.5", "-3M", True, [1], "0.3 tokens"])
def test_a_wrong_quantity_is_refused(bad: object) -> None:
    with pytest.raises(ValidationError):
        Segment(name="a", tokens=bad)


def test_an_unknown_key_names_file_line_and_the_nearest_known_key(tmp_path: Path) -> None:
    path = write(tmp_path, "name: x\nsegments:\n- name: a\n  tokns: 3\n")
    text = problem(path)
    assert f"{path}:4: unknown key 'segments.0.tokns'; did you mean 'tokens'?" in text
    assert f"{path}:3: the key 'segments.0.tokens' is missing; add it" in text


def test_an_unknown_key_inside_an_optional_mapping_is_named_too(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: x\nsegments:\n- name: a\n  tokens: 1\n  schedule:\n"
        "    kind: cosine\n    peak_lr: 1\n    warmpu: 3\n",
    )
    assert f"{path}:8: unknown key 'segments.0.schedule.warmpu'; did you mean 'warmup'?" in (
        problem(path)
    )


def test_extends_merges_mappings_and_replaces_lists(tmp_path: Path) -> None:
    write(
        tmp_path,
        "name: base\nseed: 7\nshares: {en: .5, zh: .5}\nsegments: [{name: a, tokens: 1}]\n",
        "base.yaml",
    )
    path = write(
        tmp_path,
        "extends: base.yaml\nname: top\nshares: {zh: .3}\nsegments: [{name: b, tokens: 2}]\n",
    )
    recipe = load(path, Example)
    assert (recipe.name, recipe.seed) == ("top", 7)
    assert recipe.shares == {"en": 0.5, "zh": 0.3}
    assert [segment.name for segment in recipe.segments] == ["b"]


def test_an_error_in_the_base_names_the_base(tmp_path: Path) -> None:
    base = write(tmp_path, "seed: many\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nname: x\n")
    assert problem(path).startswith(f"{base}:1: seed: ")


def test_circles_and_missing_bases_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path, "extends: b.yaml\nname: a\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    assert "circle" in problem(a)
    assert "is no file" in problem(write(tmp_path, "extends: c.yaml\n", "d.yaml"))


def test_overrides_reach_into_mappings_and_lists_by_index_or_name(tmp_path: Path) -> None:
    path = write(tmp_path, "name: x\nsegments: [{name: a, tokens: 1}, {name: b, tokens: 2}]\n")
    recipe = load(path, Example, ["segments.b.tokens=5M", "segments.0.tokens=7", "shares.en=0.25"])
    assert [segment.tokens for segment in recipe.segments] == [7, 5_000_000]
    assert recipe.shares == {"en": 0.25}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write it as key.key=value"),
        ("segments.z.tokens=1", "no item 'z'"),
        ("name.a=1", "'name' has no keys inside"),
        ("sed=3", "did you mean 'seed'?"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    path = write(tmp_path, "name: x\nsegments: [{name: a, tokens: 1}]\n")
    text = problem(path, override)
    assert message in text
    assert override in text


def test_bad_yaml_duplicate_keys_and_missing_files_name_their_place(tmp_path: Path) -> None:
    assert f"{tmp_path}/recipe.yaml:2: the key 'seed' stands twice" in problem(
        write(tmp_path, "seed: 1\nseed: 2\n")
    )
    assert "recipe.yaml:2: not valid YAML" in problem(write(tmp_path, "name: x\n  a: [\n"))
    assert "no such recipe" in problem(tmp_path / "none.yaml")
    assert "must be a mapping" in problem(write(tmp_path, "- a\n"))


def test_yaml_cannot_make_python_objects(tmp_path: Path) -> None:
    assert "not valid YAML" in problem(write(tmp_path, "name: !!python/object/apply:os.getcwd []"))


def test_off_and_no_are_words_and_true_is_a_truth_value(tmp_path: Path) -> None:
    path = write(tmp_path, "name: no\nshares: {off: 1, on: 0}\n")
    recipe = load(path, Example)
    assert (recipe.name, recipe.shares) == ("no", {"off": 1, "on": 0})
    assert "seed" in problem(write(tmp_path, "name: x\nseed: [true]\n"))
