"""The whole laptop recipe from nothing: seconds a step, peak memory, share taken by others.

    python -m benchmarks.laptop [--out benchmarks/results/laptop.json]

There is no peer that does this whole job; the figure stands for itself.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from skywright.run.runner import environment


def tree_rss_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children, shared pages counted once each (PSS)."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:
            continue  # it ended between the listing and the look
    return total


def tree_cpu_s(process: psutil.Process) -> float:
    """Processor seconds of a process, its living and its ended children."""
    total = 0.0
    for member in [process, *process.children(recursive=True)]:
        try:
            times = member.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
        if member == process:
            total += times.children_user + times.children_system
    return total


def measure(recipe: str, workdir: Path) -> dict:
    """Run the recipe in a fresh process and watch it."""
    before, started = psutil.cpu_times(), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "skywright", "run", recipe, "--workdir", str(workdir)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    watched, peak, cpu_s = psutil.Process(process.pid), 0, 0.0
    while process.poll() is None:
        try:
            peak = max(peak, tree_rss_bytes(watched))
            cpu_s = max(cpu_s, tree_cpu_s(watched))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    seconds = time.monotonic() - started
    after = psutil.cpu_times()
    busy = sum(after) - sum(before) - (after.idle - before.idle) - (after.iowait - before.iowait)
    steps = json.loads((workdir / "steps.json").read_text())
    return {
        "exit": process.wait(),
        "seconds": round(seconds, 1),
        "step_seconds": {name: step["seconds"] for name, step in steps.items()},
        "peak_pss_mb": round(peak / 1e6),
        "cpu_share_of_others": round(
            max(0.0, busy - cpu_s) / (seconds * (psutil.cpu_count() or 1)), 3
        ),
    }


def main() -> None:
    """Parse, measure, print, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="recipes/laptop.yaml")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments.recipe, Path(folder) / "run")
    machine = environment()
    result["date"] = datetime.date.today().isoformat()
    result["machine"] = {k: machine[k] for k in ("cpu", "cores", "memory_gb", "platform")}
    result["torch"] = machine["packages"].get("torch")
    line = json.dumps(result, sort_keys=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, sort_keys=True, indent=1) + "\n")
    print(line)


if __name__ == "__main__":
    main()
