"""``clickstage evaluate --outcomes FILE``: a shop's own log, judged from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest

from worker.cli import main
from worker.errors import ExitCode

HEAD = "event_time,event_type,product_id,category_code,price,user_id,user_session"


def shop_log(path: Path, *, carts: bool) -> Path:
    """900 visits of a few rows, one a minute; keen shoppers look at dear articles, and buy."""
    rng = np.random.default_rng(8)
    rows = [HEAD]
    for visit in range(900):
        keen = rng.random() < 0.4
        start = np.datetime64("2019-10-01T00:00:00") + visit * np.timedelta64(60, "s")
        kinds = ["view"] * int(rng.integers(2, 5)) + (["cart"] * carts + ["purchase"] * 2 if keen else [])
        for i, kind in enumerate(kinds):
            at = str(start + i * np.timedelta64(20, "s")).replace("T", " ")
            price = rng.normal(60 if keen else 40, 10)
            rows.append(f"{at} UTC,{kind},{rng.integers(99)},shoes,{price:.2f},{visit % 500},s{visit}")
    rows.append("2019-10-03 00:00:00 UTC,view,1,shoes,1,1,last")
    path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize("carts", [True, False])
def test_a_shops_own_log_is_judged_with_and_without_carts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], carts: bool
) -> None:
    """A head that the log cannot teach is left out, with the reason; one with few orders is judged by folds."""
    log = shop_log(tmp_path / "october.csv", carts=carts)
    assert main(["evaluate", "--outcomes", str(log), "--quick", "--report", str(tmp_path / "out")]) == ExitCode.OK
    assert "### october.csv: 900 visits" in capsys.readouterr().out
    [found] = json.loads((tmp_path / "out" / "outcomes.json").read_text())["logs"].values()
    assert {"order_rest", "exit_next"} <= found["heads"].keys()
    assert ("add_rest" in found["heads"]) is carts
    assert found["left_out"]["checkout_rest"].startswith("0 visits have it")
    assert "order_rest" in found["by_folds"], "360 of 900 visits, 90 of them among the last"
    assert "exit_next" not in found["by_folds"]
    order = found["heads"]["order_rest"]
    assert order["auc"] > order["stage_alone"]["auc"], "prices tell who buys"
    assert order["interval"]["auc"][0] > 0.6


def test_a_file_goes_with_outcomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "log.csv")])
    assert "a FILE goes with --outcomes" in capsys.readouterr().err
