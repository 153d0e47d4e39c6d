"""The fast forest answers what scikit-learn answers, on either layout and in any batch."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from featurestore.session.stages import STAGES
from models.trees import kernels
from models.trees.ensemble import Ensemble, write_npz
from models.trees.layouts import LeafSets, Walk, choose
from tests.examples import examples

FAR = 1e34  # scikit-learn sums its input in float32 to look for NaN


def drawn(seed: int, n: int, classes: int = 4, m: int = 9) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows with ties, zeros and far values; labels that need several features, some of them noise."""
    rng = np.random.default_rng(seed)
    X = rng.lognormal(0, 2, (n, m))
    X[:, ::3] = np.round(X[:, ::3])
    X[rng.random((n, m)) < 0.1] = -0.0
    y = (X[:, 0] > 1).astype(int) + 2 * (X[:, 1 % m] > X[:, 2 % m])
    y[rng.random(n) < 0.1] = rng.integers(0, 4)
    return X, y % classes


def on_thresholds(forest: Ensemble, X: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Rows of ``X`` with values replaced by thresholds, their neighbours in float64 and float32, and zeros."""
    rng = np.random.default_rng(seed)
    X = X.copy()
    for j in range(X.shape[1]):
        known = forest.trees.threshold[forest.trees.feature == j].astype(np.float64)
        if len(known) == 0:
            continue
        near = np.concatenate(
            [
                known,
                np.nextafter(known, np.inf),
                np.nextafter(known, -np.inf),
                np.nextafter(known.astype(np.float32), np.float32(np.inf)).astype(np.float64),
                known + known * 2.0**-25,  # halfway between two float32: rounds to even
                [0.0, -0.0, 1e-46, -1e-46, FAR, -FAR],
            ]
        )
        near = np.clip(near, -FAR, FAR)
        chosen = rng.random(len(X)) < 0.8
        X[chosen, j] = rng.choice(near, int(chosen.sum()))
    return X


def both(forest: Ensemble, X: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The answers of each layout, whichever the forest chose."""
    answers = []
    for kind in (Walk, LeafSets):
        out = np.empty((len(X), 4))
        forest.laid_out(kind).predict(np.array(X), forest.finish, out)
        answers.append(out)
    return answers


def expected(estimator: Any, X: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.zeros((len(X), 4))
    out[:, estimator.classes_.astype(int)] = estimator.predict_proba(X)
    return out


@settings(max_examples=examples(40))
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([RandomForestClassifier, ExtraTreesClassifier, DecisionTreeClassifier]),
    depth=st.sampled_from([1, 3, 20]),
    classes=st.integers(1, 4),
    m=st.sampled_from([1, 4, 9]),
)
def test_forests_agree_with_scikit_learn(seed: int, kind: Any, depth: int, classes: int, m: int) -> None:
    """On thresholds, beside them, at zeros of both signs, after rounding to float32; for up to four classes."""
    X, y = drawn(seed, 300, classes, m)
    size = {} if kind is DecisionTreeClassifier else {"n_estimators": 7}
    estimator = kind(max_depth=depth, random_state=seed, **size).fit(X, y)
    forest = Ensemble.from_sklearn(estimator, STAGES)
    rows = np.concatenate([X[:50], on_thresholds(forest, X, seed)])
    want = expected(estimator, rows)
    for got in (*both(forest, rows), forest.predict(rows), forest.predict_plain(rows)):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@settings(max_examples=examples(12))
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 4), init=st.sampled_from([None, "zero"]))
def test_boosting_agrees_with_scikit_learn(seed: int, classes: int, init: str | None) -> None:
    X, y = drawn(seed, 200, classes)
    estimator = GradientBoostingClassifier(n_estimators=5, max_depth=4, init=init, random_state=seed).fit(X, y)
    forest = Ensemble.from_sklearn(estimator, STAGES)
    rows = on_thresholds(forest, X, seed)
    want = expected(estimator, rows)
    for got in (*both(forest, rows), forest.predict_plain(rows)):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def noisy() -> tuple[Ensemble, NDArray[np.float64]]:
    """Trees of several words each."""
    X, y = drawn(5, 2500)
    y = np.where(np.random.default_rng(6).random(len(y)) < 0.2, 0, y)
    return Ensemble.from_sklearn(RandomForestClassifier(10, max_depth=20, random_state=7).fit(X, y), STAGES), X


def test_wide_trees_agree_on_both_layouts_bit_for_bit(noisy: tuple[Ensemble, NDArray[np.float64]]) -> None:
    """Integer sums: no layout, no order and no twin can differ in a bit."""
    forest, X = noisy
    assert forest.trees.leaves().max() > 4 * kernels.LEAVES
    walk, leafsets = both(forest, X)
    np.testing.assert_array_equal(walk, leafsets)
    np.testing.assert_array_equal(walk[:200], forest.predict_plain(X[:200]))


@pytest.mark.parametrize("leaves", [2, 7, 8, 9, 31, 32, 33, 63, 64, 126, 127, 300])
def test_trees_of_any_size_fill_their_words(leaves: int) -> None:
    """Half words, words and several words, each with the fullest and the emptiest tree; more trees than a block."""
    X, y = drawn(8, 3000)
    estimator = RandomForestClassifier(140, max_leaf_nodes=leaves, max_features=1, random_state=0).fit(X[:900], y[:900])
    forest = Ensemble.from_sklearn(estimator, STAGES)
    assert forest.trees.leaves().max() <= leaves
    walk, leafsets = both(forest, X)
    np.testing.assert_array_equal(walk, leafsets)
    np.testing.assert_allclose(walk, expected(estimator, X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 1023, 1024, 1025, 2500])
def test_a_row_does_not_depend_on_its_neighbours(noisy: tuple[Ensemble, NDArray[np.float64]], n: int) -> None:
    """Bit for bit: a replay in other batches gives the same decisions."""
    forest, X = noisy
    for part, whole in zip(both(forest, X[-n:]), both(forest, X), strict=True):
        np.testing.assert_array_equal(part, whole[-n:])


def test_probabilities_are_probabilities(noisy: tuple[Ensemble, NDArray[np.float64]]) -> None:
    forest, X = noisy
    proba = forest.predict(X)
    assert proba.min() >= 0
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)


def test_a_single_leaf_and_a_single_class() -> None:
    """A stump that never split answers its class with certainty, for any row and for no row."""
    forest = Ensemble.from_sklearn(
        RandomForestClassifier(3, random_state=0).fit(np.ones((5, 9)), np.full(5, 2)), STAGES
    )
    assert forest.trees.leaves().tolist() == [1, 1, 1]
    for got in both(forest, np.zeros((2, 9))):
        np.testing.assert_array_equal(got, [[0, 0, 1, 0]] * 2)
    assert forest.predict(np.empty((0, 9))).shape == (0, 4)


def test_stage_names_are_classes_too() -> None:
    """Classes sort by name in scikit-learn; the answer is in the order of STAGES."""
    X, y = drawn(1, 200)
    by_name = DecisionTreeClassifier(random_state=0).fit(X, np.array(STAGES)[y])
    by_code = DecisionTreeClassifier(random_state=0).fit(X, y)
    one, other = (Ensemble.from_sklearn(tree, STAGES).predict(X) for tree in (by_name, by_code))
    np.testing.assert_array_equal(one, other)


def test_nan_goes_right() -> None:
    """No comparison with NaN holds: the documented answer for rows that were not imputed."""
    X, y = drawn(3, 300)
    forest = Ensemble.from_sklearn(RandomForestClassifier(5, random_state=0).fit(X, y), STAGES)
    rows = X[:40].copy()
    rows[:, 4] = np.nan
    rows[::2, 0] = -np.nan
    infinite = np.where(np.isnan(rows), np.inf, rows)
    for got in (*both(forest, rows), forest.predict_plain(rows)):
        np.testing.assert_array_equal(got, forest.predict(infinite))


def test_small_trees_get_leaf_sets_and_large_ones_are_walked(noisy: tuple[Ensemble, NDArray[np.float64]]) -> None:
    X, y = drawn(2, 400)
    small = Ensemble.from_sklearn(RandomForestClassifier(20, max_depth=5, random_state=0).fit(X, y), STAGES)
    assert (small.path, choose(small.trees)) == ("leafsets", LeafSets)
    assert noisy[0].path == "walk"


def test_the_compiled_path_runs_and_warm_up_compiled_all_of_it(noisy: tuple[Ensemble, NDArray[np.float64]]) -> None:
    """Nothing is compiled at the first event, whatever array comes: transposed, read-only or single precision."""
    forest, X = noisy
    forest.warm_up()
    kernel: Any = kernels.predict_by_walking
    assert kernel.nopython_signatures
    before = len(kernel.signatures)
    frozen = X.copy()
    frozen.setflags(write=False)
    arrays: list[Any] = [np.asfortranarray(X), frozen, X.astype(np.float32), X[::2]]
    for rows in arrays:
        assert forest.predict(rows).shape == (len(rows), 4)
    assert len(kernel.signatures) == before


def test_save_and_load_keep_every_bit(tmp_path: Path, noisy: tuple[Ensemble, NDArray[np.float64]]) -> None:
    forest, X = noisy
    forest.save(tmp_path / "a.npz")
    loaded = Ensemble.load(tmp_path / "a.npz")
    loaded.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert loaded.digest() == forest.digest()
    np.testing.assert_array_equal(loaded.predict(X), forest.predict(X))


@pytest.mark.parametrize(
    ("name", "at", "wrong"),
    [
        ("left", 0, 3),
        ("left", 0, -1),
        ("left", 0, 10**6),
        ("feature", 0, 9),
        ("feature", 0, -2),
        ("feature", 0, -1),
        ("threshold", 0, np.nan),
        ("start", 0, 1),
        ("start", 1, 10**9),
        ("value", 0, 2**62),
        ("scalars", 0, 0),
        ("scalars", 1, 0),
        ("scalars", 2, np.nan),
        ("scalars", 2, 3),
        ("bias", 0, np.nan),
        ("bias", 1, np.inf),
    ],
)
def test_arrays_that_are_no_forest_are_refused(
    tmp_path: Path, noisy: tuple[Ensemble, NDArray[np.float64]], name: str, at: int, wrong: float
) -> None:
    """The compiled loops check no bounds, so loading must."""
    arrays = {key: array.copy() for key, array in noisy[0].arrays().items()}
    arrays[name].reshape(-1)[at] = wrong
    write_npz(tmp_path / "f.npz", arrays)
    with pytest.raises(ValueError, match=r"f\.npz|tree ensemble|features"):
        Ensemble.load(tmp_path / "f.npz")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", start=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"f\.npz .* allow_pickle"):
        Ensemble.load(tmp_path / "f.npz")
    (tmp_path / "g.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"g\.npz"):
        Ensemble.load(tmp_path / "g.npz")


def test_a_header_that_claims_more_than_is_there_is_refused_before_room_is_made(
    tmp_path: Path, noisy: tuple[Ensemble, NDArray[np.float64]]
) -> None:
    """Seven tebibytes in a file of a kilobyte."""
    write_npz(tmp_path / "whole.npz", noisy[0].arrays())
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "f.npz", "w") as forged:
        for member in whole.infolist():
            data = whole.read(member)
            if member.filename == "value.npy":
                buffer = io.BytesIO()
                header = {"descr": "<i8", "fortran_order": False, "shape": (7 * 2**37, 1)}
                np.lib.format.write_array_header_1_0(buffer, header)
                data = buffer.getvalue() + data[-64:]
            forged.writestr(member.filename, data)
    with pytest.raises(ValueError, match="claims 7696581394432 bytes, and has 64"):
        Ensemble.load(tmp_path / "f.npz")


def test_what_cannot_be_served_is_refused_with_the_alternative() -> None:
    X, y = drawn(1, 60)
    with pytest.raises(ValueError, match="cannot be served; use one of DecisionTreeClassifier"):
        Ensemble.from_sklearn(object(), STAGES)
    with pytest.raises(ValueError, match="is not one of"):
        Ensemble.from_sklearn(DecisionTreeClassifier().fit(X, y + 2), STAGES)
    custom = GradientBoostingClassifier(n_estimators=1, init=DecisionTreeClassifier(max_depth=1)).fit(X, y)
    with pytest.raises(ValueError, match="leave init=None"):
        Ensemble.from_sklearn(custom, STAGES)
    with pytest.raises(ValueError, match="loss='exponential'"):
        Ensemble.from_sklearn(GradientBoostingClassifier(n_estimators=1, loss="exponential").fit(X, y > 1), STAGES)
    with pytest.raises(ValueError, match=r"shape \(3, 8\), the ensemble needs \(n, 9\)"):
        Ensemble.from_sklearn(DecisionTreeClassifier().fit(X, y), STAGES).predict(np.zeros((3, 8)))
