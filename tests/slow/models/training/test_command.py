"""``clickstage train`` on input that cannot give a model: exit code 2, the remedy, and nothing fitted or written."""

import json
from pathlib import Path

import pytest

from featurestore.errors import SettingsError
from models.rules import StageRules
from models.simulator.simulator import SimEvent
from models.training.train import TrainConfig, train
from worker.cli import main
from worker.errors import ExitCode

SMALL = ("--sessions", "300", "--trees", "5", "--jobs", "1", "--bounce-rate", "0.3")


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, *options: str) -> str:
    """What the command says when it refuses; no bundle may be there afterwards, no forest may have been begun."""
    out = tmp_path / "bundles"
    assert main(["train", "--out", str(out), *options]) == ExitCode.USAGE
    assert not out.exists()
    message = capsys.readouterr().err
    assert "grow" not in message
    return message


def events(n: int, **fields: object) -> list[SimEvent]:
    """One page view each of ``n`` sessions, a minute apart."""
    start = 1_800_000_000_000
    return [
        (
            f"s{i}".encode(),
            json.dumps({"session_id": f"s{i}", "type": "page_view", "ts": start + 60_000 * i, **fields}).encode(),
            start + 60_000 * i,
        )
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("idle_seconds: 3", "unknown threshold 'idle_seconds'; known are idle_s"),
        ("scroll_depth: 50", "unknown threshold 'scroll_depth'; known are idle_s"),
        ("1: 2", "rules.yaml: "),
        ("idle_s: .nan", "rules.yaml: idle_s: "),
        ("evaluator_pages: 65", "no session could be an Evaluator"),
        ("buyer_cart_additions: 10000", "Intent Buyer has 0 of"),
        ("evaluator_clicks: 10000", "Evaluator has 0 of"),
        ("short_session_s: 0.001\nengagement_below_per_s: 0.001", "Drop-Off Risk has 0 of"),
    ],
)
def test_rules_that_cannot_work_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rules: str, message: str
) -> None:
    """An unknown name, a wrong value, a threshold that makes a stage vanish."""
    path = tmp_path / "rules.yaml"
    path.write_text(rules)
    assert message in refusal(capsys, tmp_path, "--rules", str(path), *SMALL)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "holds no event"),
        ("\n\n", "holds no event"),
        ("no json\n", "line 1: not_json"),
        ('{"session_id":"a","type":"page_view","ts":1800000000000}\n', "bounce_rate is missing in every row"),
    ],
)
def test_events_that_cannot_work_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, lines: str, message: str
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines)
    assert message in refusal(capsys, tmp_path, "--events", str(path))


def test_sessions_that_are_all_alike_are_refused_before_anything_grows() -> None:
    """A shop without readers: a stage is missing, and the message says what to lower. Carts may be missing."""
    steps: list[str] = []
    config = TrainConfig(trees=5, jobs=1, bounce_rate=0.3)
    log = sorted([*events(200, page="/a"), *events(200, page="/b")], key=lambda event: event[2])
    with pytest.raises(SettingsError) as caught:
        train(config, StageRules(), log, lambda step, share: steps.append(step))
    assert "Evaluator has 0 of" in str(caught.value)
    assert "lower evaluator_pages, evaluator_clicks or evaluator_duration_s" in str(caught.value)
    assert "Intent Buyer" not in str(caught.value)
    assert steps == ["run events through the fold"]


def test_a_model_that_cannot_be_served_is_refused_with_those_that_can() -> None:
    with pytest.raises(SettingsError, match=r"^model: 'decision_tree' cannot be trained; there are random_forest, "):
        TrainConfig.checked(model="decision_tree")


def test_an_existing_bundle_is_refused_before_anything_grows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept = tmp_path / "journey-1" / "manifest.json"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert main(["train", "--out", str(tmp_path), "--name", "journey", "--version", "1", *SMALL]) == ExitCode.BUNDLE
    said = capsys.readouterr()
    assert "journey-1" in said.err
    assert "grow" not in said.out + said.err
    assert kept.read_text() == "mine"


def test_a_dump_of_the_topic_with_rubbish_in_it_is_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One line in a hundred of ``kcat -C`` is no event: left out, counted, named. The rest is judged as any log is."""
    lines = [b'{"session_id":"a%d","type":"click","ts":%d}' % (n % 9, n * 1_000) for n in range(1_000)]
    lines[::100] = [b"rubbish"] * 10
    dump = tmp_path / "dump.jsonl"
    dump.write_bytes(b"\n".join(lines))
    assert main(["train", "--events", str(dump), "--out", str(tmp_path / "bundles")]) == ExitCode.USAGE
    assert "left out 10 lines (line 1: not_json" in caplog.text
    assert "line 101: not_json" in caplog.text
    assert "of 999 rows" in capsys.readouterr().err, "990 events, and the end of each of the nine sessions"
