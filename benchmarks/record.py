"""A committed result says when and where it was measured."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any


def write_record(path: Path, found: dict[str, Any]) -> None:
    """Write what was found with today's date and the machine's description, as indented JSON."""
    # Only now: it brings torch, which a part that is measured must not load.
    from skywright.run.runner import environment

    here = environment()
    record = {
        **found,
        "date": datetime.date.today().isoformat(),
        "machine": {key: here[key] for key in ("cpu", "cores", "memory_gb", "platform")},
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
