"""The figures that the targets name, under the names that the targets use."""

from collections.abc import Mapping
from typing import Any

from bench.stats import Summary, rounded

Results = Mapping[str, Mapping[str, Summary]]


def headline(results: Results) -> dict[str, Any]:
    """What was measured of ``events_per_s floor_ratio peers latency_ms worker_rss_mb redis_bytes_per_session ...``."""
    found: dict[str, Any] = {}
    plain = {
        "events_per_s": ("e2e", "events_per_s"),
        "events_per_worker_cpu_s": ("e2e", "events_per_worker_cpu_s"),
        "floor_ratio": ("e2e", "floor_ratio"),
        "worker_rss_mb": ("sessions", "worker_rss_mb.1000000"),
        "redis_bytes_per_session": ("sessions", "redis_bytes_per_session.1000000"),
        "valkey_bytes_per_session": ("sessions", "valkey_bytes_per_session.1000000"),
        "million_sessions_ratio": ("sessions", "million_sessions_ratio"),
    }
    for key, (benchmark, figure) in plain.items():
        if (summary := results.get(benchmark, {}).get(figure)) is not None:
            found[key] = rounded(summary.median)
    latency: dict[str, dict[str, float]] = {}
    for name, summary in results.get("latency", {}).items():
        rate, _, figure = name.partition(".")
        if figure.startswith("p") and figure.endswith("_ms"):
            latency.setdefault(rate, {})[figure.removesuffix("_ms").replace("_", ".")] = rounded(summary.median)
    if latency:
        found["latency_ms"] = latency
    peers: dict[str, dict[str, float]] = {}
    for name, summary in results.get("peers", {}).items():
        peer, _, figure = name.partition(".")
        if figure:
            peers.setdefault(peer, {})[figure] = rounded(summary.median)
    if peers:
        found["peers"] = peers
    return found
