"""``clickstage score``: the same scores as the stream's, from whatever file, in bounded memory."""

import csv
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from decisions.core import Judge, Judgement
from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.log_pass import LogPass
from decisions.shipped import load_bundle, load_policy
from featurestore.errors import SettingsError
from featurestore.session.observation import EVENT_ROW
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import APPLIED
from models.bundle.bundle import Bundle
from models.simulator.simulator import SimConfig, simulate
from worker.commands.score import BATCH, main

DAY = 86_400_000


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(None)


@pytest.fixture(scope="module")
def events() -> list[Any]:
    """Simulated visits without visitors, and one visitor who comes back a day later."""
    found = [json.loads(value) for chunk in simulate(SimConfig(sessions=150, seed=5)) for _, value, _ in chunk]
    for event in found:
        event.pop("visitor_id", None)
    last = max(event["ts"] for event in found)
    for day, session in ((1, "first"), (2, "again")):
        found += [
            {"session_id": session, "visitor_id": "v", "type": kind, "ts": last + day * DAY + 9_000 * i, "page": "/p"}
            for i, kind in enumerate(("page_view", "click") if day == 2 else ("page_view",))
        ]
    return sorted(found, key=lambda event: event["ts"])


def scored(path: Path, tmp_path: Path) -> list[dict[str, str]]:
    out = tmp_path / "out.csv"
    assert main([str(path), "--out", str(out)]) == 0
    with out.open(newline="") as lines:
        return list(csv.DictReader(lines))


def lines(path: Path, events: list[Any]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def streamed(bundle: Bundle, events: list[Any], size: int) -> dict[int, list[float]]:
    """What a worker's engine says after each event, by line; after each ``size`` events silences and ends come."""
    engine = Engine.of(bundle, load_policy(None, bundle.heads.variables), Namespace("t", "t", "t"))
    store, shard, found = MemoryStore(engine.namespace), Shard(0), {}
    epoch = store.acquire([shard], 0, 0)[0].epoch
    applied: int | None = None

    def run(batch: Plan, upto: int | None) -> Judgement:
        result = engine.run(batch, engine.loader(store).load(batch), 0)
        for write in result.writes:
            write.epoch, write.expected, write.applied = epoch, applied, upto
        assert all(done.status == APPLIED for done in store.write(result.writes, 1))
        return result.judgement

    def let_time_pass(until: int) -> None:
        while due := store.due([(shard, until)], 1_000_000)[0]:
            run(plan_ticks([(shard, due, until)]), applied)

    for part, records in batches(events, size):
        let_time_pass(int(part[0]["ts"]))
        batch = plan(decode([records]), 1, lambda _: 0)
        judgement = run(batch, records.offsets[-1])
        applied = records.offsets[-1]
        rows = judgement.observations.rows
        for i in np.flatnonzero(judgement.scored & (rows["kind"] == EVENT_ROW)).tolist():
            offset = int(batch.events["offset"][rows["event"][i]])
            found[offset] = [*judgement.probabilities[i].tolist(), *judgement.outputs[i].tolist()]
        let_time_pass(int(part[-1]["ts"]))
    return found


def whole(events: list[Any], size: int) -> Iterator[tuple[list[Any], Records]]:
    """The events as records; a record's offset is its line."""
    for first in range(0, len(events), size):
        part = events[first : first + size]
        values: list[bytes | None] = [json.dumps(event).encode() for event in part]
        yield part, Records(0, values, range(first + 1, first + 1 + len(part)), [-1] * len(part))


def batches(events: list[Any], size: int) -> Iterator[tuple[list[Any], Records]]:
    """As `whole`; where an hour passes, a batch ends: live, visits end then."""
    edges = [0, *(n for n, (a, b) in enumerate(pairwise(events), 1) if b["ts"] - a["ts"] > 3_600_000), len(events)]
    for first, end in pairwise(edges):
        for part, records in whole(events[first:end], size):
            yield part, records._replace(offsets=[first + n for n in records.offsets])


def test_a_pass_over_the_log_says_what_the_stream_says_to_the_bit(bundle: Bundle, events: list[Any]) -> None:
    """States, silences, ends and the profile of a visitor who comes again, who may do so in one batch of the pass."""
    expected = streamed(bundle, events, 50)
    run = LogPass(Judge(bundle, load_policy(None, bundle.heads.variables), bundle.rules.fold_config(), bundle.heads), 4)
    said: dict[int, NDArray[np.float64]] = {}
    for part, records in whole(events, 50):
        scored = run.score(records)
        numbers = np.concatenate([scored.probabilities, scored.outputs], axis=1)
        said.update(zip(scored.offsets.tolist(), numbers, strict=True))
        run.let_time_pass(int(part[-1]["ts"]))
    assert said.keys() == expected.keys()
    assert all(np.array_equal(said[line], expected[line], equal_nan=True) for line in said)


@pytest.mark.parametrize("size", [7, 400])
def test_visitors_who_come_back_within_a_batch_know_their_visits_before(bundle: Bundle, size: int) -> None:
    """Visits in turn, side by side, under one session id again; most events do not name the visitor."""
    dice, at = random.Random(size), 1_700_000_000_000
    log: list[Any] = []
    for visitor in dice.choices("abcd", k=60):
        at += dice.choice([9_000, 1_200_000, 1_799_000, 1_801_000, 3 * 3_600_000])
        session, named = f"{visitor}{dice.randrange(9)}", dice.random() < 0.8
        for page in range(dice.choice([1, 1, 4])):
            event = {"session_id": session, "type": "page_view", "ts": at, "page": f"/{page}"}
            log.append(event | ({"visitor_id": visitor} if named and page in (0, 3) else {}))
            at += 3_000
    expected = streamed(bundle, log, 1)
    run = LogPass(Judge(bundle, load_policy(None, bundle.heads.variables), bundle.rules.fold_config(), bundle.heads), 4)
    for part, records in whole(log, size):
        scored = run.score(records)
        assert scored.offsets.tolist() == list(records.offsets)
        for line, *said in zip(scored.offsets.tolist(), scored.probabilities, scored.outputs, strict=True):
            assert np.array_equal(np.concatenate(said), expected[line], equal_nan=True), line
        run.let_time_pass(int(part[len(part) // 2]["ts"]))


def test_the_file_holds_the_scores_to_the_bit(bundle: Bundle, events: list[Any], tmp_path: Path) -> None:
    expected = streamed(bundle, events, 300)
    rows = scored(lines(tmp_path / "e.jsonl", events), tmp_path)
    assert [int(row["line"]) for row in rows] == sorted(expected)
    for row in rows:
        said = [float(cell) if cell else np.nan for cell in list(row.values())[4:]]
        assert np.array_equal(said, expected[int(row["line"])], equal_nan=True)
        assert row["session_id"] == events[int(row["line"]) - 1]["session_id"]


def test_every_kind_of_file_gives_the_same_scores(events: list[Any], tmp_path: Path) -> None:
    few = events[:300]
    expected = [list(row.values())[1:] for row in scored(lines(tmp_path / "e.jsonl", few), tmp_path)]
    names = list(dict.fromkeys(name for event in few for name in event))
    with (tmp_path / "e.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in e.items()} for e in few)
    assert [list(row.values())[1:] for row in scored(tmp_path / "e.csv", tmp_path)] == expected
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist([{n: e.get(n) for n in names} for e in few]), tmp_path / "e.parquet")
    assert [list(row.values())[1:] for row in scored(tmp_path / "e.parquet", tmp_path)] == expected


def test_sessions_over_are_let_go(bundle: Bundle) -> None:
    """Three days of visits, of which two minutes' are open at a time."""
    run = LogPass(Judge(bundle, load_policy(None, bundle.heads.variables), bundle.rules.fold_config(), bundle.heads), 4)
    most = 0
    for i in range(60):
        t = 1_700_000_000_000 + i * DAY // 20
        values: list[bytes | None] = [
            b'{"session_id":"s%d-%d","type":"page_view","ts":%d}' % (i, j, t) for j in range(10)
        ]
        run.let_time_pass(t)
        assert run.score(Records(0, values, range(10 * i + 1, 10 * i + 11), [-1] * 10)).read == 10
        most = max(most, run.open_sessions)
    assert most <= 20


def test_rows_of_sessions_are_scored_by_the_heads_whose_columns_are_there(bundle: Bundle, tmp_path: Path) -> None:
    head = bundle.heads["order_rest"]
    path = tmp_path / "rows.csv"
    values = [[7.0] * len(head.columns), [0.0] * len(head.columns)]
    path.write_text("\n".join([",".join(head.columns), *(",".join(map(str, row)) for row in values), ""]))
    rows = scored(path, tmp_path)
    assert set(rows[0]) == {"line", "order_rest", "checkout_rest"}  # they read the same columns
    assert [float(row["order_rest"]) for row in rows] == head.score(np.array(values))[:, 0].tolist()


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("e.txt", "", "rename or convert"),
        ("e.csv", "a,b\n1,2\n", "neither session_id"),
        ("e.jsonl", "", "neither session_id"),
        ("none.csv", None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_scored_says_what_to_do(name: str, text: str | None, remedy: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=remedy):
        main([str(tmp_path / name)])


def test_lines_that_are_no_events_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [{"session_id": f"s{i}", "type": "page_view", "ts": 1_700_000_000_000} for i in range(3)]
    assert len(scored(lines(tmp_path / "e.jsonl", [*good, {"session_id": "x"}]), tmp_path)) == 3
    assert "1 lines are no events, the first is line 4" in capsys.readouterr().err


def test_a_file_that_goes_back_in_time_is_refused(tmp_path: Path) -> None:
    """Sorted by visit instead of by time: visits would end before they are read."""
    new, old = ({"session_id": "s", "type": "page_view", "ts": ts} for ts in (1_700_000_000_000, 1_600_000_000_000))
    with pytest.raises(SettingsError, match="sort it by ts"):
        scored(lines(tmp_path / "e.jsonl", [new] * BATCH + [old]), tmp_path)
