"""Thresholds from a shop's own sessions."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from featurestore.errors import SettingsError
from featurestore.session.stages import DROP_OFF_RISK, STAGES
from models.rules import load_rules
from models.simulator.simulator import SimConfig, SimEvent, simulate
from models.training.calibrate import Calibration, Gaps, calibrate, main, show, visit_gaps
from models.training.dataset import record
from models.training.eventfile import read_events
from models.training.train import TrainConfig, train


def shop(gap_factor: float, sessions: int = 1_200) -> list[SimEvent]:
    config = SimConfig(sessions=sessions, seed=11, sessions_per_s=0.1, drift={"time_between_clicks": gap_factor})
    return [event for chunk in simulate(config.clean()) for event in chunk]


@pytest.fixture(scope="module")
def slow() -> list[SimEvent]:
    """About 130 s between clicks."""
    return shop(9.0)


@pytest.fixture(scope="module")
def proposal(slow: list[SimEvent]) -> Calibration:
    return calibrate(slow)


def test_a_slow_shop_is_not_full_of_drop_offs(proposal: Calibration) -> None:
    """With the default 30 s nearly half of all rows are called Drop-Off Risk; with the proposal few are."""
    assert 100 < proposal.mean_gap_s < 200
    drop_off = STAGES[DROP_OFF_RISK]
    assert proposal.default_shares[drop_off]["rows"] > 0.4
    assert proposal.shares[drop_off]["rows"] < 0.2


def test_active_shoppers_lie_below_the_idle_threshold(slow: list[SimEvent], proposal: Calibration) -> None:
    live = record([slow], proposal.rules).live
    at_events = live.take(live.kind == 0)
    assert (at_events.stages == DROP_OFF_RISK).mean() < 0.08


def test_the_silent_mostly_stay_away(slow: list[SimEvent], proposal: Calibration) -> None:
    assert visit_gaps(slow).gone(proposal.rules.idle_after_s) == pytest.approx(0.75, abs=0.05)


def test_thresholds_scale_with_the_pace_of_the_shop(proposal: Calibration) -> None:
    quick = calibrate(shop(1.0)).rules
    assert proposal.rules.idle_s > 5 * quick.idle_s
    assert proposal.rules.idle_mean_s >= proposal.rules.idle_s
    assert proposal.rules.evaluator_clicks == pytest.approx(quick.evaluator_clicks, abs=1)


def test_every_threshold_has_a_reason_and_every_stage_examples(proposal: Calibration) -> None:
    assert set(proposal.why) == set(type(proposal.rules).model_fields)
    assert all(len(proposal.examples[stage]) == 3 for stage in STAGES)
    for shares in (proposal.shares, proposal.default_shares):
        assert sum(share["rows"] for share in shares.values()) == pytest.approx(1)


def test_gone_is_the_share_of_endings_among_the_silent() -> None:
    gaps = Gaps(np.array([1.0, 5.0, 50.0]), endings=3)
    assert gaps.gone(10) == 0.75
    assert gaps.gone(100) == 1.0


def test_a_thirty_minute_gap_ends_a_visit_and_the_logs_end_hides_some() -> None:
    def at(session: str, minutes: float) -> SimEvent:
        t = int(minutes * 60_000)
        return session.encode(), json.dumps({"session_id": session, "type": "click", "ts": t}).encode(), t

    gaps = visit_gaps([at("a", 0), at("a", 1), at("a", 40), at("b", 75), at("b", 80)])
    assert sorted(gaps.seconds.tolist()) == [60.0, 300.0]
    assert gaps.endings == 2, "two visits of a; b may still be there"


def test_from_a_shops_log_to_a_model(slow: list[SimEvent], tmp_path: Path) -> None:
    """The documented way: calibrate, write the rule file, train from it."""
    log, rules = tmp_path / "events.jsonl", tmp_path / "rules.yaml"
    log.write_bytes(b"".join(value + b"\n" for _, value, _ in slow))
    assert main([str(log), "--out", str(rules)]) == 0
    config = TrainConfig(trees=20, rows=5_000, jobs=1)
    model = train(config, load_rules(rules), read_events(log))
    assert model.held_out["accuracy"] > 0.95


def test_the_tables_can_be_read(proposal: Calibration) -> None:
    out = io.StringIO()
    show(proposal, Console(file=out, width=140))
    for text in ("idle_after_s", "Drop-Off Risk", "do not come back", "rows, default"):
        assert text in out.getvalue()


def test_too_few_visits_say_so() -> None:
    with pytest.raises(SettingsError, match="thresholds need at least 100"):
        calibrate(shop(1.0, sessions=20))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no event"),
        (b"\n\nnonsense\n", "holds no event; line 3: not_json"),
        (b'{"session_id":"a","type":"click"}\n', "has no column for the time"),
        (b'{"session_id":"a","type":"click","ts":"x"}\n', "line 1: schema"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        main([str(path)])


def test_a_dump_of_the_topic_with_rubbish_in_it_can_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``kcat -C`` writes what producers sent: one line in a hundred is no event, and is left out, counted and named."""
    good = [b'{"session_id":"a%d","type":"click","ts":%d}' % (n % 9, n) for n in range(110_000)]
    rubbish = [
        b"null",
        b'{"session_id":"a"}',
        b"\xff\xfe",
        b'{"session_id":"\\ud83d","type":"click","ts":1}',
        b"[" * 5_000,
    ]
    for n in range(1_100):
        good[n * 100] = rubbish[n % len(rubbish)]
    path = tmp_path / "dump.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(good), 1))
    assert len(read_events(path)) == 108_900, "more than a thousand bad lines, and far fewer than two per cent"
    assert "left out 1100 lines (line 1: schema: " in caplog.text
    assert "line 401: " in caplog.text
    assert "and 1095 more" in caplog.text
    with pytest.raises(SettingsError, match="more than 10 lines"):
        read_events(path, 10)


def test_files_are_read_in_time_order_also_compressed(tmp_path: Path) -> None:
    lines = [b'{"session_id":"a","type":"click","ts":%d}' % ts for ts in (3, 1, 2)]
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    assert [t for _, _, t in read_events(path)] == [1, 2, 3]
    with pytest.raises(SettingsError, match="cannot be read"):
        read_events(tmp_path / "none.jsonl")


def test_a_share_outside_its_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--gone 1\.5: give a share"):
        main([str(tmp_path / "x"), "--gone", "1.5"])


@pytest.mark.issue(20, line=18, sibling=True)
def test_a_log_that_train_would_refuse_is_said_to_be_too_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `calibrate` prints next must run: of an hour of shoppers too few buy for a model of buyers."""
    events = shop(1.0, sessions=300)
    short = calibrate(events)
    with pytest.raises(SettingsError) as refused:
        train(TrainConfig(), short.rules, events)
    assert short.refused == str(refused.value)
    path = tmp_path / "hour.jsonl"
    path.write_bytes(b"\n".join(value for _, value, _ in events))
    main([str(path), "--out", str(tmp_path / "rules.yaml")])
    said = capsys.readouterr().out
    assert "too short to train on" in said
    assert "clickstage train --rules" not in said


MINUTE = 60_000


def visit(name: str, begin_ms: int, *types: str, gap_s: int = 8) -> list[SimEvent]:
    """Events of one visit, ``gap_s`` apart."""
    found = []
    for i, kind in enumerate(types):
        t = begin_ms + i * gap_s * 1000
        event = {"session_id": name, "type": kind, "ts": t, "page": f"/{i}"}
        found.append((name.encode(), json.dumps(event).encode(), t))
    return found


def log_of(visits: list[list[SimEvent]]) -> list[SimEvent]:
    return sorted((event for one in visits for event in one), key=lambda event: event[2])


def one_item_buyers(n: int = 300) -> list[SimEvent]:
    """A third of the visits add one item and buy; a few add two and leave."""
    browse = ("page_view", "view_item", "view_item", "page_view", "view_item")
    return log_of(
        [
            visit(
                f"v{i}",
                i * MINUTE,
                *browse,
                *(("add_to_cart", "view_cart", "purchase") if i % 3 == 0 else ()),
                *(("add_to_cart", "add_to_cart") if i % 30 == 1 else ()),
                gap_s=6 + i % 9,
            )
            for i in range(n)
        ]
    )


@pytest.mark.issue(20, line=18)
def test_purchases_choose_the_number_of_items() -> None:
    """One item reaches all buyers before they buy, two reach none of them: two would be the rule without purchases."""
    proposal = calibrate(one_item_buyers())
    assert proposal.rules.buyer_cart_additions == 1
    assert "100% of the buyers reach it before they buy, 91% of those" in proposal.why["buyer_cart_additions"]
    assert (proposal.before.reached, proposal.after.reached) == (0.0, 1.0)
    assert proposal.after.precise == pytest.approx(10 / 11, abs=0.02)
    out = io.StringIO()
    show(proposal, Console(file=out, width=140))
    assert "were Intent Buyers before they bought" in out.getvalue()


@pytest.mark.issue(20, line=18)
def test_visits_that_the_logs_end_cuts_off_are_not_finished() -> None:
    """One visit a minute: those of the last half hour and the one that is going on are nobody's outcome."""
    proposal = calibrate(one_item_buyers())
    assert proposal.cut_off + proposal.visits == 300
    assert 28 <= proposal.cut_off <= 32
    assert proposal.before.buyers < 100


@pytest.mark.issue(20, line=18)
def test_a_shop_without_carts_keeps_three_stages() -> None:
    log = [event for event in one_item_buyers() if b"add_to_cart" not in event[1] and b"purchase" not in event[1]]
    proposal = calibrate(log)
    assert proposal.why["buyer_cart_additions"] == "kept: nobody adds anything to a cart"
    [warning] = [text for text in proposal.warnings if "Intent Buyer" in text]
    assert "a model of the other three stages" in warning
    assert np.isnan(proposal.after.reached)


@pytest.mark.issue(20, line=18)
def test_false_alarms_are_counted_before_and_after(proposal: Calibration) -> None:
    """In a slow shop most of those whom the default calls Drop-Off Risk come back; with the proposal fewer do."""
    assert proposal.before.returned > 0.5
    assert proposal.after.returned < proposal.before.returned - 0.1
