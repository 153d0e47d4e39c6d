"""The analysis finds what was put into the documents, counts nothing twice, and says when not to trust it."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decisions.experiments.report import Report, analyse, read_lines
from decisions.experiments.text import render, to_json
from decisions.policy import Policy
from decisions.policy.model import PolicyFile
from featurestore.errors import SettingsError
from tests.unit.decisions.policy.policy_cases import policy_text
from worker.commands import experiment as command

DEVICES = ("desktop", "mobile")


def session(i: int, arm: str | None, **more: Any) -> dict[str, Any]:
    return {
        "v": 1, "session_id": f"s{i}", "source": "t", "seq": 256 * i + 255, "outcome": "browsed", "value": 0.0,
        "decided_at": 1_000 + i,
        "device": DEVICES[i % 2], "traffic_source": "paid", "country": "DE", "stages_seen": ["Explorer"],
        "actions": {"banner": 1}, "arm": {"deal": f"{arm}@1"} if arm else {}, "bot": False,
    } | more  # fmt: skip


def decision(i: int, arm: str, stage: str = "Explorer", **more: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "session_id": f"s{i}",
        "source": "t",
        "seq": 256 * i,
        "stage": stage,
        "arm": {"deal": f"{arm}@1"},
    } | more


def exposure(i: int, action: str = "deal", kind: str = "shown", **more: Any) -> dict[str, Any]:
    named = {"session_id": f"s{i}", "exposure_id": f"{i}{action}", "kind": kind, "action": action}
    return {"v": 1, **named, "ts": 0, "received_at": 0} | more


def lines(documents: Iterable[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(d).encode() for d in documents]


def world(n: int = 4_000, lift: float = 0.0, fair: bool = True) -> list[dict[str, Any]]:
    """Sessions whose treatment arm converts 10 % times (1 + lift) and is shown a deal; mobile less often if unfair."""
    rng = np.random.default_rng(5)
    found = []
    for i in range(n):
        arm = "treatment" if rng.random() < 0.5 else "control"
        rate = 0.1 * (1 + lift) if arm == "treatment" else 0.1
        bought = rng.random() < rate
        shown = arm == "treatment" and rng.random() < (0.5 if fair or i % 2 == 0 else 0.2)
        actions = {"banner": 1} | ({"deal": 1} if shown else {})
        found.append(session(i, arm, actions=actions, outcome="bought" if bought else "browsed", value=50.0 * bought))
    return found


def report(sessions: Iterable[dict[str, Any]], decisions: Iterable[dict[str, Any]] = (), **options: Any) -> Report:
    [found] = analyse(lines(decisions), lines(sessions), "deal", **options)
    return found


def test_a_lift_is_found_with_its_interval() -> None:
    found = report(world(lift=0.5))
    [comparison] = found.populations[0].comparisons
    assert found.control == "control"
    assert comparison.lift.low < 0.5 < comparison.lift.high
    assert comparison.p < 0.001
    assert comparison.value_per_session.low > 0
    assert found.populations[0].srm_p > 0.01


def test_without_an_effect_the_interval_holds_zero() -> None:
    [comparison] = report(world()).populations[0].comparisons
    assert comparison.difference.low < 0 < comparison.difference.high


def test_a_wrong_sample_ratio_is_called_out() -> None:
    sessions = [s for i, s in enumerate(world()) if s["arm"]["deal"] == "control@1" or i % 5]
    found = report(sessions)
    assert found.populations[0].srm_p < 0.001
    assert "MISMATCH" in render(found)
    assert report(sessions, shares={"control": 0.5, "treatment": 0.4}).populations[0].srm_p > 0.01


def test_stages_come_from_the_decisions() -> None:
    sessions = world(400)
    decisions = [
        decision(i, s["arm"]["deal"][:-2], "Intent Buyer" if i < 100 else "Explorer") for i, s in enumerate(sessions)
    ]
    counts = {p.name: sum(n for n, _ in p.counts.values()) for p in report(sessions, decisions).populations}
    assert counts == {"all": 400, "Explorer": 300, "Evaluator": 0, "Intent Buyer": 100, "Drop-Off Risk": 0}


def test_nothing_counts_twice_and_bots_not_at_all() -> None:
    sessions = [session(1, "a"), session(1, "a"), session(2, "b"), session(3, "b", bot=True), session(4, None)]
    found = report(sessions)
    assert sum(n for n, _ in found.populations[0].counts.values()) == 2
    assert found.dropped == {"summaries delivered twice": 1, "bots": 1}


@pytest.mark.issue(20, line=20, sibling=True)
def test_sessions_that_changed_their_arm_are_left_out() -> None:
    found = report([session(1, "a"), session(2, "b")], [decision(1, "b"), decision(2, "b")])
    assert found.dropped == {"sessions that changed their arm": 1}


def test_a_session_id_that_comes_back_is_two_sessions() -> None:
    first, second = session(1, "a"), session(1, "b", seq=9_999)
    decisions = [decision(1, "a", seq=256), decision(1, "b", seq=9_000)]
    found = report([first, second], decisions)
    assert found.populations[0].counts == {"a": (1, 0), "b": (1, 0)}
    assert not found.dropped


def test_an_older_salt_is_left_out() -> None:
    found = report(
        [session(1, "a"), session(2, "a") | {"arm": {"deal": "a@10"}}, session(3, "b") | {"arm": {"deal": "b@10"}}]
    )
    assert (found.salt_version, found.dropped) == ("10", {"sessions of an older salt": 1})


def test_unfinished_sessions_are_counted() -> None:
    assert report([session(1, "a")], [decision(1, "a"), decision(7, "a")]).dropped == {
        "sessions without a summary (unfinished, or bots)": 1
    }


def test_an_experiment_by_visitor_counts_visitors() -> None:
    """Ten sessions of each visitor: as many visitors in both arms, and an interval wider than that of sessions."""
    sessions = [
        session(i, "ab"[i // 10 % 2], visitor=f"v{i // 10}", outcome="bought" if i // 10 % 4 < 2 else "browsed")
        for i in range(2_000)
    ]
    by_visitor = report(sessions)
    by_session = report([s | {"visitor": ""} for s in sessions])
    assert (by_visitor.unit, by_session.unit) == ("visitor", "session")
    widths = [r.populations[0].comparisons[0].difference for r in (by_visitor, by_session)]
    assert widths[0].high - widths[0].low > 3 * (widths[1].high - widths[1].low)
    mixed = report([session(i, "ab"[i % 2], visitor="v1") for i in range(10)])
    assert mixed.unit == "session"


def visits(rng: np.random.Generator, visitors: int = 250) -> list[dict[str, Any]]:
    """Visitors of one to five sessions with tastes of their own, drawn by visitor; arms without any effect."""
    found: list[dict[str, Any]] = []
    for v in range(visitors):
        arm, taste = "ab"[int(rng.random() < 0.5)], rng.beta(0.5, 2.0)
        for _ in range(int(rng.integers(1, 6))):
            bought = "bought" if rng.random() < taste else "browsed"
            found.append(session(len(found), arm, visitor=f"v{v}", outcome=bought, actions={}))
    return found


def in_both_arms(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, and one visitor whose two sessions met both arms."""
    n = len(sessions)
    return [*sessions, *(session(n + i, arm, visitor="both", actions={}) for i, arm in enumerate("ab"))]


@pytest.mark.issue(20, line=20)
def test_who_was_in_both_arms_is_left_out_and_counted() -> None:
    """One such visitor changes nothing for the others: they are compared by visitor as before."""
    sessions = visits(np.random.default_rng(3))
    without, found = report(sessions), report(in_both_arms(sessions))
    assert found.unit == "visitor"
    assert to_json([replace(found, dropped={})]) == to_json([without])
    assert found.dropped == {
        "sessions of visitors who were in more than one arm": 2,
        "visitors who were in more than one arm": 1,
    }
    seen = decision(0, "b" if sessions[0]["arm"]["deal"] == "a@1" else "a")
    changed = report(sessions, [seen])
    assert changed.dropped["visitors who were in more than one arm"] == 1, "a decision tells of the other arm, too"


@pytest.mark.issue(20, line=20)
def test_equal_arms_differ_as_often_as_the_level_says() -> None:
    """100 A/A experiments with a visitor in both arms: 5 % significant (within three standard errors), no mismatch."""
    rng = np.random.default_rng(20)
    reports = [report(in_both_arms(visits(rng))) for _ in range(100)]
    significant = sum(r.populations[0].comparisons[0].p < 0.05 for r in reports)
    assert 0 < significant <= 100 * 0.05 + 3 * (100 * 0.05 * 0.95) ** 0.5
    assert sum(r.populations[0].srm_p < 0.05 for r in reports) <= 100 * 0.05 + 3 * (100 * 0.05 * 0.95) ** 0.5
    assert {r.unit for r in reports} == {"visitor"}


def policy(unit: str = "visitor", salt: int = 1, control: float = 0.5) -> PolicyFile:
    shares = {"a": {"share": control}, "b": {"share": 1 - control, "replace": {"banner": "panel"}}}
    experiment = {"unit": unit, "salt_version": salt, "arms": shares}
    return Policy.from_text(policy_text(experiments={"deal": experiment})).file


def test_the_policy_says_shares_control_and_what_was_drawn() -> None:
    sessions = [session(i, "a" if i % 5 else "b", visitor=f"v{i // 2}") for i in range(500)]
    found = report(sessions, policy=policy("session", control=0.8))
    assert (found.unit, found.control, round(found.populations[0].srm_p, 6)) == ("session", "a", 1.0)
    assert report(sessions, policy=policy("session")).populations[0].srm_p < 0.001
    assert report(sessions, policy=policy("visitor")).dropped["visitors who were in more than one arm"] == 100
    with pytest.raises(SettingsError, match="drawn with salt 1, the policy has salt 2"):
        report(sessions, policy=policy(salt=2))


def test_a_policy_without_the_experiment_is_refused() -> None:
    """Else equal shares would be taken for the policy's, and a right sample ratio for a wrong one."""
    with pytest.raises(SettingsError, match=r"has no experiment .deal.*Give the policy that drew the arms"):
        report(world(400), policy=Policy.from_text(policy_text()).file)


def test_the_arm_that_is_held_out_is_what_the_others_are_compared_with() -> None:
    """The other arm changes nothing either: it sees what the policy shows, which is what is asked about."""
    arms = {"a": {"share": 0.5}, "b": {"share": 0.5, "holdout": True}}
    held = Policy.from_text(policy_text(experiments={"deal": {"arms": arms}})).file
    assert report([session(i, "ab"[i % 2]) for i in range(20)], policy=held).control == "b"


def test_a_benefit_that_nobody_was_shown_is_refused() -> None:
    with pytest.raises(SettingsError, match="no session was shown 'deall'; did you mean 'deal'"):
        report(world(400), benefit=["deall"])
    assert report(world(400), policy=policy(), benefit=["panel"]).benefit == ["panel"]


def test_unequal_shares_of_the_benefit_are_judged_by_four_fifths() -> None:
    unfair = {(g.grouping, g.name): g for g in report(world(fair=False)).groups}
    assert unfair["device", "desktop"].verdict == "highest"
    assert unfair["device", "mobile"].verdict == "adverse"
    assert unfair["device", "mobile"].ratio.value == pytest.approx(0.4, abs=0.08)
    fair = {(g.grouping, g.name): g.verdict for g in report(world()).groups}
    assert fair["device", "mobile"] in {"ok", "highest", "ok, uncertain"}


def test_a_group_that_never_gets_the_benefit_is_adverse_and_a_small_one_is_not_judged() -> None:
    sessions = [session(i, "treatment", device="mobile", actions={}) for i in range(100)]
    sessions += [session(i, "treatment", device="desktop", actions={"deal": 1}) for i in range(200, 400)]
    sessions += [session(i, "treatment", device="tablet") for i in range(400, 410)]
    sessions += [session(i, "control") for i in range(500, 510)]
    verdicts = {g.name: g.verdict for g in report(sessions).groups if g.grouping == "device"}
    assert verdicts == {"desktop": "highest", "mobile": "adverse", "tablet": "too few"}


@pytest.mark.parametrize("line", [b"{", b"[]", b"\xff", b'{"session_id": "a"}'])
def test_a_line_that_is_no_document_is_named(line: bytes) -> None:
    with pytest.raises(SettingsError, match="sessions, line 2: not a document"):
        analyse([], [*lines([session(1, "a")]), line])


def test_an_experiment_or_arm_that_does_not_occur_is_named() -> None:
    with pytest.raises(SettingsError, match="the file has: deal"):
        analyse([], lines([session(1, "a")]), "other")
    with pytest.raises(SettingsError, match="choose one of: a"):
        report([session(1, "a")], control="zzz")


def test_empty_files_give_no_report() -> None:
    assert analyse([], []) == []


def test_the_report_is_json_without_nan() -> None:
    text = to_json([report([session(1, "a"), session(2, "b")])])
    assert "NaN" not in text
    assert json.loads(text)[0]["populations"][0]["comparisons"][0]["lift"]["value"] is None


def test_the_lift_by_shown_stands_beside_the_one_as_assigned() -> None:
    """Half of the arm had it on the screen, and only these buy more often: the effect on them is twice that on all."""
    rng = np.random.default_rng(11)
    sessions, shown = [], []
    for i in range(20_000):
        arm = "treatment" if rng.random() < 0.5 else "control"
        seen = arm == "treatment" and rng.random() < 0.5
        outcome = "bought" if rng.random() < (0.15 if seen else 0.1) else "browsed"
        actions = {"banner": 1} if arm == "control" else {"deal": 1}
        sessions.append(session(i, arm, outcome=outcome, actions=actions))
        shown += [exposure(i)] * seen
    found = report(sessions, exposures=lines(shown))
    [comparison] = found.populations[0].comparisons
    by_shown = comparison.by_shown
    assert by_shown is not None
    assert (by_shown.sessions, by_shown.control_sessions) == (len(shown), 0)
    assert by_shown.difference.value == pytest.approx(2 * comparison.difference.value, rel=0.1)
    assert by_shown.lift.low < 0.5 < by_shown.lift.high
    assert by_shown.difference.low < 0.05 < by_shown.difference.high
    assert comparison.lift == report(sessions).populations[0].comparisons[0].lift
    rows = [line for line in render(found).splitlines() if "- by shown" in line]
    assert f"{len(shown):,}" in rows[1]
    assert "- by shown" not in render(report(sessions))


def test_an_exposure_counts_once_for_the_session_that_it_was_in() -> None:
    """By the session's id and the time; a click is of something that was shown; other actions are not the benefit."""
    first, second = session(1, "treatment", decided_at=500), session(1, "treatment", seq=9_999, decided_at=900)
    other, control = session(2, "treatment", actions={"deal": 1}), session(3, "control")
    exposures = [
        exposure(1, received_at=600),
        exposure(1, received_at=601),
        exposure(2, kind="clicked"),
        exposure(2, "banner"),
        exposure(3, "banner"),
        exposure(1, received_at=901),
        exposure(77),
    ]
    found = report([first, second, other, control], exposures=lines(exposures))
    by_shown = found.populations[0].comparisons[0].by_shown
    assert by_shown is not None
    assert (by_shown.sessions, by_shown.control_sessions) == (1, 0)
    assert found.dropped == {"exposures of sessions without a summary (unfinished, or bots)": 2}


def test_without_an_action_of_its_own_an_arm_has_no_lift_by_shown() -> None:
    found = report([session(1, "a"), session(2, "b")], exposures=lines([exposure(1, "banner")]))
    assert found.populations[0].comparisons[0].by_shown is None
    named = report([session(1, "a"), session(2, "b")], exposures=lines([exposure(1, "banner")]), benefit=["banner"])
    assert named.populations[0].comparisons[0].by_shown is not None


def run(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert command.main(argv) == 0
    return capsys.readouterr().out


def test_the_command_reads_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").write_bytes(b"\n".join(lines(world(lift=0.5))))
    options = ["analyse", "--decisions", "-", "--sessions", str(tmp_path / "s")]
    text = run([*options, "--shares", "control=0.5,treatment=0.5", "--look", "2/5"], capsys)
    assert "experiment deal, salt 1, by session, against 'control'" in text
    assert "stop from 3.357" in text or "stop from 3.36" in text
    assert json.loads(run([*options, "--json"], capsys))[0]["experiment"] == "deal"
    (tmp_path / "e").write_bytes(b"\n".join(lines([exposure(1), exposure(2)])))
    assert "- by shown" in run([*options, "--exposures", str(tmp_path / "e")], capsys)
    (tmp_path / "e").write_bytes(b"{}")
    with pytest.raises(SettingsError, match="exposures, line 1: not a document"):
        run([*options, "--exposures", str(tmp_path / "e")], capsys)
    with pytest.raises(SettingsError, match="cannot be read"):
        list(read_lines(tmp_path / "missing"))


def test_the_command_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(["size", "--baseline", "0.025", "--lift", "0.1"], capsys)
    assert "one look: 64,199 sessions per arm" in text


@pytest.mark.parametrize(
    "argv",
    [
        ["size", "--baseline", "2.5", "--lift", "0.1"],
        ["size", "--baseline", "0.1", "--lift", "0.1", "--looks", "99"],
        ["analyse", "--decisions", "-", "--sessions", "-", "--shares", "a"],
        ["analyse", "--decisions", "-", "--sessions", "-", "--shares", "a=0"],
    ],
)
def test_the_command_refuses_what_makes_no_sense(argv: list[str]) -> None:
    with pytest.raises(SettingsError):
        command.main(argv)
