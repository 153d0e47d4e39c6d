"""What the demo's shoppers do."""

from collections import Counter

from decisions.intake import Records
from featurestore.session.stages import STAGES
from models.simulator.simulator import SimConfig, live
from worker.checks.recompute import engine_for, expect
from worker.demo.shop import MIX

OPENED_S = 1_790_000_000.0


def test_each_stage_is_seen_within_half_a_minute() -> None:
    """By the bundle and the policy that ship: the stages of 200 shoppers, 30 s after the shop has opened."""
    now_s = OPENED_S

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    config = SimConfig(sessions=100_000, seed=1, start_ms=0, duplicates=0.0, mix=MIX)
    events = []
    for batch in live(config, shoppers=200, warm_s=240.0, clock=lambda: now_s, sleep=sleep):
        events += batch
        if now_s > OPENED_S + 30:
            break
    values: list[bytes | None] = [value for _, value, _ in events]
    log = {0: Records(0, values, range(len(values)), [at_ms for _, _, at_ms in events])}
    found = expect(engine_for(None, None, "demo"), log, int(now_s * 1_000))
    newest = {name: document["stage"] for (_, name, _), document in sorted(found.decisions.items())}
    assert set(newest.values()) == set(STAGES), Counter(newest.values())
