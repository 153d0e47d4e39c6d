"""Training rows made by running events through the worker's fold."""

import json

import numpy as np
import pytest

from featurestore.session.features import FEATURES, N_FEATURES
from featurestore.session.observation import EVENT_ROW, SILENCE
from featurestore.session.stages import DROP_OFF_RISK
from models.rules import StageRules
from models.simulator.simulator import SimConfig, SimEvent, simulate
from models.training.dataset import Recording, record, split_by_time

RULES = StageRules()
CONFIG = SimConfig(sessions=600, seed=5, sessions_per_s=0.05)
BOUNCE, IDLE = FEATURES.index("bounce_rate"), FEATURES.index("idle_time")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(simulate(CONFIG), RULES)


def event(session: str, t_s: float, **fields: object) -> SimEvent:
    t = 1_800_000_000_000 + round(1000 * t_s)
    return session.encode(), json.dumps({"session_id": session, "type": "page_view", "ts": t, **fields}).encode(), t


def test_the_same_events_give_the_same_rows(recording: Recording) -> None:
    again = record(simulate(CONFIG), RULES)
    np.testing.assert_array_equal(again.live.X, recording.live.X)


def test_labels_are_the_rules_verdict_on_the_row(recording: Recording) -> None:
    np.testing.assert_array_equal(recording.live.stages, RULES.label(recording.live.X))
    assert recording.live.X.shape[1] == N_FEATURES


def test_every_session_is_seen_in_life_and_once_finished(recording: Recording) -> None:
    assert set(recording.live.session.tolist()) == set(range(600))
    assert set(recording.finished.session.tolist()) == set(range(600))


def test_silence_is_observed_and_mostly_a_drop_off(recording: Recording) -> None:
    silent = recording.live.kind == SILENCE
    assert 0.05 < silent.mean() < 0.4
    assert (recording.live.stages[silent] == DROP_OFF_RISK).mean() > 0.9


def test_silence_is_scored_past_the_rules_idle_threshold(recording: Recording) -> None:
    idle = recording.live.X[recording.live.kind == SILENCE, IDLE]
    assert idle.min() == pytest.approx(RULES.idle_mean_s, abs=0.01)


@pytest.mark.parametrize("batch", [7, 300])
def test_batches_do_not_change_what_is_observed(batch: int) -> None:
    """Late events aside: whether a timer fires before one of them arrives is a matter of time."""
    events = [event for chunk in simulate(CONFIG.clean()) for event in chunk]

    def key(r: Recording) -> list[bytes]:
        columns = np.delete(r.live.X, BOUNCE, axis=1)
        return sorted(bytes(row) for row in np.column_stack([r.live.session, r.live.t, r.live.kind, columns]))

    assert key(record([events], RULES, batch=batch)) == key(record([events], RULES))


def test_a_visitor_who_bounced_is_known_for_it_next_time() -> None:
    """A session ends 30 minutes after its last event and counts for those that begin later."""
    visits = [
        event("s1", 0, visitor_id="v", page="/a"),
        event("s2", 2_000, visitor_id="v", page="/a"),
        event("s2", 2_010, visitor_id="v", page="/b"),
        event("s3", 9_000, visitor_id="v", page="/c"),
    ]
    live = record([visits], RULES, batch=1).live
    bounce = {int(s): live.X[live.session == s, BOUNCE] for s in range(3)}
    assert np.isnan(bounce[0]).all()
    assert (bounce[1] == 1.0).all()
    assert (bounce[2] == 0.5).all()


def test_positions_count_a_sessions_rows(recording: Recording) -> None:
    position = recording.live.position()
    for session in range(0, 600, 50):
        own = position[recording.live.session == session]
        assert own.tolist() == list(range(1, own.size + 1))


def test_a_split_shares_no_session_and_keeps_time_order(recording: Recording) -> None:
    split = split_by_time(recording.live, recording.started, 0.6)
    assert not set(split.train.session.tolist()) & set(split.test.session.tolist())
    assert split.train.t.max() < recording.started[split.test.session].min()
    assert split.test.t.size > 0.15 * recording.live.t.size


def test_no_events_give_no_rows() -> None:
    empty = record([], RULES)
    assert empty.live.X.shape == (0, N_FEATURES)
    assert empty.names == []


def test_one_event_gives_one_row_its_silence_and_its_end() -> None:
    r = record([[event("s", 0)]], RULES)
    assert r.live.kind.tolist() == [EVENT_ROW, SILENCE]
    assert r.finished.t.tolist() == [1_800_000_000_000 + 1_800_000]
