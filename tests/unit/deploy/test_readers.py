"""The readers' ladder in Python and Node: fresh, else last known within its life, else neutral."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from featurestore.contract.ids import IdKey

ROOT = Path(__file__).parents[3]
READER = ROOT / "deploy" / "readers" / "python" / "shopper_actions.py"
START = 1_800_000_000_000
AWAY = "away"
Step = tuple[int, Any]  # (epoch ms, answer): AWAY, None for no key, else what is stored

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on the PATH")


def _load() -> Any:
    """The snippet is no package: people copy it."""
    spec = importlib.util.spec_from_file_location("shopper_actions", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shopper_actions"] = module
    spec.loader.exec_module(module)
    return module


reader = _load()


class Script:
    """A store and a clock that play a script."""

    def __init__(self) -> None:
        self.now = START
        self.answer: Any = None
        self.keys: list[str] = []

    def get(self, key: str) -> Any:
        self.keys.append(key)
        if self.answer == AWAY:
            raise redis.ConnectionError("away")
        return self.answer

    def now_ms(self) -> int:
        return self.now


def played(steps: list[Step]) -> list[str]:
    """What the Python reader shows at each step."""
    script = Script()
    actions = reader.ShopperActions(script, "neutral", now_ms=script.now_ms)
    shown = []
    for script.now, script.answer in steps:
        shown.append(actions.show("s"))
    return shown


def document(seq: int, life_ms: int, source: str = "topic", action: str | None = None, **more: Any) -> str:
    """A decision that ends `life_ms` after the start; its action says which it is."""
    name = action or f"{source}-{seq}-{life_ms}"
    fields = {"v": 1, "session_id": "s", "source": source, "seq": seq, "action": name, "expires_at": START + life_ms}
    return json.dumps(fields | more)


_documents = st.builds(
    document, st.integers(0, 6), st.integers(-20, 120), st.sampled_from(["old", "new"]), v=st.sampled_from([1, 2])
)
_garbage = st.sampled_from(
    ["", "{", "[]", '"x"', "null", '{"v":1}', document(1, 100, v=3), document(1, 100, expires_at="soon")]
)
_answers = st.one_of(_documents, _documents, _documents, st.just(AWAY), st.none(), _garbage)
_scripts = st.lists(st.tuples(st.integers(0, 30), _answers), max_size=25).map(
    lambda steps: [(START + sum(ms for ms, _ in steps[: i + 1]), answer) for i, (_, answer) in enumerate(steps)]
)


def fields_of(answer: Any) -> dict[str, Any] | None:
    """The document in an answer that holds a sound one."""
    try:
        found = json.loads(answer)
        return found if found["v"] in (1, 2) and found["action"] and isinstance(found["expires_at"], int) else None
    except (TypeError, ValueError, KeyError):
        return None


@given(_scripts)
def test_an_expired_decision_is_never_shown(steps: list[Step]) -> None:
    """Nor one that was not read, nor one from before the session was gone."""
    seen: dict[str, int] = {}
    for (now, answer), shown in zip(steps, played(steps), strict=True):
        if answer is None:
            seen.clear()
        elif found := fields_of(answer):
            seen[found["action"]] = found["expires_at"]
        assert shown == "neutral" or now < seen[shown]


@given(_scripts)
def test_an_older_decision_never_follows_a_newer_one(steps: list[Step]) -> None:
    """Compared by source, then seq; another source is newer even if it came too late to be shown."""
    last: tuple[str, int] | None = None
    for (_, answer), shown in zip(steps, played(steps), strict=True):
        if last is not None and (found := fields_of(answer)) and found["source"] != last[0]:
            last = None
        if shown != "neutral":
            source, seq = shown.split("-")[0], int(shown.split("-")[1])
            assert last is None or source != last[0] or seq >= last[1]
            last = source, seq


def test_the_ladder() -> None:
    """Rung by rung."""
    steps: list[tuple[int, Any, str]] = [
        (0, None, "neutral"),
        (1, document(512, 60_000, action="panel"), "panel"),
        (2, AWAY, "panel"),
        (3, "not JSON", "panel"),
        (4, document(256, 90_000, action="older"), "panel"),
        (59_999, AWAY, "panel"),
        (60_000, AWAY, "neutral"),
        (60_001, document(513, 60_000, action="ended-offer"), "neutral"),
        (60_002, document(768, 99_000, action="offer"), "offer"),
        (60_003, None, "neutral"),
        (60_004, AWAY, "neutral"),
        (60_005, document(512, 99_000, action="panel"), "neutral"),
        (60_006, document(3, 99_000, "topic-created-anew", action="banner"), "banner"),
    ]
    assert played([(START + ms, answer) for ms, answer, _ in steps]) == [shown for *_, shown in steps]


def test_what_is_remembered_is_bounded() -> None:
    """The session that was not asked for longest goes first."""
    script = Script()
    actions = reader.ShopperActions(script, sessions=2, now_ms=script.now_ms)
    script.answer = document(1, 1_000, action="panel")
    for session in ("a", "b", "a", "c"):
        assert actions.show(session) == "panel"
    script.answer = AWAY
    assert [actions.show(session) for session in ("a", "b", "c")] == ["panel", "none", "panel"]


@given(_scripts)
def test_the_whole_document_is_that_of_the_action_shown(steps: list[Step]) -> None:
    """None exactly where the neutral action is shown."""
    script = Script()
    actions = reader.ShopperActions(script, "neutral", now_ms=script.now_ms)
    for (script.now, script.answer), shown in zip(steps, played(steps), strict=True):
        decision = actions.decision("s")
        assert (decision["action"] if decision else "neutral") == shown
        assert decision is None or decision["session_id"] == "s"


def test_hashed_ids_are_found() -> None:
    """A reader with the workers' key asks for the key that they write."""
    key = "0b" * 32
    script = Script()
    reader.ShopperActions(script, id_key=key).show("s-ü")
    assert script.keys == ["decision:" + IdKey.of(key).session("s-ü")]


def test_another_deployments_decisions_are_at_its_prefix() -> None:
    """The readers of a second deployment ask where its workers write."""
    script = Script()
    reader.ShopperActions(script, prefix="rehearsal:").show("s")
    assert script.keys == ["rehearsal:s"]


@needs_node
def test_node_shows_what_python_shows() -> None:
    """The same scripts, the same actions; an answer that is too late is none."""
    scripts: list[list[Step]] = []

    @given(_scripts)
    def collect(steps: list[Step]) -> None:
        scripts.append(steps)

    collect()
    slow = [[{"now": now, "answer": "slow" if answer == AWAY else answer} for now, answer in s] for s in scripts[:20]]
    away = [[{"now": now, "answer": answer} for now, answer in s] for s in scripts]
    play = [shutil.which("node") or "node", str(ROOT / "tests" / "unit" / "deploy" / "play_reader.mjs")]
    done = subprocess.run(play, input=json.dumps(away + slow), capture_output=True, text=True, check=True, timeout=60)
    expected = [played(steps) for steps in scripts]
    assert json.loads(done.stdout) == expected + expected[:20]


@needs_node
def test_node_finds_hashed_ids() -> None:
    """As the workers hash them, at the prefix that they have."""
    key = "0b" * 32
    code = (
        f"import {{ ShopperActions }} from '{ROOT}/deploy/readers/node/shopper-actions.mjs';"
        f"const options = {{ idKey: '{key}', prefix: 'rehearsal:' }};"
        f"await new ShopperActions(async (k) => {{ console.log(k); return null; }}, options).show('s-ü');"
    )
    node = [shutil.which("node") or "node", "--input-type=module", "-e", code]
    done = subprocess.run(node, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "rehearsal:" + IdKey.of(key).session("s-ü")
