"""What holds for every head, of the bundles that ship and of each task and kind of model."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.bundle.bundle import Bundle, write_bundle
from models.bundle.manifest import Training
from models.heads import IDENTICAL, PUBLISHED, VIEWS, Head, Heads
from models.rules import StageRules
from models.trees.layouts import LeafSets, Walk
from tests.laws.heads import heads, rows, shipped

EVERY = pytest.mark.parametrize("head", [*shipped(), *heads()], ids=lambda head: f"{head.name}-{head.task}")


@EVERY
def test_the_golden_rows_get_what_they_got(head: Head) -> None:
    assert head.off() <= head.tolerance
    assert np.isnan(head.golden.rows).all(axis=1).any(), "one row of missing values, so that each filler counts"


@EVERY
def test_both_layouts_and_the_plain_loop_agree(head: Head) -> None:
    """To the bit between the layouts: their sums are integers."""
    X = head.filled(rows(300, len(head.columns)))
    made = []
    for layout in (Walk, LeafSets):
        out = np.empty((len(X), len(head.outputs)))
        head.model.laid_out(layout).predict(X, head.model.finish, out)
        made.append(out)
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_allclose(made[0][:60], head.model.predict_plain(X[:60]), rtol=0, atol=1e-12)


@EVERY
def test_a_row_does_not_depend_on_its_neighbours(head: Head) -> None:
    X = rows(97, len(head.columns), seed=3)
    np.testing.assert_array_equal(head.score(X), np.concatenate([head.score(X[i : i + 1]) for i in range(97)]))


@EVERY
def test_outputs_are_what_the_task_says(head: Head) -> None:
    out = head.score(rows(200, len(head.columns), seed=4))
    assert np.isfinite(out).all()
    if head.task in ("multiclass", "binary"):
        assert (out >= 0).all()
        assert (out <= 1).all()
    if head.task == "multiclass":
        np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-9)


@EVERY
def test_other_columns_or_outputs_are_refused(head: Head) -> None:
    wrong = [
        {"columns": head.columns[1:]},
        {"columns": (*head.columns[1:], "mood")},
        {"outputs": (*head.outputs, "more")},
        {"view": "features-0"},
        {"fill": head.fill[1:]},
    ]
    for change in wrong:
        with pytest.raises(ValueError, match=f"head {head.name}"):
            dataclasses.replace(head, **change)  # type: ignore[arg-type]


@EVERY
def test_contributions_name_columns_that_the_model_asks(head: Head) -> None:
    """And a column that no tree asks adds nothing."""
    X = rows(50, len(head.columns), seed=5)
    values = head.contributions(X, np.zeros(50, np.uint8))
    asked = np.isin(np.arange(len(head.columns)), head.model.trees.feature)
    assert values.shape == X.shape
    assert not values[:, ~asked].any()


def test_heads_that_are_scored_in_one_pass_score_as_each_alone() -> None:
    """To the bit, whatever columns, fillers, links and calibrations they have; and calibration matters."""
    together = Heads(heads())
    X = rows(700, len(VIEWS[PUBLISHED]), seed=6)
    alone = np.concatenate([head.score(head.read(X)) for head in together.others], axis=1)
    np.testing.assert_array_equal(together.score_others({PUBLISHED: X}), alone)
    raw = dataclasses.replace(together["order_rest"], calibration=IDENTICAL, golden=together["order_rest"].golden)
    assert not np.array_equal(raw.score(X), together["order_rest"].score(X))
    np.testing.assert_allclose(
        together["order_rest"].calibration.of_probability(raw.score(X)), together["order_rest"].score(X), atol=1e-12
    )


def test_policies_know_the_outputs_by_these_names() -> None:
    """One output goes by its head's name as well."""
    names = Heads(heads()).variables
    assert names[:5] == (
        ("stage.explorer",),
        ("stage.evaluator",),
        ("stage.intent_buyer",),
        ("stage.drop_off_risk",),
        ("order_rest", "order_rest.yes"),
    )
    assert len(names) == sum(len(head.outputs) for head in heads())


def test_every_head_comes_back_from_a_bundle_as_it_was(tmp_path: Path) -> None:
    path = write_bundle(
        tmp_path,
        name="laws",
        version="1",
        created="for a test",
        heads=heads(),
        rules=StageRules(),
        seed=0,
        training=Training(sessions=0, rows=600, model="several"),
    )
    loaded = Bundle.load(path).heads
    X = rows(100, len(VIEWS[PUBLISHED]), seed=7)
    for before, after in zip(heads(), loaded, strict=True):
        assert (before.name, before.task, before.outputs, before.columns) == (
            after.name, after.task, after.outputs, after.columns,
        )  # fmt: skip
        assert before.calibration == after.calibration
        assert before.baseline == after.baseline
        np.testing.assert_array_equal(before.score(before.read(X)), after.score(after.read(X)))
