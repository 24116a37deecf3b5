"""Environments of the peers that are measured: each its own, locked, made on first use.

`benchmarks/peers/NAME.txt` lists every package with its version; the environment stands in
`.venv-peers/NAME`. Delete the folder to make it anew.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

LOCKS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / ".venv-peers"


class Unavailable(Exception):  # noqa: N818 (a state of this machine, not a fault)
    """The peer cannot be installed here; the message says why."""


def interpreter(name: str, beside_ours: bool = False) -> Path:
    """The Python of a peer's environment, which is made if it is missing or its lock has changed.

    With `beside_ours` packages that the lock does not name are found in the environment that runs
    this: so a peer has the very torch that we have, and it need not be installed twice.
    Raises `Unavailable` if a package cannot be installed.
    """
    lock, folder = LOCKS / f"{name}.txt", ENVIRONMENTS / name
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if ready.is_file() and ready.read_text() == wanted:
        return python
    ENVIRONMENTS.mkdir(exist_ok=True)
    (ENVIRONMENTS / ".gitignore").write_text("*\n")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    for command in ([sys.executable, "-m", "venv", "--clear", folder], [*pip, "-r", lock]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise Unavailable(f"{name}: {reason}")
    if beside_ours:
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    ready.write_text(wanted)
    return python
