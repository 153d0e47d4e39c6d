"""Faults of the workers themselves: killed, frozen, stuck, restarted, joining and leaving."""

import time

import pytest

from tests.faults.conftest import MakeRig

PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def test_nothing_fails(rig: MakeRig) -> None:
    """The harness finds nothing where nothing fails, and something where something was left out."""
    bench = rig("0 nothing")
    bench.start()
    bench.send()
    time.sleep(4)
    row = bench.judge()
    assert row.events > 1_000
