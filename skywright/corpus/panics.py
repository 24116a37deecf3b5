"""Panics of compiled parsers, turned into ordinary exceptions.

The Rust libraries behind WARC and HTML raise `PanicException` when they meet a state they did not
expect. It is no `Exception`, so that a single bad record would end the whole run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ParserPanicError(ValueError):
    """A compiled parser gave up on its input."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise a parser's panic as `ParserPanicError`."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ParserPanicError(str(error)) from None
