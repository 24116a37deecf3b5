"""Print a constraints file: every version that pip picks for the project and its extras.

Resolves in a dry run, installs nothing. The extra `vllm` is left out: its releases pin a torch
of their own. Run by `make lock`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

EXTRAS = "dev,cluster,s3,bench,gguf,precise"


def main() -> None:
    """Resolve and print `name==version` lines, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        environment, report = Path(folder) / "venv", Path(folder) / "report.json"
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run(
            [environment / "bin" / "python", "-m", "pip", "install", "-q", "--dry-run",
             "--report", report, "torch==2.13.0", "-e", f".[{EXTRAS}]"],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
        chosen = json.loads(report.read_text())["install"]
    pins = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"]
        for item in chosen
    }
    pins.pop("skywright", None)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"# Written by `make lock` with Python {python};")
    print(f"# covers the extras {EXTRAS}.")
    for name, version in sorted(pins.items()):
        print(f"{name}=={version.partition('+')[0]}")


if __name__ == "__main__":
    main()
