"""On Ray the bytes are the same, a node may die, and a bad record is found there as well."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skywright.engine.runner import Runner
from skywright.engine.settings import EngineConfig
from skywright.errors import UserError
from tests.engine.stages import MISBEHAVE, SLOW, Params, write_shards
from tests.engine.test_runner import hashes, pipeline

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed (extra `cluster`)"
)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without work and two nodes of one core each: three raylets on this machine."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    small = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        found.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    found.wait_for_nodes()
    yield found
    found.shutdown()


def on(cluster: Any, hang_s: float = 60.0) -> EngineConfig:
    return EngineConfig(executor="ray", ray_address=cluster.address, hang_s=hang_s)


@needs_ray
@pytest.mark.full
@pytest.mark.timeout(3000)
def test_ray_writes_the_bytes_of_one_process_though_a_node_dies(
    tmp_path: Path, cluster: Any
) -> None:
    one = pipeline(tmp_path / "one", tmp_path / "data", "inline")
    assert pipeline(tmp_path / "ray", tmp_path / "data", on(cluster)) == one

    shards = write_shards(tmp_path / "slow", [[n, n + 1, n + 2, n + 3] for n in range(8)])
    with Runner(tmp_path / "calm", executor="inline") as runner:
        runner.map(SLOW, shards, Params())
    victim = cluster.list_all_nodes()[-1]

    def kill() -> None:
        while not list((tmp_path / "killed").glob("slow/*/done.json")):
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    with Runner(tmp_path / "killed", executor=on(cluster)) as runner:
        runner.map(SLOW, shards, Params())
    killer.join()
    assert len(cluster.list_all_nodes()) == 2
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "calm")


@needs_ray
@pytest.mark.full
@pytest.mark.timeout(3000)
def test_records_that_kill_or_hang_a_ray_worker_are_found(tmp_path: Path, cluster: Any) -> None:
    shards = write_shards(tmp_path / "data", [[1, 2, -2, 4, 5, -3, 9, -1], [10]])
    with Runner(tmp_path / "out", executor=on(cluster, hang_s=6)) as runner:
        out = runner.map(MISBEHAVE, shards, Params())
    found = {row["record"]: row["error"] for row in out.errors().to_pylist()}
    assert found == {"0:2": "error:killed", "0:5": "error:hang", "0:7": "error:ValueError"}
    assert out.read("rows")["value"].to_pylist() == [1, 2, 4, 5, 9, 10]


@needs_ray
def test_an_address_without_a_cluster_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Ray cluster answers there"):
        Runner(tmp_path, EngineConfig(executor="ray", ray_address="127.0.0.1:1"))


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"skywright\[cluster\]"):
        Runner(tmp_path, EngineConfig(executor="ray"))
