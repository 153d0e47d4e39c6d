"""numba's cache on disk, keyed by the source of a kernel and of every module that the kernel may take a constant from.

numba itself looks only at the file of the function: a kernel would keep the constants that another module had when it
was compiled. Here the stamp of a file covers the modules that it imports, and the modules that those import, as far as
they are ours. So a changed constant always recompiles. If no source changed, nothing is compiled, whatever the times of
the files and wherever the checkout lies.

Processes that start together share the files. numba chooses a file's name from the index that it read, so two
processes that store two signatures of one function at once could each take the other's code: storing takes a lock.
"""

import fcntl
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from numba.core.caching import CompileResultCacheImpl, FunctionCache

_IMPORT: Final = re.compile(r"^(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n]*)|import\s+([\w., ]+))", re.MULTILINE)
_NAME: Final = re.compile(r"\w+")
LOCK: Final = "kernels.lock"


@cache
def stamp(file: Path) -> str:
    """A digest of a module and of all modules of the same source tree that it needs."""
    root = file.parent
    while (root / "__init__.py").exists():
        root = root.parent
    digest = hashlib.sha256()
    for path in sorted(_needed(file, root)):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(_read(path)[0])
    return digest.hexdigest()


def _needed(file: Path, root: Path) -> set[Path]:
    found, left = {file}, [file]
    while left:
        for name in _read(left.pop())[1]:
            path = _module(root, name)
            if path is not None and path not in found:
                found.add(path)
                left.append(path)
    return found


@cache
def _module(root: Path, name: str) -> Path | None:
    """The file of a module of the source tree; None for a module from elsewhere, or a name that is not a module."""
    place = root.joinpath(*name.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _read(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """A digest of a file, and what it imports."""
    text = path.read_bytes()
    names: list[str] = []
    for module, taken, plain in _IMPORT.findall(text.decode(errors="replace")):
        if module:
            names += [module, *(f"{module}.{name}" for name in _NAME.findall(taken))]
        else:
            names += [name.strip() for name in plain.split(",")]
    return hashlib.sha256(text).digest(), tuple(names)


def _stamped(locator: Any) -> Any:
    """A locator of numba's whose stamp is ours."""
    return type(f"Stamped{locator.__name__}", (locator,), {"get_source_stamp": lambda self: stamp(Path(self._py_file))})


class _Impl(CompileResultCacheImpl):
    _locator_classes = [*map(_stamped, CompileResultCacheImpl._locator_classes)]  # noqa: RUF012, SLF001 - numba's way


class KernelCache(FunctionCache):
    """The cache of one compiled function."""

    _impl_class = _Impl

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store what was compiled for a signature; blocks while another process stores in the same folder."""
        self._impl.locator.ensure_cache_path()
        with (Path(self._cache_path) / LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets it go with the file, also where the process dies
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
