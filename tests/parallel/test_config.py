"""Layouts that cannot be are refused before anything is cut, naming the numbers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from skywright.errors import UserError
from skywright.parallel.config import ParallelConfig, check, check_step, layers_of_stages
from tests.parallel.training import GPT, MODEL, TIED


@pytest.mark.parametrize(
    ("layout", "model", "processes", "words"),
    [
        ({"data": 2, "tensor": 2}, MODEL, 2, "data 2 x tensor 2 x pipeline 1 makes 4 .* but 2"),
        ({"tensor": 4}, MODEL, 4, "tensor: 4 does not divide the model's kv_heads, 2"),
        ({"tensor": 3}, GPT, 3, "tensor: 3 does not divide the model's heads, 4"),
        ({"pipeline": 5}, MODEL, 5, "5 stages for 4 layers"),
        ({"data": 2, "pipeline": 2, "zero": 3}, MODEL, 4, "zero: 3 with pipeline 2"),
        ({"pipeline": 2}, TIED, 2, "tied embedding .* set tie_embeddings to false"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    layout: dict[str, Any], model: Any, processes: int, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check(ParallelConfig.model_validate(layout), model, processes)


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"data": 4, "shard": 3}, "shard 3 does not divide the 4 data ranks"),
        ({"data": 2, "shard": 2, "zero": 0}, "shard 2 with zero 0"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(layout: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ParallelConfig.model_validate(layout)


@pytest.mark.parametrize(
    ("layout", "rows", "tokens", "at_once", "words"),
    [
        ({"tensor": 2}, 2, 15, 1, "sequence_tokens 15 does not divide by parallel.tensor 2"),
        ({"pipeline": 2}, 5, 16, 2, "5 samples of a step do not divide into micro-batches of 2"),
        ({"pipeline": 2}, 4, 16, 4, "1 micro-batches a step cannot fill parallel.pipeline 2"),
    ],
)
def test_steps_that_a_layout_cannot_run_are_refused(
    layout: dict[str, Any], rows: int, tokens: int, at_once: int, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check_step(ParallelConfig.model_validate(layout), rows, tokens, at_once)


def test_what_one_layout_refuses_another_runs() -> None:
    check_step(ParallelConfig(tensor=2, sequence_parallel=False), 2, 15, 1)
    check_step(ParallelConfig(pipeline=2, schedule="gpipe"), 4, 16, 4)
    check_step(ParallelConfig(data=2), 5, 15, 2)


@pytest.mark.parametrize(("layers", "pipeline"), [(52, 2), (52, 4), (13, 3), (4, 4)])
def test_every_layer_stands_on_one_stage_in_order(layers: int, pipeline: int) -> None:
    stages = layers_of_stages(layers, pipeline)
    assert [number for stage in stages for number in stage] == list(range(layers))
