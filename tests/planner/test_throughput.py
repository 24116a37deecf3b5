"""Seconds of a step: links and products by hand, the pipeline against a simulated schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.planner import HardwareConfig, load_hardware, load_preset, parse_layout
from skywright.planner.conventions import CONVENTIONS, flops_of, utilisation
from skywright.planner.links import COLLECTIVE_S, gather_s, group_bytes_per_s, send_s
from skywright.planner.software import SOFTWARE
from skywright.planner.throughput import (
    TERMS,
    Calibration,
    StepTime,
    product_s,
    step_time,
    wave_share,
)

SKYWORK = load_preset("skywork-13b")
A800 = load_hardware("a800")


def step(text: str, calibration: Calibration = Calibration(), **changes) -> StepTime:  # noqa: B008
    workload = SKYWORK.workload.model_copy(update=changes)
    return step_time(
        SKYWORK.model, workload, parse_layout(text), A800, SOFTWARE["megatron"], calibration
    )


def test_the_conventions_give_the_known_figures_for_skywork() -> None:
    # 1,873 tokens/s on 312 TFLOP/s; the report says 56.5 % (arXiv 2310.19341, table 10).
    shown = {
        name: round(100 * utilisation(flops_of(SKYWORK.model, 4096, name), 1873, 312e12), 1)
        for name in CONVENTIONS
    }
    assert shown == {
        "body_and_head": 55.9, "all_parameters": 57.0, "causal": 52.3, "body_only": 54.8,
    }  # fmt: skip


def simulated_1f1b(stages: list[float], micro_batches: int) -> float:
    """Seconds until the last backward pass, forward a third and backward two thirds of a stage."""
    count = len(stages)
    done: dict[tuple[str, int, int], float] = {}
    orders = []
    for stage in range(count):
        warm = min(count - 1 - stage, micro_batches)
        order = [("F", n) for n in range(warm)]
        for n in range(micro_batches - warm):
            order += [("F", warm + n), ("B", n)]
        orders.append(order + [("B", n) for n in range(micro_batches - warm, micro_batches)])
    clock, position = [0.0] * count, [0] * count
    while any(position[s] < len(orders[s]) for s in range(count)):
        for stage in range(count):
            while position[stage] < len(orders[stage]):
                kind, n = orders[stage][position[stage]]
                neighbour = stage - 1 if kind == "F" else stage + 1
                needs = (kind, n, neighbour)
                if 0 <= neighbour < count and needs not in done:
                    break
                seconds = stages[stage] * (1 / 3 if kind == "F" else 2 / 3)
                start = max(clock[stage], done.get(needs, 0.0))
                clock[stage] = done[kind, n, stage] = start + seconds
                position[stage] += 1
    return max(clock)


@given(
    stages=st.integers(1, 6),
    micro_batches=st.integers(6, 24),
    last_extra=st.floats(0, 0.5),
)
def test_the_pipelines_formula_is_what_a_simulated_schedule_takes(
    stages: int, micro_batches: int, last_extra: float
) -> None:
    seconds = [1.0] * (stages - 1) + [1.0 + last_extra]
    formula = sum(seconds) + (micro_batches - 1) * max(seconds)
    assert simulated_1f1b(seconds, micro_batches) == pytest.approx(formula, rel=1e-9)


def test_the_bubble_is_the_textbooks() -> None:
    assert step("dp256+pp2").bubble == pytest.approx(1 / 17)  # 5.9 %, 16 micro-batches
    assert step("dp128+pp4").bubble == pytest.approx(3 / 35)
    assert step("dp256+tp2").terms["idle"] == 0


def test_stages_of_equal_work_idle_for_just_the_bubble() -> None:
    # Without the head, links and exchange all stages are alike.
    taken = step("dp256+pp2")
    work = sum(taken.terms[name] for name in ("matmul", "attention", "pointwise"))
    assert taken.terms["idle"] > work * taken.bubble  # the last stage has the head too
    assert taken.terms["idle"] < 1.5 * work * taken.bubble


def test_every_term_has_a_meaning_and_none_is_negative() -> None:
    for text in ("dp256+pp2", "dp128+tp4", "fsdp512", "dp256+tp2+zero2+ckpt"):
        terms = step(text).terms
        assert set(terms) == set(TERMS)
        assert all(seconds >= 0 for seconds in terms.values())


def test_a_ring_across_nodes_shares_the_nodes_network() -> None:
    network = 100e9 * 0.75
    assert group_bytes_per_s(A800, 8, 1) == 200e9 * 0.78  # within the node
    assert group_bytes_per_s(A800, 256, 1) == network  # one ring through all eight devices
    assert group_bytes_per_s(A800, 256, 2) == network / 2  # two rings a node
    assert group_bytes_per_s(A800, 2, 256) == network / 8  # each device for itself
    assert group_bytes_per_s(A800, 128, 4) == network / 4


def test_the_gradients_exchange_of_skywork_by_hand() -> None:
    # ZeRO-1 on 256 ranks: 4 bytes a parameter scattered, 2 gathered, over 75 GB/s a node.
    parameters = 6_927_137_280  # the second stage: 26 layers, the last norm, the head
    seconds = 6 * parameters * 255 / 256 / 75e9 + 2 * COLLECTIVE_S
    assert step("dp256+pp2").terms["data_links"] == pytest.approx(seconds)
    assert gather_s(A800, 1e9, 1, 1) == 0
    assert send_s(A800, 75e9 / 8, 256) == pytest.approx(1 + COLLECTIVE_S)


def test_tensor_parallel_exchanges_by_hand() -> None:
    # 4 all-gathers and 4 reduce-scatters a layer, 2 of each at the ends, 16 micro-batches.
    message = 2 * 4608 * 4096 / 2 / (200e9 * 0.78) + COLLECTIVE_S
    expected = 16 * (8 * 52 + 4) * message
    assert step("dp256+tp2").terms["tensor_links"] == pytest.approx(expected)
    doubled = step("dp256+tp2", Calibration(tensor_factor=2.0))
    assert doubled.terms["tensor_links"] == pytest.approx(2 * expected)


def test_a_product_fills_whole_waves_of_tiles() -> None:
    assert wave_share(256 * 108, 128, 108) == 1
    assert wave_share(256, 128, 108) == pytest.approx(1 / 108)
    assert wave_share(256 * 109, 128, 108) == pytest.approx(109 / 216)
    assert wave_share(128, 256 * 108, 108) == 1  # the tile lies either way
    assert wave_share(5, 5, None) == 1


@given(rows=st.integers(1, 20_000), columns=st.integers(1, 20_000))
def test_no_product_is_faster_than_the_best_rate(rows: int, columns: int) -> None:
    assert 0 < wave_share(rows, columns, 108) <= 1


def test_a_products_three_parts_are_six_operations_a_weight_and_token() -> None:
    plain = A800.model_copy(update={"multiprocessors": None})
    assert sum(product_s(4096, 512, 256, plain)) == pytest.approx(
        6 * 4096 * 512 * 256 / (312e12 * 0.869)
    )


@pytest.mark.parametrize(
    ("faster", "slower"),
    [
        ("dp256+pp2", "dp128+pp4"),  # the bubble grows
        ("dp256+tp2", "dp128+tp4"),  # links and small products
        ("dp256+pp2", "dp256+pp2+ckpt"),
        ("dp256+tp2", "dp256+tp2+ckpt"),
    ],
)
def test_what_waits_or_computes_more_takes_longer(faster: str, slower: str) -> None:
    assert step(faster).seconds < step(slower).seconds


def test_more_micro_batches_shrink_the_bubble() -> None:
    few = step("dp256+pp2", global_batch_tokens=256 * 4096 * 2)
    many = step("dp256+pp2", global_batch_tokens=256 * 4096 * 64)
    assert few.bubble > many.bubble
    assert few.seconds / 2 > many.seconds / 64


def test_a_missing_link_is_named() -> None:
    lonely = HardwareConfig.model_validate(
        A800.model_dump() | {"network_bytes_per_s": None, "name": "lonely"}
    )
    with pytest.raises(UserError, match="hardware lonely: network_bytes_per_s is missing"):
        gather_s(lonely, 1e9, 16, 1)
