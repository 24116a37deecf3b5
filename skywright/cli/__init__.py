"""The command line: parse, call, print. Heavy imports live inside the commands."""

from __future__ import annotations

import errno
import sys

MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""What a disk or its rights refuse: no fault of the program, so no traceback."""


def main() -> None:
    """Entry point of `skywright`; exit status 0 good, 1 failed, 2 wrong usage, 130 interrupted."""
    from skywright.cli.app import app
    from skywright.errors import UserError

    try:
        app(prog_name="skywright")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {where}{error.strerror}; mend that and run the same command again to go on",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
