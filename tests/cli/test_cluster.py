"""The examples for clusters: what they start exists, and as many as the recipe is spread over."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.utils import _parse_rendezvous_config
from torch.distributed.run import get_args_parser

from skywright.cli.app import app
from skywright.run.steps import STEPS

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "examples" / "cluster" / "slurm.sbatch"
KUBERNETES = ROOT / "examples" / "cluster" / "kubernetes.yaml"
RECIPE = "recipes/skywork-13b.yaml"

NOTE = """#!/bin/sh
for argument in "$@"; do echo "$(basename $0) $argument" >> "$NOTES"; done
exit ${STATUS:-0}
"""


@pytest.fixture
def noted(tmp_path):
    """Runs a command in a world whose cluster commands note what they are given."""
    for name in ("srun", "scancel", "torchrun"):
        (tmp_path / name).write_text(NOTE)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node7\necho node8\n")
    (tmp_path / "scontrol").chmod(0o755)

    def run(*command, **variables):
        notes = tmp_path / "notes"
        notes.write_text("")
        world = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NOTES": str(notes)} | variables
        ended = subprocess.run(command, env=world, cwd=tmp_path, capture_output=True, text=True)
        told = {}
        for line in notes.read_text().splitlines():
            name, argument = line.split(" ", 1)
            told.setdefault(name, []).append(argument)
        return ended, told

    return run


def product_of(recipe):
    """Processes that the recipe says it is spread over, if it says."""
    layout = yaml.safe_load((ROOT / recipe).read_text()).get("parallel")
    if layout is None:
        return None
    return layout.get("data", 1) * layout.get("tensor", 1) * layout.get("pipeline", 1)


def check_torchrun(arguments, nodes, per_node):
    """torchrun and `skywright run` take these arguments; torchrun's, parsed."""
    parsed = get_args_parser().parse_args(arguments)
    assert (int(parsed.nnodes), int(parsed.nproc_per_node)) == (nodes, per_node)
    assert nodes * per_node == 512
    assert product_of(RECIPE) in (None, 512)
    assert (parsed.module, parsed.training_script) == (True, "skywright")
    assert parsed.rdzv_backend == "c10d"
    name, *options = parsed.training_script_args
    command = typer.main.get_command(app).commands[name]
    given = command.make_context(name, options).params  # exits if there is no such option
    assert str(given["recipe"]) == RECIPE
    assert (ROOT / RECIPE).is_file()
    assert given["only"] in [step.name for step in STEPS]
    return parsed


# ---------------------------------------------------------------- Slurm


@pytest.fixture(scope="module")
def directives():
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", SLURM.read_text(), re.MULTILINE)
    assert len(found) == SLURM.read_text().count("#SBATCH")
    return dict(found)


def variables(directives):
    return {
        "SLURM_JOB_ID": "42",
        "SLURM_ARRAY_JOB_ID": "41",
        "SLURM_NNODES": directives["nodes"],
        "SLURM_CPUS_PER_TASK": directives["cpus-per-task"],
        "SLURM_JOB_NODELIST": "node[7-8]",
    }


def test_the_slurm_script_starts_one_torchrun_a_node_with_options_that_exist(noted, directives):
    ended, told = noted("bash", str(SLURM), RECIPE, **variables(directives))
    assert ended.returncode == 0, ended.stderr
    program = told["srun"].index(".venv/bin/torchrun")
    assert all(option.startswith("--") for option in told["srun"][:program])
    nodes, per_node = int(directives["nodes"]), int(directives["gpus-per-node"])
    parsed = check_torchrun(told["srun"][program + 1 :], nodes, per_node)
    assert directives["ntasks-per-node"] == "1"
    assert parsed.rdzv_endpoint == "node7:29500"
    assert parsed.rdzv_id == "42"
    signal, seconds = directives["signal"].split("@")
    assert signal == "TERM", "to the steps: B:TERM would go to the shell alone"
    assert 30 < parsed.shutdown_timeout < int(seconds)


@pytest.mark.parametrize(("status", "age", "left"), [(0, 9000, 0), (1, 20, 0), (1, 9000, 1)])
def test_what_still_waits_is_taken_back_once_nothing_is_left_for_it(
    noted, directives, tmp_path, status, age, left
):
    # The shell's own clock, set forward.
    script = tmp_path / "aged.sh"
    script.write_text(f"SECONDS={age}\n{SLURM.read_text()}")
    ended, told = noted("bash", str(script), RECIPE, STATUS=str(status), **variables(directives))
    assert ended.returncode == status
    assert ("scancel" not in told) == bool(left)
    assert left or told["scancel"] == ["--state=PENDING", "41"]


# ---------------------------------------------------------------- Kubernetes


@pytest.fixture(scope="module")
def manifests():
    service, job = yaml.safe_load_all(KUBERNETES.read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    return service, job


@pytest.mark.parametrize("index", [0, 3])
def test_a_pod_starts_torchrun_with_options_that_exist(noted, manifests, index):
    service, job = manifests
    (container,) = job["spec"]["template"]["spec"]["containers"]
    ended, told = noted(*container["command"], JOB_COMPLETION_INDEX=str(index))
    assert ended.returncode == 0, ended.stderr
    nodes = job["spec"]["completions"]
    parsed = check_torchrun(
        told["torchrun"], nodes, int(container["resources"]["limits"]["nvidia.com/gpu"])
    )
    name, subdomain = job["metadata"]["name"], job["spec"]["template"]["spec"]["subdomain"]
    port = service["spec"]["ports"][0]["port"]
    assert parsed.rdzv_endpoint == f"{name}-0.{subdomain}:{port}"
    given = _parse_rendezvous_config(parsed.rdzv_conf)
    conf = RendezvousParameters("c10d", parsed.rdzv_endpoint, parsed.rdzv_id, 1, 1, **given)
    assert conf.get_as_bool("is_host") == (index == 0)
    grace_s = job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert 30 < parsed.shutdown_timeout < grace_s


def test_pods_find_each_other_and_all_run_at_once(manifests):
    service, job = manifests
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_manifest_fits_the_published_schemas():
    validate = pytest.importorskip("kubernetes_validate", reason="no Kubernetes schemas here")
    for manifest in yaml.safe_load_all(KUBERNETES.read_text()):
        validate.validate(manifest, "1.31", strict=True)
