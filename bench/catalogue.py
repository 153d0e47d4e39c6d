"""Every benchmark, in the order in which they run. An id is never used for anything else."""

from typing import Final

from bench import latency, saturate, steps
from bench.context import Benchmark

BENCHMARKS: Final = (
    Benchmark("steps", "each step of a batch of 4,000 events alone, microseconds per event", steps.steps),
    Benchmark("batch.pure", "decode to encoded writes, sessions in memory, one thread", steps.pure),
    Benchmark("e2e", "one worker on real Kafka and Redis, saturated, and the floor under it", saturate.end_to_end),
    Benchmark("latency", "event due to decision readable, open loop, three rates and 80 % of saturation", latency.latency),
)
