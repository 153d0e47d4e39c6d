"""Compiled kernels are reused exactly as long as nothing has changed that they are made of."""

import fcntl
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread

import pytest

from featurestore.columns import jit, kernel_cache
from featurestore.columns.kernel_cache import LOCK, KernelCache, stamp

ROOT = Path(__file__).parents[4]
KERNEL = """
from featurestore.columns.jit import compiled
from thing.constants import SIZE

@compiled
def size() -> int:
    return SIZE
"""
RUN = "from thing.kernel import size; print(size(), sum(size.stats.cache_hits.values()))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "constants.py").write_text("SIZE = 3\n")
    (folder / "kernel.py").write_text(KERNEL)
    return folder


def _run(package: Path) -> list[str]:
    environment = {"PYTHONPATH": f"{package.parent}:{ROOT}", "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_constant_of_another_module_that_changes_is_not_missed(package: Path) -> None:
    """And where nothing changed, the result on disk is taken, also from a copy elsewhere."""
    assert _run(package) == ["3", "0"]
    assert _run(package) == ["3", "1"]
    moved = package.parent / "elsewhere"
    moved.mkdir()
    package.rename(moved / "thing")
    assert _run(moved / "thing") == ["3", "1"]
    (moved / "thing" / "constants.py").write_text("SIZE = 4\n")
    assert _run(moved / "thing") == ["4", "0"]


def _forget() -> None:
    """A process reads each file once."""
    for cached in (kernel_cache.stamp, kernel_cache._read, kernel_cache._module):
        cached.cache_clear()


def test_a_stamp_covers_what_is_imported_by_what_is_imported(package: Path) -> None:
    before = stamp(package / "kernel.py")
    (package / "constants.py").write_text("from thing.deeper import SIZE\n")
    (package / "deeper.py").write_text("SIZE = 3\n")
    _forget()
    between = stamp(package / "kernel.py")
    (package / "deeper.py").write_text("SIZE = 5\n")
    _forget()
    assert len({before, between, stamp(package / "kernel.py")}) == 3


def test_every_kernel_is_cached_this_way() -> None:
    assert isinstance(jit.write_decimal._cache, KernelCache)  # type: ignore[attr-defined]


def test_two_processes_do_not_store_at_once(tmp_path: Path) -> None:
    """The second waits, and finds a file name that the first has not taken."""
    file = tmp_path / "twice.py"
    file.write_text("from featurestore.columns.jit import compiled\n\n\n@compiled\ndef twice(x):\n    return 2 * x\n")
    spec = spec_from_file_location("twice", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.twice(1) == 2
    [index] = tmp_path.rglob("*.nbi")
    with (index.parent / LOCK).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        storing = Thread(target=module.twice, args=(1.5,))
        storing.start()
        storing.join(0.8)
        assert storing.is_alive()
        assert len([*tmp_path.rglob("*.nbc")]) == 1
    storing.join()
    assert len([*tmp_path.rglob("*.nbc")]) == 2
