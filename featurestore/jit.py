"""One place that compiles: a cached, GIL-free numba function that keeps its Python signature for mypy.

The plain function stays reachable as ``.py_func``; tests run both.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile ``function`` on first call, reuse the result on disk afterwards, release the GIL while it runs."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """Like `compiled`, for small functions called from compiled ones."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", inline="never")(function))
