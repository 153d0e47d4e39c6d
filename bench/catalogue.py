"""Every benchmark, in the order in which they run. An id is never used for anything else."""

from typing import Final

from bench import (
    clocks,
    due,
    edge,
    ends,
    evenness,
    growth,
    guarantees,
    inline,
    latency,
    parts,
    policy,
    rivals,
    saturate,
    scoring,
    sessions,
    startup,
    steps,
)
from bench.context import Benchmark

BENCHMARKS: Final = (
    Benchmark("machine", "how even the machine's own speed is, nothing else running", evenness.machine),
    Benchmark("steps", "each step of a batch of 4,000 events alone, microseconds per event", steps.steps),
    Benchmark("batch.pure", "decode to encoded writes, sessions in memory, one thread", steps.pure),
    Benchmark("edge.batch", "a batch of 1, 4 and 16 inline decisions, sessions in memory, one thread", inline.inline),
    Benchmark("clocks", "false silences of shoppers whose clocks are off by up to five minutes", clocks.clocks),
    Benchmark("forest", "the shipped forest alone, one thread", parts.forest),
    Benchmark("policy.decide", "the policy alone, with and without experiments", policy.decide),
    Benchmark("simulator", "simulated events as JSON lines", parts.simulator),
    Benchmark("score", "a file of events through clickstage score, JSON lines in, CSV out", scoring.score),
    Benchmark("e2e", "one worker on real Kafka and Redis, saturated, and the floor under it", saturate.end_to_end),
    Benchmark("latency", "event due to decision readable, open loop, and at 80 % of saturation", latency.latency),
    Benchmark("sessions", "memory, bytes and speed at 10,000 and 1,000,000 live sessions", sessions.live_sessions),
    Benchmark("timers", "10,000 of 1,000,000 live sessions fall silent beside 5,000 events a second", due.timers),
    Benchmark(
        "ends", "900,000 sessions of one partition end in the same two seconds beside 500 events a second", ends.ends
    ),
    Benchmark("growth", "how cost grows: sessions, partitions, batch size, a hot session, features", growth.growth),
    Benchmark(
        "guarantees",
        "what the guarantees cost; rebuild after Redis is lost; takeover after SIGKILL",
        guarantees.guarantees,
    ),
    Benchmark(
        "edge", "one process of the edge: inline decisions, collecting, pushing to 1,000 and 5,000 streams", edge.edge
    ),
    Benchmark("startup", "from nothing to ready; loading the bundle", startup.startup),
    Benchmark("peers", "the usual stacks on the same events with the same forest, and the worker beside", rivals.peers),
)
