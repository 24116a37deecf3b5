"""Compiled numeric kernels: numba with its cache on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """`numba.njit` with the on-disk cache where one can be written, without it elsewhere.

    Compiled functions run without the GIL. The cache notices a changed file but not a changed
    callee in another file; therefore a compiled function calls only those of its own file.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # read-only package and no user cache folder
        return numba.njit(nogil=True)(function)
