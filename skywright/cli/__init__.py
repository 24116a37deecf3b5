"""The command line: parse, call, print. Heavy imports live inside the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `skywright`; exit status 0 good, 1 failed, 2 wrong usage, 130 interrupted."""
    from skywright.cli.app import app
    from skywright.errors import UserError, path_error

    try:
        app(prog_name="skywright")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        told = path_error(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
