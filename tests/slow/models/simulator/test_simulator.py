"""The session simulator."""

import csv
import gzip
import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.contract.decode import decode
from featurestore.contract.event import EVENT_TYPES, NEAR_MS, PASSIVE, Event
from featurestore.errors import SettingsError
from featurestore.session.features import FEATURES
from models.bundle.baseline import Baseline
from models.rules import StageRules
from models.simulator.knobs import KNOBS
from models.simulator.personas import MAX_LENGTH, PERSONA_NAMES, joint_law, length_law
from models.simulator.simulator import BLOCK, PRESETS, SimConfig, SimEvent, live, main, personas_of, simulate
from models.training.dataset import Rows, record
from tests.examples import examples


def flat(config: SimConfig) -> list[SimEvent]:
    return [event for chunk in simulate(config) for event in chunk]


@pytest.fixture(scope="module")
def stream() -> list[tuple[SimEvent, Event]]:
    """5,000 sessions with everything that goes wrong on a network."""
    return [(event, decode(event[1])) for event in flat(SimConfig(sessions=5_000, bots=0.002))]


def test_the_same_seed_gives_the_same_bytes() -> None:
    def digest(seed: int) -> str:
        return hashlib.sha256(b"".join(value for _, value, _ in flat(SimConfig(sessions=300, seed=seed)))).hexdigest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_the_key_is_the_session_and_arrivals_never_go_back(stream: list[tuple[SimEvent, Event]]) -> None:
    assert all(key.decode() == event.session_id for (key, _, _), event in stream)
    assert all(a[2] <= b[2] for (a, _), (b, _) in pairwise(stream))


def test_all_sessions_and_all_event_types_occur(stream: list[tuple[SimEvent, Event]]) -> None:
    assert len({event.session_id for _, event in stream}) == 5_000
    assert {event.type for _, event in stream} == set(EVENT_TYPES[:25]), "what shoppers do, not what others report"


def test_context_occurs_and_is_constant_in_a_session(stream: list[tuple[SimEvent, Event]]) -> None:
    context: dict[str, set[tuple[str | None, ...]]] = {}
    for _, event in stream:
        context.setdefault(event.session_id, set()).add((event.visitor_id, event.device, event.source, event.country))
    assert max(map(len, context.values())) == 1
    visitors = Counter(next(iter(values))[0] for values in context.values())
    assert 0.17 < visitors.pop(None) / 5_000 < 0.23
    assert max(visitors.values()) > 3, "visitors return"


def test_duplicates_late_and_very_late_events_occur(stream: list[tuple[SimEvent, Event]]) -> None:
    ids = Counter(event.event_id for _, event in stream)
    assert 0.002 < 1 - len(ids) / len(stream) < 0.008
    delays = np.array([arrival - event.ts for (_, _, arrival), event in stream])
    assert delays.min() >= 0
    assert 0.005 < (delays > 1_000).mean() < 0.03
    assert (delays > NEAR_MS).sum() > 0


def test_bots_click_more_than_250_times(stream: list[tuple[SimEvent, Event]]) -> None:
    names = personas_of(SimConfig(sessions=5_000, bots=0.002))
    clicks = Counter(event.session_id for _, event in stream if event.type not in PASSIVE)
    assert {names[session] for session, n in clicks.items() if n > 250} == {"bot"}


def test_an_order_is_worth_what_was_added() -> None:
    events = [decode(v) for _, v, _ in flat(SimConfig(sessions=400, seed=7, mix={"buyer": 20.0}).clean())]
    worth: Counter[str] = Counter()
    orders = 0
    for event in events:
        if event.type == "add_to_cart":
            assert event.price is not None
            worth[event.session_id] += round(100 * event.price) * (event.quantity or 1)
        if event.type == "purchase":
            orders += 1
            assert event.value == pytest.approx(worth[event.session_id] / 100)
    assert orders > 20


def events_of_sessions(config: SimConfig) -> dict[str, list[Event]]:
    """Each session's events, in the order of their arrival."""
    sessions: dict[str, list[Event]] = {}
    for _, value, _ in flat(config.clean()):
        event = decode(value)
        sessions.setdefault(event.session_id, []).append(event)
    return sessions


def shares_of(config: SimConfig) -> dict[str, float]:
    """Shares of the sessions that add to the cart, begin a checkout, order, and add without an order."""
    found = [{event.type for event in events} for events in events_of_sessions(config).values()]
    return {
        name: sum(map(holds, found)) / len(found)
        for name, holds in (
            ("adds", lambda types: "add_to_cart" in types),
            ("begins", lambda types: "begin_checkout" in types),
            ("orders", lambda types: "purchase" in types),
            ("abandons", lambda types: "add_to_cart" in types and "purchase" not in types),
        )
    }


def test_about_six_percent_abandon_a_cart_and_a_third_of_the_checkouts_fails() -> None:
    shares = shares_of(SimConfig(sessions=8_000, seed=5))
    assert shares["abandons"] == pytest.approx(0.062, abs=0.008)
    assert shares["orders"] == pytest.approx(0.042, abs=0.008)
    assert shares["orders"] / shares["begins"] == pytest.approx(0.7, abs=0.06)


def test_the_preset_l_orders_and_abandons_as_its_table() -> None:
    """L: 3.14 % of the sessions buy, 6 % abandon a cart."""
    shares = shares_of(SimConfig(sessions=20_000, seed=5, mix=PRESETS["L"]))
    assert shares["orders"] == pytest.approx(0.0314, abs=0.003)
    assert shares["abandons"] == pytest.approx(0.06, abs=0.004)


def test_a_checkout_follows_an_addition_and_goes_step_by_step() -> None:
    steps = ["begin_checkout", "add_shipping_info", "add_payment_info", "purchase"]
    lengths: Counter[int] = Counter()
    for events in events_of_sessions(SimConfig(sessions=6_000, seed=6)).values():
        types = [event.type for event in sorted(events, key=lambda event: (event.ts, event.event_id or ""))]
        taken = [name for name in types if name in steps]
        assert taken == steps[: len(taken)]
        if taken:
            lengths[len(taken)] += 1
            assert "add_to_cart" in types[: types.index("begin_checkout")]
    assert set(lengths) == {1, 2, 3, 4}, "checkouts fail after every step"


def test_buyers_look_at_fewer_articles_than_browsers_in_as_many_views() -> None:
    """The intent shows in what is looked at before anything is in the cart."""
    config = SimConfig(sessions=8_000, seed=8)
    names = personas_of(config)
    articles: dict[str, list[float]] = {"buyer": [], "browser": []}
    for session, events in events_of_sessions(config).items():
        viewed = [event.item_id for event in events if event.type == "view_item"]
        if names[session] in articles and len(viewed) >= 4:
            articles[names[session]].append(len(set(viewed)) / len(viewed))
    assert np.mean(articles["buyer"]) < np.mean(articles["browser"]) - 0.1


def test_session_lengths_follow_the_eshop_law() -> None:
    law = length_law()
    lengths = np.arange(1, MAX_LENGTH + 1)
    assert law.sum() == pytest.approx(1)
    assert law @ lengths == pytest.approx(6.9, abs=0.05)
    assert lengths[np.searchsorted(law.cumsum(), 0.5)] == 4
    assert joint_law({}).sum(axis=1) == pytest.approx(law)


def test_simulated_lengths_are_those_of_the_law() -> None:
    clicks = Counter(
        key for key, value, _ in flat(SimConfig(sessions=4_096).clean()) if decode(value).type not in PASSIVE
    )
    lengths = np.array(list(clicks.values()))
    assert lengths.mean() == pytest.approx(6.9, abs=0.4)
    assert np.median(lengths) == 4
    assert lengths.max() <= MAX_LENGTH


def test_the_law_is_close_to_the_real_eshop_sessions() -> None:
    """Largest difference of the distribution functions at most 0.03."""
    path = Path(__file__).parents[5] / "shared/data/eshop_clothing_2008.csv.gz"
    if not path.exists():
        pytest.skip("the eshop data is not here (shared/data)")
    with gzip.open(path, "rt") as file:
        clicks = Counter(row["session ID"] for row in csv.DictReader(file, delimiter=";"))
    real = np.bincount(list(clicks.values()), minlength=MAX_LENGTH + 1)[1:].cumsum() / len(clicks)
    assert np.abs(real - length_law().cumsum()).max() < 0.03


def test_a_mix_multiplies_a_personas_share() -> None:
    def buyers(**mix: float) -> float:
        names = Counter(personas_of(SimConfig(sessions=BLOCK, mix=mix)).values())
        return names["buyer"] / BLOCK

    assert buyers(buyer=0.0) == 0
    assert buyers(buyer=3.0) > 1.8 * buyers()


def test_blocks_do_not_depend_on_how_many_follow() -> None:
    """Who comes first is the same in a longer run; only the pool of visitors grows."""
    short, long = personas_of(SimConfig(sessions=BLOCK)), personas_of(SimConfig(sessions=BLOCK + 10))
    assert short.items() <= long.items()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sessions": 0}, "sessions: Input should be greater than"),
        ({"drift": {"cart": 2.0}}, "unknown feature 'cart'; known are session_duration"),
        ({"mix": {"tourist": 2.0}}, "unknown persona 'tourist'; known are bouncer"),
        ({"mix": dict.fromkeys(PERSONA_NAMES, 0.0)}, "nobody would come"),
        ({"drift": {"idle_time": float("nan")}}, "drift.idle_time"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SimConfig.checked(**values)
    assert message in str(caught.value)


@settings(max_examples=examples(10))
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1e6), st.integers(1, 40))
def test_any_rate_gives_valid_events_in_order(seed: int, rate: float, sessions: int) -> None:
    events = flat(SimConfig(sessions=sessions, seed=seed, sessions_per_s=rate))
    assert len({key for key, _, _ in events}) == sessions
    assert all(decode(value).session_id.encode() == key for key, value, _ in events)
    assert all(a[2] <= b[2] for a, b in pairwise(events))


def test_live_events_come_when_they_are_due() -> None:
    """The past is played at once; afterwards nothing comes early, and little comes late."""
    now = [1_800_000_000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    config = SimConfig(sessions=200, seed=3)
    total = worst = 0
    for batch in live(config, shoppers=50, warm_s=60, clock=lambda: now[0], sleep=sleep):
        total += len(batch)
        assert all(arrival <= now[0] * 1000 for _, _, arrival in batch)
        if batch and now[0] > 1_800_000_001:
            worst = max(worst, int(now[0] * 1000) - batch[0][2])
    assert total == len(flat(config.model_copy(update={"start_ms": 0, "sessions_per_s": 50 / 110})))
    assert worst < 100


def test_the_command_writes_json_lines(tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    assert main(["--sessions", "50", "--seed", "9", "--drift", "cart_additions=2", "--clean", "--out", str(out)]) == 0
    config = SimConfig(sessions=50, seed=9, drift={"cart_additions": 2.0}).clean()
    assert out.read_bytes().splitlines() == [value for _, value, _ in flat(config)]


def test_the_command_explains_a_factor_it_cannot_read() -> None:
    with pytest.raises(SettingsError, match="write NAME=FACTOR"):
        main(["--drift", "cart_additions"])


def drifted(drift: dict[str, float], seed: int = 1, sessions: int = 1_000) -> Rows:
    """Rows of the sessions after the first 30 %, when regulars have a history."""
    config = SimConfig(sessions=sessions, seed=seed, sessions_per_s=0.1, drift=drift)
    recording = record(simulate(config), StageRules())
    late = recording.started > np.quantile(recording.started, 0.3)
    return recording.live.take(late[recording.live.session])


@pytest.fixture(scope="module")
def usual() -> Rows:
    return drifted({}, sessions=4_000)


@pytest.mark.parametrize(
    ("feature", "factor"), [("cart_additions", 2.0), ("pages_viewed", 3.0), ("cart_ratio", 8.0), ("bounce_rate", 4.0)]
)
def test_a_drift_knob_moves_its_feature_and_no_other(usual: Rows, feature: str, factor: float) -> None:
    """PSI above 0.25, the alert's threshold, for that one feature only."""
    psi = Baseline.from_training(usual.X, usual.stages).psi_of(drifted({feature: factor}, 2, 3_000).X)
    assert {name for name, value in zip(FEATURES, psi, strict=True) if value > 0.25} == {feature}


def test_without_drift_no_feature_moves(usual: Rows) -> None:
    psi = Baseline.from_training(usual.X, usual.stages).psi_of(drifted({}, 2, 3_000).X)
    assert psi.max() < 0.1


@pytest.mark.parametrize("feature", KNOBS)
@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_drift_knob_moves_a_feature_in_its_direction(usual: Rows, feature: str, factor: float) -> None:
    column = FEATURES.index(feature)
    moved = np.nanmean(drifted({feature: factor}).X[:, column])
    assert (moved > np.nanmean(usual.X[:, column])) == (factor > 1)
