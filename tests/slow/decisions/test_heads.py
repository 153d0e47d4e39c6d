"""Heads beside the stage: in the document, in conditions, from the views that they read."""

import json

import msgspec
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from decisions.document import Decision
from decisions.engine import Engine, check_outcomes
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.policy import Policy
from decisions.summaries import Summary
from featurestore.errors import SettingsError
from featurestore.session.views import WIDE as COLUMNS
from featurestore.session.views import wide
from featurestore.store.keys import Namespace
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import Due
from featurestore.store.streams import SESSIONS
from models.bundle.baseline import Baseline
from models.bundle.bundle import Bundle, write_bundle
from models.bundle.manifest import Training
from models.heads import WIDE, Head, Heads
from models.rules import StageRules
from models.trees.ensemble import Ensemble
from tests.laws.heads import heads
from tests.unit.decisions.policy.policy_cases import policy_text

T = 1_700_000_000_000


def wide_head() -> Head:
    """Whether much was clicked, from three columns of the wide view."""
    columns = ("clicks", "cart_items", "gap_1_s")
    X = np.random.default_rng(0).integers(0, 20, (400, 3)).astype(np.float64)
    fitted = HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8).fit(X, X[:, 0] + X[:, 1] > 12)
    model = Ensemble.from_sklearn(fitted, (True,))
    baseline = Baseline.from_training(X, (X[:, 0] > 4).astype(np.float64), columns, 0)
    return Head.build(
        "busy", "binary", ["yes"], WIDE, columns, model, baseline=baseline, golden=X[:9], fill=np.zeros(3)
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = write_bundle(
        tmp_path_factory.mktemp("bundles"),
        name="heads",
        version="1",
        created="for a test",
        heads=[*heads()[:5], wide_head()],
        rules=StageRules(),
        seed=0,
        training=Training(sessions=0, rows=600, model="several"),
    )
    return Bundle.load(path)


def clicks() -> Plan:
    kinds = ["view_item", "add_to_cart", "view_item", "add_to_cart", "search", "view_cart"] * 4
    values: list[bytes | None] = [
        json.dumps({"session_id": f"s{i % 2}", "type": kind, "ts": T + 2_500 * i, "page": f"/{i}"}).encode()
        for i, kind in enumerate(kinds)
    ]
    return plan(decode([Records(0, values, list(range(len(values))), [-1] * len(values))]), 1, lambda _: -1)


def engine_of(bundle: Bundle, condition: str, outcomes: str = "all") -> Engine:
    text = policy_text(
        actions={"coupon": {"label": "c"}},
        stages={
            stage: {"threshold": 0.0, "rules": [{"show": "coupon", "when": [condition]}]}
            for stage in ("Explorer", "Evaluator", "Intent Buyer", "Drop-Off Risk")
        },
    )
    policy = Policy.from_text(text, outputs=bundle.heads.variables)
    return Engine.of(bundle, policy, Namespace("test", "heads", "t"), outcomes=outcomes)


def decided(engine: Engine, batch: Plan) -> list[Decision]:
    result = engine.run(batch, engine.loader(MemoryStore(engine.namespace)).load(batch), T)
    return [
        msgspec.json.decode(value, type=Decision) for part in result.outputs for o in part for value in o.values
    ]  # fmt: skip


def test_documents_hold_each_output_as_its_head_scores_it(bundle: Bundle) -> None:
    """To three digits, from the view that the head reads, as of the event; version 2 of the document."""
    engine, batch = engine_of(bundle, "busy >= 0"), clicks()
    loaded = engine.loader(MemoryStore(engine.namespace)).load(batch)
    judgement = engine.judge.judge(*loaded, batch.events, T)
    last = decided(engine, batch)[-1]
    assert last.v == 2
    assert list(last.outcomes) == ["order_rest", "add_rest", "leaves", "kind.one", "kind.two", "kind.three", "busy"]
    busy = bundle.heads["busy"]
    [index] = judgement.observations.rows["session_index"][-1:].tolist()
    expected = busy.score(busy.read(wide(judgement.states[[index]])))[0, 0]
    assert last.outcomes["busy"] == pytest.approx(expected, abs=0.0006)
    order = bundle.heads["order_rest"].score(judgement.observations.features[-1:])[0, 0]
    assert last.outcomes["order_rest"] == pytest.approx(order, abs=0.0006)


def test_conditions_compare_outputs(bundle: Bundle) -> None:
    """Of the stage and of every other head; a single output goes by its head's name too."""
    batch = clicks()
    found = decided(engine_of(bundle, "busy >= 0.5"), batch)
    assert {d.action for d in found} == {"none", "coupon"}
    for d in found:
        share = d.outcomes["busy"]
        assert share is not None
        if abs(share - 0.5) > 0.001:
            assert (d.action == "coupon") == (share >= 0.5)
    assert decided(engine_of(bundle, "busy.yes >= 0.5"), batch)[-1].action == found[-1].action
    for d in decided(engine_of(bundle, "stage.intent_buyer >= 0.3"), batch):
        if abs(d.probabilities[2] - 0.3) > 0.001:
            assert (d.action == "coupon") == (d.probabilities[2] >= 0.3)


def test_a_policy_for_other_heads_is_refused_where_it_is_read(bundle: Bundle) -> None:
    text = policy_text(stages={"Explorer": {"rules": [{"show": "none", "when": ["order_rst >= 0.2"]}]}})
    with pytest.raises(Exception, match="did you mean 'order_rest'"):
        Policy.from_text(text, outputs=bundle.heads.variables)


def test_the_wide_view_is_computed_only_for_who_reads_it(bundle: Bundle) -> None:
    engine, batch = engine_of(bundle, "busy >= 0"), clicks()
    judgement = engine.judge.judge(*engine.loader(MemoryStore(engine.namespace)).load(batch), batch.events, T)
    assert judgement.observations.wide.shape[1] == len(COLUMNS)
    stage = Bundle(bundle.manifest, Heads([bundle.stage]))
    alone = Engine.of(stage, Policy.from_text(policy_text()), engine.namespace)
    judgement = alone.judge.judge(*alone.loader(MemoryStore(engine.namespace)).load(batch), batch.events, T)
    assert judgement.observations.wide.size == 0
    assert judgement.outputs.shape == (len(judgement.scored), 0)


def test_documents_carry_the_outcomes_that_the_setting_names(bundle: Bundle) -> None:
    """Conditions know every head all the same; a name that is none is refused with the names that are."""
    whole = decided(engine_of(bundle, "busy >= 0.5"), clicks())
    for setting, kept in (
        ("busy", ["busy"]),
        ("busy, order_rest", ["order_rest", "busy"]),
        ("usual", ["order_rest"]),
        ("none", []),
    ):
        some = decided(engine_of(bundle, "busy >= 0.5", setting), clicks())
        assert [list(d.outcomes) for d in some] == [kept] * len(whole)
        assert all(a.outcomes[name] == b.outcomes[name] for a, b in zip(some, whole, strict=True) for name in kept)
        assert [d.v for d in some] == [2 if kept else 1] * len(whole)
        assert [d.action for d in some] == [d.action for d in whole]
    check_outcomes(Bundle(bundle.manifest, Heads([bundle.stage])), "usual")
    with pytest.raises(SettingsError, match="has no outcome 'orders'; it has"):
        engine_of(bundle, "busy >= 0.5", "orders")
    with pytest.raises(SettingsError, match="has no outcome 'orders'"):
        check_outcomes(bundle, "busy,orders")


def test_an_action_that_an_outcome_chose_says_so(bundle: Bundle) -> None:
    """First among the reasons, where the action or the stage is new; what other conditions choose says nothing."""
    found = decided(engine_of(bundle, "busy >= 0.5"), clicks())
    shown: dict[str, str] = {}
    told = 0
    for d in found:
        if d.action == "coupon" and shown.get(d.session_id) != "coupon":
            assert d.reasons[0] == f"busy {d.outcomes['busy']:.3g} (the policy asks for busy >= 0.5)"
            told += 1
        elif d.action != "coupon":
            assert not [text for text in d.reasons if "the policy asks" in text]
        shown[d.session_id] = d.action
    assert told
    others = decided(engine_of(bundle, "cart_items >= 1"), clicks())
    assert "coupon" in {d.action for d in others}
    assert not [text for d in others for text in d.reasons if "the policy asks" in text]


@pytest.mark.parametrize(("setting", "kept"), [("all", 7), ("busy", 1), ("none", 0)])
def test_a_summary_carries_what_the_heads_said_last(bundle: Bundle, setting: str, kept: int) -> None:
    """The outcomes of the session's last decision, in the names and digits of the decision; else no such field."""
    engine, batch = engine_of(bundle, "busy >= 0.5", setting), clicks()
    loaded = engine.loader(MemoryStore(engine.namespace)).load(batch)
    first = engine.run(batch, loaded, T)
    decisions = [msgspec.json.decode(v, type=Decision) for o in first.outputs[0] for v in o.values]
    last = {d.session_id: d.outcomes for d in decisions}
    over = plan_ticks([(batch.spans[0][0], Due([*batch.sessions], []), T + 3_600_000)])
    ended = engine.run(over, loaded, T)
    summaries = [msgspec.json.decode(v) for o in ended.outputs[0] if o.stream == SESSIONS for v in o.values]
    assert {s["session_id"]: s.get("outcomes", {}) for s in summaries} == last
    assert [len(s.get("outcomes", {})) for s in summaries] == [kept] * 2
    assert all(("outcomes" in s) == bool(kept) for s in summaries)
    assert all(msgspec.json.decode(msgspec.json.encode(s), type=Summary).session_id for s in summaries)
