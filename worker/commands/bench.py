"""``clickstage bench``: the benchmarks, in a checkout; they start servers out of the tests' folder."""

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import worker
from featurestore.errors import SettingsError


def main(argv: Sequence[str]) -> int:
    """Run ``python -m bench``.

    Raises:
        SettingsError: this is an installed package, which has no benchmarks.
    """
    checkout = str(Path(worker.__file__).parent.parent)
    if checkout not in sys.path:
        sys.path.insert(0, checkout)
    if find_spec("bench") is None or not (Path(checkout) / "bench").is_dir():
        raise SettingsError("the benchmarks are not part of the package: run `make bench` in a checkout")
    code: int = importlib.import_module("bench.__main__").main(argv)
    return code
