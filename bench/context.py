"""What every benchmark is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.stack import Stack
from bench.stats import Summary

Samples = dict[str, list[float]]
"""Figure (with its unit in the name) → one value a run."""

RUNS: Final = 5


@dataclass(slots=True)
class Context:
    """One run of the command.

    Attributes:
        stack: Kafka and Redis, started when first asked for.
        runs: how often each figure is measured.
        quick: a smoke run: small sizes, figures worth little.
        results: what was measured so far, for ratios to earlier benchmarks.
    """

    stack: Stack
    runs: int = RUNS
    quick: bool = False
    results: dict[str, dict[str, Summary]] = field(default_factory=dict)

    def size(self, full: int) -> int:
        """A tenth in a quick run."""
        return max(full // 10, 1) if self.quick else full

    def median(self, benchmark: str, figure: str) -> float | None:
        """An earlier result of the same run, None where that benchmark was left out."""
        found = self.results.get(benchmark, {}).get(figure)
        return found.median if found else None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        id: permanent: a result stays comparable for as long as its id lives; what changes its meaning changes its id.
        title: what is measured.
        run: measures.
    """

    id: str
    title: str
    run: Callable[[Context], Samples]
