"""One place that compiles: a cached, GIL-free numba function that keeps its Python signature for mypy.

The plain function stays reachable as ``.py_func``; tests run both.
"""

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped] # numba brings it along
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from featurestore.columns.kernel_cache import KernelCache

F = TypeVar("F", bound=Callable[..., object])


def _begin_without_blas() -> None:
    """Have numba set itself up without scipy.linalg: 15 MB of a worker for the BLAS that no compiled function calls."""
    modules: dict[str, Any] = sys.modules
    if "scipy.linalg" not in modules:
        modules["scipy.linalg"] = None  # as if it were not installed
        try:
            cpu_target.target_context.refresh()
        finally:
            del modules["scipy.linalg"]


_begin_without_blas()


def compiled(function: F) -> F:
    """Compile ``function`` on first call, reuse the result on disk afterwards, release the GIL while it runs.

    The result is reused until a source changes that the function may depend on (`kernel_cache`). Compiled functions may
    call each other; LLVM decides which calls it inlines.
    """
    return _compiled(function)


def inlined(function: F) -> F:
    """As `compiled`, for a part of a hot function: it is always inlined, and counts no references to its arrays.

    It must neither make an array nor return one. With counts, a call costs an atomic operation for each array that it
    is given, and the fold took 1.7 times as long in parts as in one piece.
    """
    return _compiled(function, forceinline=True, _nrt=False)


def _compiled(function: F, **options: bool) -> F:
    njit: Any = numba.njit  # its types know no ``_nrt``
    dispatcher: Any = njit(nogil=True, error_model="numpy", **options)(function)
    dispatcher._cache = KernelCache(function)  # type: ignore[no-untyped-call] # noqa: SLF001 - as cache=True does
    return cast(F, dispatcher)


_TENS: Final = 10 ** np.arange(19, dtype=np.int64)


@compiled
def write_decimal(value: int, out: NDArray[np.uint8], at: int) -> int:
    """Write a number that is not negative to ``out`` from ``at`` on, in decimal; where it ends. For compiled code."""
    size = 1
    while size < _TENS.size and value >= _TENS[size]:
        size += 1
    rest = np.uint64(value)
    for j in range(at + size - 1, at - 1, -1):
        following = rest // np.uint64(10)
        out[j] = np.uint64(48) + rest - np.uint64(10) * following
        rest = following
    return int(at + size)


def copy_bytes(source: NDArray[np.uint8], start: int, size: int, out: NDArray[np.uint8], at: int) -> int:
    """Copy ``source[start:start + size]`` to ``out`` from ``at`` on; returns ``at + size``.

    In compiled code one memcpy, where a loop would go byte by byte. Neither the one nor the other range is checked.
    """
    out[at : at + size] = source[start : start + size]
    return at + size


@intrinsic
def _memcpy(_context: Any, out: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array: Any = cgutils.create_struct_proxy
        to, origin = (array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 2))
        copy: Any = cgutils.raw_memcpy
        copy(builder, builder.gep(to, [arguments[1]]), builder.gep(origin, [arguments[3]]), arguments[4], 1)
        return context.get_dummy_value()

    return types.void(out, types.intp, source, types.intp, types.intp), codegen


@overload(copy_bytes, inline="never")
def _copy_bytes(source: Any, start: Any, size: Any, out: Any, at: Any) -> Any:
    memcpy: Any = _memcpy

    def body(source: Any, start: Any, size: Any, out: Any, at: Any) -> Any:
        memcpy(out, at, source, start, size)
        return at + size

    return body


_WORD: Final = 8
_INT64: Final = ir.IntType(64)


def load_word(data: NDArray[np.uint8], at: int) -> np.uint64:
    """The eight bytes of ``data`` from ``at`` on as one number, little-endian; the range is not checked."""
    return np.uint64(int.from_bytes(data[at : at + _WORD].tobytes(), "little"))


def store_word(out: NDArray[np.uint8], at: int, value: np.uint64) -> None:
    """Write eight bytes to ``out`` from ``at`` on; the range is not checked."""
    out[at : at + _WORD] = np.frombuffer(int(value).to_bytes(_WORD, "little"), np.uint8)


def lowest_bit(bits: int) -> int:
    """Which bit is the lowest that is set; ``bits`` is not 0."""
    return (bits & -bits).bit_length() - 1


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = cgutils.create_struct_proxy(kind)(context, builder, array).data  # type: ignore[no-untyped-call]
    return builder.bitcast(builder.gep(data, [at]), _INT64.as_pointer())


@intrinsic
def _load(_context: Any, data: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = builder.load(_pointer(context, builder, signature.args[0], *arguments))
        word.align = 1
        return word

    return types.uint64(data, types.intp), codegen


@intrinsic
def _store(_context: Any, out: Any, at: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        stored = builder.store(arguments[2], _pointer(context, builder, signature.args[0], *arguments[:2]))
        stored.align = 1
        return context.get_dummy_value()

    return types.void(out, types.intp, types.uint64), codegen


@intrinsic
def _lowest(_context: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@overload(load_word, inline="never")
def _load_word(data: Any, at: Any) -> Any:
    load: Any = _load

    def body(data: Any, at: Any) -> Any:
        return load(data, at)

    return body


@overload(store_word, inline="never")
def _store_word(out: Any, at: Any, value: Any) -> Any:
    store: Any = _store

    def body(out: Any, at: Any, value: Any) -> Any:
        store(out, at, np.uint64(value))

    return body


@overload(lowest_bit, inline="never")
def _lowest_bit(bits: Any) -> Any:
    lowest: Any = _lowest

    def body(bits: Any) -> Any:
        return lowest(bits)

    return body
