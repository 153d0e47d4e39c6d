"""Real labels: reading the file, the mapping to stages, the cross-validated figures."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from featurestore.errors import SettingsError
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER
from models.study.shoppers import (
    CATEGORICAL,
    CLASSIFIERS,
    FILE,
    NUMERIC,
    Shoppers,
    compare,
    describe_stages,
    find_shoppers,
    load_shoppers,
    map_stages,
)


def _shoppers(n: int = 240) -> Shoppers:
    rng = np.random.default_rng(5)
    numeric = rng.gamma(2.0, 10.0, (n, len(NUMERIC)))
    bought = rng.random(n) < 0.3
    numeric[:, NUMERIC.index("PageValues")] = np.where(bought, rng.gamma(2.0, 20.0, n), 0.0)
    return Shoppers(numeric, rng.integers(0, 3, (n, len(CATEGORICAL))).astype(np.float64), bought)


def _row(**values: float) -> Shoppers:
    numeric = np.array([[values.get(name, 0.0) for name in NUMERIC]])
    return Shoppers(numeric, np.zeros((1, len(CATEGORICAL))), np.zeros(1, np.bool_))


@pytest.mark.parametrize(
    ("values", "stage"),
    [
        ({"ProductRelated": 3, "ProductRelated_Duration": 60, "ExitRates": 0.1}, DROP_OFF_RISK),
        ({"ProductRelated": 30, "ProductRelated_Duration": 900, "ExitRates": 0.1}, EVALUATOR),
        ({"ProductRelated": 3, "ProductRelated_Duration": 60, "PageValues": 2}, INTENT_BUYER),
        ({"ProductRelated": 3, "ProductRelated_Duration": 60, "PageValues": 2, "ExitRates": 0.05}, DROP_OFF_RISK),
        ({"ProductRelated": 18, "Administrative": 2, "ProductRelated_Duration": 200}, EVALUATOR),
        ({"ProductRelated": 9, "Administrative": 20, "ProductRelated_Duration": 200}, EXPLORER),
        ({}, EXPLORER),
    ],
)
def test_sessions_map_to_stages_by_the_documented_rule(values: dict[str, float], stage: int) -> None:
    assert map_stages(_row(**values)).tolist() == [stage]


def test_every_session_gets_one_stage() -> None:
    table = describe_stages(_shoppers())
    assert sum(row["sessions"] for row in table.values()) == 240
    assert sum(row["share"] for row in table.values()) == pytest.approx(1.0)


def test_page_values_tell_part_of_the_answer() -> None:
    """Each classifier is scored with and without PageValues, on the same folds."""
    results = compare(_shoppers(), seed=42, jobs=1, folds=2)
    assert set(results) == set(CLASSIFIERS)
    for row in results.values():
        bare = row["without_page_values"]
        assert {"accuracy", "macro_f1", "roc_auc", "pr_auc"} <= bare.keys() <= row.keys() | bare.keys()
        assert row["roc_auc"] > bare["roc_auc"] + 0.2


def test_an_absent_file_is_no_error() -> None:
    assert find_shoppers(None) is None
    assert find_shoppers(Path("nowhere")) is None


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    with gzip.open(tmp_path / FILE, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*NUMERIC, *CATEGORICAL, "Revenue"])
        writer.writerow([*range(10), *["Feb", 1, 1, 1, 1, "New_Visitor", "TRUE"], "TRUE"])
        writer.writerow([*range(10, 20), *["Mar", 1, 2, 1, 1, "New_Visitor", "FALSE"], "FALSE"])
    path = find_shoppers(tmp_path)
    assert path is not None
    table = load_shoppers(path)
    assert table.numeric.tolist() == [list(range(10)), list(range(10, 20))]
    assert table.bought.tolist() == [True, False]
    assert table.categorical[0].tolist() != table.categorical[1].tolist()


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"a,b\n1,2\n"), gzip.compress(b"a")[:-4]],
    ids=["nothing", "no gzip", "other columns", "cut"],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SettingsError, match=FILE):
        load_shoppers(tmp_path / FILE)
