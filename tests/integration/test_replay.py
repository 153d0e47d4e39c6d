"""Real clicks through a real Kafka, real workers and a real store."""

import gzip
import itertools
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.simulator.simulator import SimConfig, SimEvent, simulate
from tests.proof_eshop import CLICKS, ESHOP, OTTO, PARTITIONS, SESSIONS, Stack, prove, stored, wait_applied, workers
from tests.services import RedisServer, create_topics
from tests.services.kafka_broker import Kafka
from tests.services.kafka_topics import read_topic
from worker.checks.replay_check import verify
from worker.cli import main
from worker.commands.replay import send
from worker.trackers.adapters import read
from worker.trackers.rows import Click

needs_data = pytest.mark.skipif(not ESHOP.exists(), reason="../shared/data is not here")
GAP_MS = 1_800_000
STEP_MS = 2_500


@needs_data
@pytest.mark.parametrize("flavour", ["redis"])
def test_every_click_of_a_real_shop_is_applied_once(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path
) -> None:
    """165,474 clicks, two workers, 24,026 sessions: nine features each as recomputed from the CSV."""
    figures = prove(Stack(kafka.bootstrap, redis_server, unique), tmp_path / "workers.log")
    assert figures["events"] == CLICKS
    assert figures["sessions"] == SESSIONS


@needs_data
@pytest.mark.parametrize("flavour", ["valkey"])
def test_gaps_of_thirty_minutes_split_real_sessions(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path
) -> None:
    """OTTO's 20 shoppers paused 842 times, 124 times for more than 30 minutes; every decision is the batch code's."""
    stack = Stack(kafka.bootstrap, redis_server, unique)
    stack.make_topics()
    clicks = read("otto", OTTO)
    by_shopper: dict[str, list[int]] = {}
    for click in clicks:
        by_shopper.setdefault(click.session_id, []).append(click.ts)
    gaps = [b - a for times in by_shopper.values() for a, b in itertools.pairwise(times)]
    long = {s: sum(b - a > GAP_MS for a, b in itertools.pairwise(times)) for s, times in by_shopper.items()}
    assert (len(gaps), sum(long.values())) == (842, 124)
    with workers(stack, 1, tmp_path / "worker.log") as running:
        send(stack.settings(), clicks)
        assert wait_applied(running, len(clicks)) == {"applied": 862.0}, "no session has more than 250 interactions"
        assert not any(verify(stack.settings(), 30).values())
    with redis_server.client() as client:
        assert stored(client, stack.namespace(), PARTITIONS).keys() == by_shopper.keys()
    summaries = [json.loads(m.value() or b"") for m in read_topic(kafka.bootstrap, stack.settings().sessions_topic)]
    assert Counter(s["session_id"] for s in summaries) == Counter({s: n for s, n in long.items() if n})
    assert not any(s["bot"] for s in summaries)


def _access(stack: Stack) -> list[str]:
    s = stack.settings()
    return ["--kafka", s.kafka, "--topic", s.topic, "--decisions-topic", s.decisions_topic]


@pytest.mark.parametrize("flavour", ["valkey"])
def test_the_command_sends_a_file_at_a_speed_and_verifies_every_decision(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = Stack(kafka.bootstrap, redis_server, unique)
    stack.make_topics()
    file = tmp_path / "clicks.jsonl.gz"
    events = [
        {"session_id": f"s{i % 7}", "type": kind, "ts": 1_700_000_000_000 + 9_000 * i, "page": f"/p{i % 5}"}
        for i, kind in enumerate(["view_item", "add_to_cart", "search", "scroll"] * 25)
    ]
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, events)).encode()))
    # The dead letters' and the sessions' topics are named, since `--verify` looks whether all topics are there.
    names = ["--sessions-topic", f"{unique}.sessions", "--dlq-topic", f"{unique}.dlq"]
    with workers(stack, 1, tmp_path / "worker.log"), pytest.MonkeyPatch.context() as patch:
        for flag, name in zip(names[::2], names[1::2], strict=True):
            patch.setenv(f"CLICKSTAGE_{flag[2:].upper().replace('-', '_')}", name)
        started = time.monotonic()
        assert main(["replay", "--format", "jsonl", str(file), "--speed", "900", "--verify", *_access(stack)]) == 0
        assert time.monotonic() - started > 0.9, "891 s of clicks, 900 s of them a second"
    said = capsys.readouterr().out
    assert "sent 100 events of 7 session ids" in said
    assert "0 missing, 0 too many, 0 wrong, 0 unequal repeats" in said


def _bounced(summary: dict[str, Any]) -> bool:
    features = summary["features"]
    return bool(features["pages_viewed"] == 1 and features["num_clicks"] <= 1 and summary["outcome"] != "bought")


def rates_by_definition(log: list[SimEvent], summaries: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Of visits that name their visitor: the share of bounces among its last ten visits that were over by then."""
    times: dict[str, list[int]] = {}
    visits: dict[str, set[str]] = {}
    for _, value, at in log:
        event = json.loads(value)
        times.setdefault(event["session_id"], []).append(at)
        if "visitor_id" in event:
            visits.setdefault(event["visitor_id"], set()).add(event["session_id"])
    rates: dict[str, float | None] = {}
    for sessions in visits.values():
        for name in sessions:
            begun = times[name][0]
            ends = sorted((times[other][-1] + GAP_MS, other) for other in sessions if times[other][0] < begun)
            if any(-GAP_MS <= begun - end < STEP_MS for end, _ in ends):
                continue  # ends are noticed in steps, and partitions are a gap apart: it may or may not be over by then
            bounces = [_bounced(summaries[other]) for end, other in ends if end <= begun][-10:]
            rates[name] = sum(bounces) / len(bounces) if bounces else None
    return rates


@pytest.mark.parametrize("flavour", ["redis"])
@pytest.mark.issue(20, line=21)
@pytest.mark.contract("The same in a log of the past")
def test_visits_of_a_log_at_full_speed_know_those_before_them(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path
) -> None:
    """A backlog of a day, read in a second by a worker with event timers."""
    stack = Stack(kafka.bootstrap, redis_server, unique)
    stack.make_topics()
    log = [
        event
        for chunk in simulate(SimConfig(sessions=400, sessions_per_s=0.005, seed=3, bots=0, duplicates=0))
        for event in chunk
    ]
    clicks = [Click(name.decode(), at, value) for name, value, at in log]
    send(stack.settings(), clicks)
    with workers(stack, 1, tmp_path / "worker.log", timers="event") as running:
        wait_applied(running, len(clicks))
        time.sleep(1)
    found = [json.loads(m.value() or b"") for m in read_topic(kafka.bootstrap, stack.settings().sessions_topic)]
    summaries = {summary["session_id"]: summary for summary in found}
    expected = {name: rate for name, rate in rates_by_definition(log, summaries).items() if name in summaries}
    got = {name: summaries[name]["features"]["bounce_rate"] for name in expected}
    assert got == {name: rate if rate is None else pytest.approx(rate, abs=1e-3) for name, rate in expected.items()}
    assert sum(rate is not None for rate in expected.values()) > 50


@pytest.mark.parametrize("flavour", ["redis"])
def test_old_clicks_are_not_sent_where_kafka_would_delete_them_at_once(
    kafka: Kafka, unique: str, tmp_path: Path, flavour: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create_topics(kafka.bootstrap, {unique: 1}, {"retention.ms": "86400000"})
    file = tmp_path / "old.jsonl"
    file.write_text('{"session_id":"s","type":"click","ts":1207008000000}')
    command = ["replay", "--format", "jsonl", str(file), "--kafka", kafka.bootstrap, "--topic", unique]
    assert main(command) == 2
    assert "retention.ms=-1" in capsys.readouterr().err
    assert read_topic(kafka.bootstrap, unique) == []
    assert main([*command, "--shift"]) == 0
    [message] = read_topic(kafka.bootstrap, unique)
    event = json.loads(message.value() or b"")
    assert message.timestamp()[1] == event["ts"] > 1_700_000_000_000
    assert message.key() == b"s"
    assert main(["replay", "--format", "jsonl", str(file), "--kafka", kafka.bootstrap, "--topic", f"{unique}x"]) == 2
    assert f"has no topic {unique}x" in capsys.readouterr().err
