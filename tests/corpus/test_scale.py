"""The whole corpus on one process, on several, as slices, killed, sampled, on an object store."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from skywright.cli.app import app
from skywright.corpus.config import CorpusConfig
from skywright.corpus.export import export
from skywright.corpus.pipeline import build
from skywright.corpus.sample import in_sample, parse_share
from skywright.corpus.space import check_space, collect, stage_bytes
from skywright.engine.files import write_json
from skywright.engine.stage import Shard
from skywright.errors import UserError
from tests.corpus.pages import EN, WARC_FILES, needs_data, packed, page_record, write
from tests.corpus.test_pipeline import essay, fingerprint, held_out
from tests.engine import s3

TOPICS = ("harbour", "orchard", "market", "winter", "summer", "mountain", "valley", "garden")
NO_RULES = {"only": []}
TINY = Path(__file__).parents[1] / "run" / "tiny.yaml"


def pages_of(number: int) -> list[bytes]:
    """Records of one crawl: pages of its own, versions of pages that others have too, near copies,
    an exact copy, and one that overlaps an evaluation document.
    """
    pages = [(f"http://site.org/{number}/{t}", essay(f"{t}{number}", 5)) for t in TOPICS]
    pages += [(f"http://site.org/{topic}", essay(topic, 5 + number)) for topic in TOPICS[:6]]
    pages += [
        (f"http://near{number}.org/", essay("lantern", 9 + number)),
        (f"http://copy{number}.org/", essay("copied", 6)),
        ("http://exam.org/", EN),
    ]
    return [page_record(url, text, date=f"202{number}-01-01T00:00:00Z") for url, text in pages]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small WARC files and a list."""
    folder = tmp_path_factory.mktemp("scale")
    for number in range(4):
        write(folder / f"{number}.warc.gz", packed(pages_of(number)))
    write(
        folder / "list.jsonl", json.dumps({"text": essay("orchard", 8)}).encode() + b"\nno json\n"
    )
    return folder


def config(folder: Path, **changes: Any) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "inputs": [
                {"source": "web", "path": str(folder / "*.warc.gz")},
                {"source": "list", "path": str(folder / "list.jsonl")},
            ],
            "rules": {"lang": {"en": NO_RULES}},
            "partitions": 3,
            "partition_bytes": 1,  # or a corpus this small would have one
        }
        | changes
    )


@pytest.fixture(scope="module")
def calm(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("calm")
    result = build(config(inputs), [held_out(EN)], out, executor="inline")
    assert result.waterfall["duplicates"]["near_copies"] > 0
    assert result.waterfall["duplicates"]["exact_copies"] > 0
    assert result.waterfall["duplicates"]["same_url"] > 0
    return fingerprint(out)


SCRIPT = """
import json, sys
from pathlib import Path
from skywright.corpus.config import CorpusConfig
from skywright.corpus.pipeline import build, work
from skywright.engine.settings import EngineConfig
from tests.corpus.test_pipeline import EN, held_out

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    settings = EngineConfig.model_validate(given["engine"])
    config = CorpusConfig.model_validate(given["config"])
    if settings.slice:
        work(config, [held_out(EN)], Path(given["out"]) / "stages", settings)
    else:
        build(config, [held_out(EN)], Path(given["out"]), settings)
"""


def start(tmp: Path, corpus: CorpusConfig, out: Path, **engine: Any) -> subprocess.Popen:
    """A build in a process group of its own, so that its workers can be killed with it."""
    given = tmp / f"{uuid.uuid4().hex}.json"
    value = {"engine": engine, "config": corpus.model_dump(mode="json"), "out": str(out)}
    write_json(given, value)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(given)], start_new_session=True, cwd=Path.cwd()
    )


def finished_tasks(out: Path) -> int:
    return len(list((out / "stages").glob("*/*/done.json")))


def kill_at(tmp: Path, corpus: CorpusConfig, out: Path, tasks: int, delay_s: float) -> None:
    """Kill a build, and all its workers, a moment after so many of its tasks are done."""
    process = start(tmp, corpus, out, executor="processes", workers=2)
    while process.poll() is None and finished_tasks(out) < tasks:
        time.sleep(0.002)
    time.sleep(delay_s)  # the moment of the kill, not a wait for something
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def killed_again_and_again(tmp: Path, corpus: CorpusConfig, points: int, total: int) -> Path:
    """A build killed at random points all along the way, then let be."""
    chance, out = random.Random(points), tmp / "killed"
    for number in range(points):
        at = (number * total + chance.randrange(total)) // points
        kill_at(tmp, corpus, out, at, chance.random() * 0.2)
    assert start(tmp, corpus, out, executor="processes", workers=2).wait(timeout=3000) == 0
    return out


def test_killed_at_three_points_it_ends_with_the_same_bytes(
    inputs: Path, calm: dict[str, str], tmp_path: Path
) -> None:
    assert fingerprint(killed_again_and_again(tmp_path, config(inputs), 3, 60)) == calm


@needs_data
@pytest.mark.full
@pytest.mark.timeout(7200)
def test_killed_at_twenty_points_on_real_pages_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    paths = [p for p in WARC_FILES if p.name.startswith(("demo", "whirlwind", "pywb"))]
    real = config(tmp_path, inputs=[
        {"source": f"s{n}", "path": str(path)} for n, path in enumerate(paths)
    ], rules={})  # fmt: skip
    build(real, [held_out(EN)], tmp_path / "calm", executor="inline")
    total = finished_tasks(tmp_path / "calm")
    out = killed_again_and_again(tmp_path, real, 20, total)
    assert fingerprint(out) == fingerprint(tmp_path / "calm")


@pytest.mark.full
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_processes_gives_the_same_bytes(
    inputs: Path, calm: dict[str, str], tmp_path: Path, workers: int
) -> None:
    build(config(inputs), [held_out(EN)], tmp_path / "out", "processes", workers)
    assert fingerprint(tmp_path / "out") == calm


@pytest.mark.full
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("count", [2, 3])
def test_slices_give_the_same_bytes_though_one_is_killed(
    inputs: Path, calm: dict[str, str], tmp_path: Path, count: int
) -> None:
    out, corpus = tmp_path / "out", config(inputs)
    workers = [
        start(tmp_path, corpus, out, executor="inline",
              slice={"number": n, "count": count, "lease_s": 20.0})
        for n in range(1, count + 1)
    ]  # fmt: skip
    while finished_tasks(out) < 12:
        time.sleep(0.01)
    os.killpg(workers[-1].pid, signal.SIGKILL)
    assert [worker.wait(timeout=2000) for worker in workers[:-1]] == [0] * (count - 1)
    before = finished_tasks(out)
    build(corpus, [held_out(EN)], out, "inline")
    assert finished_tasks(out) == before
    assert {n: h for n, h in fingerprint(out).items() if "slices" not in n} == calm


def test_stages_in_memory_give_the_same_bytes(
    inputs: Path, calm: dict[str, str], tmp_path: Path
) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    build(config(inputs), [held_out(EN)], tmp_path / "out", "inline", stages=root)
    assert fingerprint(tmp_path / "out") == calm


@pytest.mark.full
@pytest.mark.timeout(3000)
@pytest.mark.skipif(
    importlib.util.find_spec("s3fs") is None, reason="s3fs is not installed (extra `s3`)"
)
def test_stages_on_s3_give_the_same_bytes(
    inputs: Path, calm: dict[str, str], tmp_path: Path
) -> None:
    with s3.serving():
        build(config(inputs), [held_out(EN)], tmp_path / "out", "processes", 2, stages="s3://b/w")
    assert fingerprint(tmp_path / "out") == calm


@pytest.mark.full
@pytest.mark.timeout(3000)
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed (extra `cluster`)"
)
def test_ray_gives_the_same_bytes_though_a_node_is_killed(
    inputs: Path, calm: dict[str, str], tmp_path: Path
) -> None:
    import threading

    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(3)]
    cluster.wait_for_nodes()
    out = tmp_path / "out"

    def kill() -> None:
        while finished_tasks(out) < 12:
            time.sleep(0.02)
        cluster.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        from skywright.engine.settings import EngineConfig

        engine = EngineConfig(executor="ray", ray_address=cluster.address)
        build(config(inputs), [held_out(EN)], out, engine)
        killer.join()
    finally:
        cluster.shutdown()
    assert fingerprint(out) == calm


# ---------------------------------------------------------------- one more input


def test_one_more_input_runs_its_own_tasks_and_the_partitions_it_touches(
    inputs: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(inputs, folder)
    many = config(folder, partitions=16)
    build(many, [], out, "inline")
    before = {path.parent.name for path in (out / "stages").glob("*/*/done.json")}
    write(folder / "9.warc.gz", packed([page_record("http://new.org/", essay("lighthouse", 4))]))
    build(many, [], out, "inline")
    new: dict[str, int] = {}
    for path in (out / "stages").glob("*/*/done.json"):
        if path.parent.name not in before:
            new[path.parent.parent.name] = new.get(path.parent.parent.name, 0) + 1
    for stage in ("index", "extract", "signals", "decide", "minhash"):
        assert new[stage] == 1, stage
    for stage in ("url_duplicates", "exact_duplicates"):
        assert new[stage] == 2, stage  # its own rows sorted, and the one partition they fall in
    assert new["near_buckets"] <= 1 + 14  # one document has 14 bands


def test_a_small_corpus_has_one_partition_and_the_number_changes_no_byte(
    inputs: Path, calm: dict[str, str], tmp_path: Path
) -> None:
    few = config(inputs, partition_bytes="16 MiB")
    build(few, [held_out(EN)], tmp_path / "few", "inline")
    assert fingerprint(tmp_path / "few") == calm
    reduced = list((tmp_path / "few/stages/exact_duplicates").glob("*/dropped.parquet"))
    assert len(reduced) == 1
    sizes = {size: few.partitions_for(size) for size in (0, 2**24, 2**24 + 1, 2**27)}
    assert sizes == {0: 1, 2**24: 1, 2**24 + 1: 2, 2**27: 3}


# ---------------------------------------------------------------- samples


def ids(folder: Path) -> set[bytes]:
    paths = (folder / "documents").glob("*.parquet")
    return {value for path in paths for value in pq.read_table(path)["id"].to_pylist()}


def test_a_sample_is_the_same_documents_in_whatever_split(inputs: Path, tmp_path: Path) -> None:
    half = config(inputs, sample=0.5)
    result = build(half, [], tmp_path / "half", "inline")
    rows = pq.read_table(result.ledger).to_pylist()
    out = [row for row in rows if row["rule"] == "not_in_sample"]
    assert 0.3 < len(out) / len(rows) < 0.7
    assert result.waterfall["input_records"] == len(rows) == 4 * 17 + 2
    # The same records in one file, the last ones first.
    records = [record for number in (3, 1, 0, 2) for record in pages_of(number)[::-1]]
    write(tmp_path / "one.warc.gz", packed(records))
    shutil.copy(inputs / "list.jsonl", tmp_path / "list.jsonl")
    build(config(tmp_path, sample=0.5), [], tmp_path / "one", "inline")
    assert ids(tmp_path / "one") == ids(tmp_path / "half") != set()
    tenth = build(config(inputs, sample=0.2), [], tmp_path / "tenth", "inline")
    kept = {row["id"] for row in pq.read_table(tenth.ledger).to_pylist()
            if row["rule"] != "not_in_sample"}  # fmt: skip
    assert kept <= {row["id"] for row in rows if row["rule"] != "not_in_sample"}


def test_an_export_can_be_a_sample(inputs: Path, tmp_path: Path) -> None:
    build(config(inputs), [], tmp_path / "out", "inline")
    files = export(tmp_path / "out", tmp_path / "part", "parquet", 0.5)
    part = {value for path in files for value in pq.read_table(path)["id"].to_pylist()}
    whole = pq.read_table(tmp_path / "out" / "documents")["id"]
    assert part == set(whole.filter(in_sample(whole, 0.5)).to_pylist())
    assert set() < part < ids(tmp_path / "out")


def test_shares_are_read_and_wrong_ones_named() -> None:
    assert (parse_share("1%"), parse_share("0.25"), parse_share("100 %")) == (0.01, 0.25, 1.0)
    for wrong in ("0", "2", "x", "101%", "-1%"):
        with pytest.raises(UserError, match="give a share above 0"):
            parse_share(wrong)


# ---------------------------------------------------------------- disk


def test_outputs_that_no_current_build_names_are_collected(inputs: Path, tmp_path: Path) -> None:
    out, stages = tmp_path / "out", str(tmp_path / "out" / "stages")
    build(config(inputs), [held_out(EN)], out, "inline")
    assert collect(stages).files == {}
    strict = {"lang": {"en": {"only": ["gopher_tokens_min"],
                              "thresholds": {"gopher_tokens_min": 250}}}}  # fmt: skip
    build(config(inputs, rules=strict), [held_out(EN)], out, "inline")
    published = fingerprint(out)
    told = collect(stages)
    assert {"decide", "final", "ledger"} <= set(told.by_stage)
    assert "extract" not in told.by_stage
    assert "signals" not in told.by_stage
    assert collect(stages, remove=True) == told
    assert collect(stages).files == {}
    before = finished_tasks(out)
    build(config(inputs, rules=strict), [held_out(EN)], out, "inline")
    assert finished_tasks(out) == before  # nothing that counts was taken
    assert fingerprint(out) == published


def test_what_a_killed_build_has_done_is_no_garbage(inputs: Path, tmp_path: Path) -> None:
    kill_at(tmp_path, config(inputs), tmp_path / "out", 14, 0.0)
    assert finished_tasks(tmp_path / "out") >= 14
    assert collect(str(tmp_path / "out" / "stages")).files == {}


def test_a_disk_that_is_too_small_is_told_of_before_anything_is_read(tmp_path: Path) -> None:
    whole = Shard("a.warc.gz", "0" * 64, 10**15, meta={"kind": "warc"})
    with pytest.raises(UserError, match=r"will need about [\d,.]+ TB, and [\d,.]+ [GT]B are free"):
        check_space([whole], str(tmp_path / "stages"), "b")
    check_space([whole], "s3://bucket/work", "b")
    check_space([whole], str(tmp_path / "stages"), "b", share=1e-9)
    assert stage_bytes([whole], 0.5) * 2 == stage_bytes([whole])


# ---------------------------------------------------------------- commands


def test_the_commands_slice_sample_and_collect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(TINY.parents[2])  # paths of data are relative to the working folder
    runner, run = CliRunner(), tmp_path / "run"
    command = ["corpus", "build", str(TINY), "--workdir", str(run), "--engine", "inline"]
    dry = runner.invoke(app, [*command, "--dry-run"])
    assert "would run" in dry.output
    assert "of disk" in dry.output
    assert not (run / "corpus" / "stages").exists()
    for _ in range(2):
        done = runner.invoke(app, [*command, "--json", "--slice", "1/1", "--sample", "3%"])
        assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["skipped"]
    assert runner.invoke(app, [*command, "--json", "--sample", "2%"]).exit_code == 0
    told = runner.invoke(app, ["corpus", "gc", str(run), "--json"])
    found = json.loads(told.stdout)
    assert found["bytes"] > 0
    assert "extract" in found["by_stage"]
    removed = runner.invoke(app, ["corpus", "gc", str(run), "--remove", "--json"])
    assert json.loads(removed.stdout)["bytes"] == found["bytes"]
    assert json.loads(runner.invoke(app, ["corpus", "gc", str(run), "--json"]).stdout)["bytes"] == 0
    for wrong in (["--slice", "5/2"], ["--sample", "0%"], ["--lease", "x", "--slice", "1/1"],
                  ["--ray-address", "a:1"]):  # fmt: skip
        assert isinstance(runner.invoke(app, [*command, *wrong]).exception, UserError), wrong
