"""A wrong policy is refused with file, line and remedy; every problem at once."""

import os
from pathlib import Path

import pytest

from decisions.policy import Policy, PolicyFileError
from decisions.policy.conditions import ConditionError, parse_conditions
from featurestore.columns.hashing import hash_text
from featurestore.errors import PolicyError
from tests.unit.decisions.policy.policy_cases import policy_text

GOOD = """\
version: 3
actions:
  banner: {label: Banner}
  deal: {label: Deal, persuasive: true, offer_minutes: 15}
stages:
  Explorer:
    rules:
      - show: banner
        when: pages_viewed >= 3
  Evaluator:
    rules: [{show: banner}]
    fallback: Explorer
"""


def refused(text: str) -> list[tuple[int, str]]:
    with pytest.raises(PolicyFileError) as caught:
        Policy.from_text(text, "p.yaml")
    for problem, line in zip(caught.value.problems, str(caught.value).splitlines(), strict=True):
        assert line == f"p.yaml:{problem.line}: {problem.message}"
    return [(p.line, p.message) for p in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("Evaluator:", "Evaluater:", 10, ["unknown stage", "did you mean 'Evaluator'?"]),
        ("pages_viewed", "pages_view", 9, ["unknown feature", "did you mean 'pages_viewed'?"]),
        ("show: banner\n", "show: baner\n", 8, ["unknown action 'baner'", "did you mean 'banner'?"]),
        (">= 3", "=~ (a+)+$", 9, ["unknown operator '=~'", "use one of < <= > >= == in"]),
        (">= 3", "matches (a+)+$", 9, ["unknown operator 'matches'"]),
        (">= 3", ">= three", 9, ["pages_viewed is a number"]),
        (">= 3", ">= 3 or idle_time > 1", 9, ["expected `and`", "write a second rule"]),
        ("fallback: Explorer", "fallback: Evaluator", 12, ["runs in a circle: Evaluator -> Evaluator"]),
        ("fallback: Explorer", "fallback: nobody", 12, ["unknown fallback 'nobody'"]),
        ("version: 3\n", "", 1, ["version: missing; add it"]),
        ("version: 3", "version: 3\ncolour: red", 2, ["colour: unknown key", "use one of: version, stages"]),
        ("offer_minutes: 15", "offer_minuts: 15", 4, ["did you mean 'offer_minutes'?"]),
        ("offer_minutes: 15", "offer_minutes: 0", 4, ["greater than 0"]),
        ("persuasive: true", "persuasive: maybe", 4, ["valid boolean"]),
        ("persuasive: true, ", "", 4, ["set `persuasive: true`"]),
        ("offer_minutes: 15", "offer_minutes: 15, max_per_session: 2", 4, ["really end", "cool_down_seconds: 900"]),
        ("banner: {label: Banner}", "banner: {label: Banner, max_per_visitor: 1}", 3, ["only persuasive"]),
        ("banner: {label: Banner}", "banner: {label: 7}", 3, ["must be text; put it in quotes"]),
        ("banner: {label: Banner}", "none: {label: Banner}", 3, ["means showing nothing"]),
        ("banner: {label: Banner}", "big banner: {label: Banner}", 3, ["without spaces"]),
        ("version: 3", "version: 3\nneutral: deal", 2, ["the neutral action must be free of both"]),
        ("version: 3", "version: 3\nneutral: nothing", 2, ["unknown action 'nothing'"]),
        ("version: 3", "version: 3\nkill_switches: {actions: [x]}", 2, ["unknown action 'x'"]),
        ("version: 3", "version: 3\nversion: 4", 2, ["stands twice, first on line 1"]),
        ("  Evaluator:\n", "  Evaluator:\n    threshold: 1.7\n", 11, ["less than or equal to 1"]),
        ("  Evaluator:", " Evaluator:", 10, ["not YAML"]),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_line_and_a_remedy(old: str, new: str, line: int, words: list[str]) -> None:
    problems = refused(changed(old, new))
    assert any(at == line and all(w in message for w in words) for at, message in problems), problems


def test_all_mistakes_are_reported_at_once() -> None:
    text = (
        changed("pages_viewed", "pages")
        .replace("fallback: Explorer", "fallback: x")
        .replace("show: banner\n", "show: b\n")
    )
    assert [line for line, _ in refused(text)] == [8, 9, 12]


def test_a_longer_circle_of_fallbacks_is_refused() -> None:
    stages = {"Explorer": {"fallback": "Evaluator"}, "Evaluator": {"fallback": "Explorer"}}
    assert len(refused(policy_text(stages=stages))) == 2


def test_experiments_that_take_more_than_the_whole_layer_are_refused() -> None:
    arms = {"a": {"share": 0.5}, "b": {"share": 0.5}}
    x = {"layer": "l", "share": 0.6, "arms": arms}
    [(_, message)] = refused(policy_text(experiments={"one": x, "two": x}))
    assert "take 120% of its traffic" in message
    Policy.from_text(policy_text(experiments={"one": x, "two": x | {"share": 0.4}}))


def test_arms_must_add_up() -> None:
    arms = {"a": {"share": 0.5}, "b": {"share": 0.4}}
    [(_, message)] = refused(policy_text(experiments={"one": {"arms": arms}}))
    assert "add up to 0.9; make it 1" in message


def test_arms_name_actions_that_exist() -> None:
    arms = {"a": {"share": 0.5}, "b": {"share": 0.5, "replace": {"bannr": "panle"}}}
    messages = [m for _, m in refused(policy_text(experiments={"one": {"arms": arms}}))]
    assert ["did you mean 'banner'?" in messages[0], "did you mean 'panel'?" in messages[1]] == [True, True]


def test_a_yaml_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n"
    [(line, message)] = refused(bomb)
    assert (line, "anchors and aliases" in message) == (1, True)


def test_depth_and_size_are_limited() -> None:
    assert "nested more than 12" in refused("[" * 13 + "]" * 13)[0][1]
    assert "nested more than 12" in refused("[" * 5000)[0][1]
    assert "larger than" in refused("#" * 300_000)[0][1]


def test_tags_create_no_objects() -> None:
    assert refused(changed("version: 3", "version: !!python/object/apply:os.getcwd []"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "text", "\x00", "a: b: c", "? [a]\n: b"])
def test_what_is_no_policy_is_refused_politely(text: str) -> None:
    assert refused(text)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        Policy.from_file(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes("version: \xe9".encode("latin-1"))
    with pytest.raises(PolicyError, match="not UTF-8"):
        Policy.from_file(tmp_path / "latin.yaml")
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(PolicyError, match="not a regular file"):
        Policy.from_file(tmp_path / "fifo.yaml")


def test_the_hash_follows_the_content_not_the_layout() -> None:
    policy = Policy.from_text(GOOD)
    assert Policy.from_text("# a comment\n" + GOOD).hash == policy.hash
    assert Policy.from_text(changed(">= 3", ">= 4")).hash != policy.hash
    assert policy.label == f"3+{policy.hash}"
    assert len(policy.hash) == 8
    int(policy.hash, 16)


def test_actions_keep_their_ids_when_others_come_and_go() -> None:
    one = Policy.from_text(policy_text())
    two = Policy.from_text(
        policy_text(actions={"new": {"label": "x"}, "panel": {"label": "y"}, "banner": {"label": "z"}})
    )
    ids = [{name: i for i, name in policy.action_of.items()} for policy in (one, two)]
    assert ids[0]["banner"] == ids[1]["banner"]
    assert one.action_of[0] == "none"


def test_actions_whose_ids_collide_need_an_id_of_their_own() -> None:
    seen: dict[int, str] = {}
    pair: tuple[str, str] | None = None
    for i in range(2000):
        name = f"a{i}"
        other = seen.setdefault(hash_text(name) & 0xFFFF, name)
        if other != name:
            pair = (other, name)
            break
    assert pair is not None
    actions = {name: {"label": name} for name in ("banner", "panel", *pair)}
    [(_, message)] = refused(policy_text(actions=actions))
    assert "give one of them an `id:`" in message
    actions[pair[1]]["id"] = "7"
    assert refused(policy_text(actions=actions))
    Policy.from_text(policy_text(actions=actions | {pair[1]: {"label": "x", "id": 7}}))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("country == NO", "country == NO"),
        ("device in [mobile,tablet]", "device in [mobile, tablet]"),
        ('category == "bed and bath"', "category == bed and bath"),
        ("cart_value>=79.9", "cart_value >= 79.9"),
        ('earlier_segment == "cart leavers"', "earlier_segment == cart leavers"),
        ("first_time_visitor == true and idle_time < 5", "first_time_visitor == true and idle_time < 5"),
    ],
)
def test_conditions_read_as_people_write_them(text: str, plain: str) -> None:
    assert " and ".join(map(str, parse_conditions(text))) == plain


@pytest.mark.parametrize(
    "text",
    [
        "", "and", "idle_time", "idle_time >", "idle_time > > 1", "> 1", "device > mobile", "device == phone",
        "country == Germany", "earlier_segment == loyal", "earlier_segment > 1",
        'earlier_segment == "glances, 1 click"', "first_time_visitor == yes", "device in mobile", "device in []",
        "device in [mobile",
        "device in [mobile tablet]", 'category == "shoes', "idle_time > nan", "idle_time > inf", "idle_time > 1 and",
        "idle_time != 3", "(idle_time > 3)", "idle_time in [" + "1," * 64 + "1]",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ConditionError):
        parse_conditions(text)
