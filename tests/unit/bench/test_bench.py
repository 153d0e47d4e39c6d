"""The arithmetic of the benchmarks; they themselves run on real servers by `make bench`."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.catalogue import BENCHMARKS
from bench.compare import changes
from bench.headline import headline
from bench.latency import latencies
from bench.machine import facts
from bench.seed import shifted, templates
from bench.stats import ratio, rounded, summarise
from bench.workload import shoppers
from decisions.shipped import load_bundle
from featurestore.columns.hashing import hash64
from featurestore.session.codec import unpack
from featurestore.session.fold import deadlines
from worker.wiring import fold_config

BASELINE = Path(__file__).parents[3] / "bench" / "baseline.json"


def _result(**figures: list[float]) -> dict[str, object]:
    return {
        "machine": facts(),
        "results": {"e2e": {name: summarise(runs).document() for name, runs in figures.items()}},
    }


def test_ids_are_unique_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """An id names one benchmark, and --list tells them all."""
    ids = [benchmark.id for benchmark in BENCHMARKS]
    assert len(set(ids)) == len(ids)
    assert main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == ids


def test_unknown_id_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt id measures nothing and says so."""
    assert main(["--only", "e2ee"]) == 2
    assert "e2ee" in capsys.readouterr().err


def test_ratio_holds_the_change() -> None:
    """The interval covers the true ratio, and covers 1 where nothing changed."""
    rng = np.random.default_rng(1)
    base, head = rng.normal(100, 2, 5).tolist(), rng.normal(120, 2, 5).tolist()
    found = ratio(base, head)
    assert found.low <= 1.2 <= found.high
    assert ratio(base, base).low <= 1 <= ratio(base, base).high


def test_comparison_names_what_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Slower events per second and longer latencies are worse, faster ones better; the exit code says so."""
    base = _result(events_per_s=[100.0, 101.0, 99.0], p99_ms=[10.0, 10.1, 9.9], offered_per_s=[5.0])
    head = _result(events_per_s=[80.0, 81.0, 79.0], p99_ms=[5.0, 5.1, 4.9], offered_per_s=[9.0])
    assert {one.figure: one.verdict for one in changes(base, head)} == {
        "events_per_s": "worse",
        "p99_ms": "better",
        "offered_per_s": "",
    }
    files = []
    for name, result in (("base", base), ("head", head)):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(result))
    assert main(["compare", *map(str, files)]) == 1
    assert main(["compare", str(files[0]), str(files[0])]) == 0
    assert "e2e events_per_s" in capsys.readouterr().out


def test_latency_counts_from_the_due_time() -> None:
    """Time runs from the schedule to the first poll that finds the offset applied; what never is, is endless."""
    partitions = np.array([0, 1, 0, 1, 0], np.int32)
    times = np.array([0.15, 0.40])
    offsets = np.array([[0, -1], [1, 1]])
    due, latency = latencies(partitions, 10.0, times, offsets)
    np.testing.assert_allclose(due, [0.0, 0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(latency, [0.15, 0.30, 0.20, 0.10, np.inf])


def test_headline_has_the_names_of_the_targets() -> None:
    """The figures that the targets name stand at the top of the JSON under those names."""
    one = summarise([2.0])
    found = headline(
        {
            "e2e": {"events_per_s": one, "floor_ratio": one},
            "latency": {"5000.p99_ms": one, "5000.p99_9_ms": one, "5000.offered_per_s": one},
            "peers": {"naive.ratio": one},
            "sessions": {"million_sessions_ratio": one, "worker_rss_mb.1000000": one},
        }
    )
    assert found["latency_ms"] == {"5000": {"p99": 2.0, "p99.9": 2.0}}
    assert found["peers"]["naive"]["ratio"] == 2.0
    assert {"events_per_s", "floor_ratio", "million_sessions_ratio", "worker_rss_mb"} <= found.keys()


def test_workload_is_the_same_every_time() -> None:
    """A later call continues where an earlier one would, byte by byte."""
    assert shoppers(300)[100:] == shoppers(200, 100)


def test_seeded_sessions_are_templates_moved_in_time() -> None:
    """A seeded session's deadline moves by exactly the shift, and its bytes keep their length."""
    of = templates(3_000)
    rows = np.arange(min(of.due.size, 50))
    by = np.full(rows.size, 86_400_000)
    names = [f"x{i}" for i in range(rows.size)]
    moved, still = shifted(of, rows, by, names), shifted(of, rows, 0 * by, names)
    assert [len(blob) for blob in moved] == [len(blob) for blob in still]
    states = unpack(moved, hash64(names)).states
    np.testing.assert_array_equal(deadlines(states, fold_config(load_bundle(None))) - by, of.due[rows])


def test_figures_keep_four_digits() -> None:
    """A shared machine carries no more."""
    assert rounded(123_456.0) == 123_500.0


def test_baseline_names_its_machine() -> None:
    """The committed result can be compared, and says what it was measured on."""
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    assert baseline["machine"]["cores"]
    assert baseline["results"].keys() <= {benchmark.id for benchmark in BENCHMARKS}
