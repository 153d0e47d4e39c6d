"""A shopper walks through the shop, and the page follows."""

import re
import time
from typing import NamedTuple

import pytest

from tests.browser.conftest import EnterShop
from tests.browser.shopper import Shopper

STOPS = (
    "c=lamps",
    "p=halo",
    "p=morel",
    "p=tilt",
    "c=chairs",
    "p=cockle",
    "p=drift",
    "p=perch",
    "c=vases",
    "p=dune",
    "p=full",
)


def test_the_first_decision_is_pushed_to_the_page(enter: EnterShop) -> None:
    """The worker decides on the page view, the stream brings it, the slot shows it, the drawer explains it."""
    shopper = enter().open()
    decision = shopper.becomes("Explorer")
    assert decision["action"] == "trending-banner"
    assert shopper.session_id().startswith("cs-")
    shopper.until(lambda: "Trending this week" in shopper.text("[data-clickstage-slot=banner]"), "the banner is shown")
    assert shopper.text("#drawer .now b") == "Explorer"
    shopper.until(lambda: shopper.seen().get("page_view") == 1, "the worker has counted the page view")
    shopper.until(lambda: "pages_viewed" in shopper.text("#drawer"), "the drawer shows the features")


def test_what_is_searched_and_viewed_reaches_the_worker(enter: EnterShop) -> None:
    """Markup and forms are enough: no script of the shop sends these."""
    shopper = enter().open()
    shopper.session_id()
    shopper.driver.find_element("name", "q").send_keys("oak\n")
    shopper.until(lambda: "found" in shopper.text("main"), "results")
    shopper.go("?p=spoke")
    shopper.click(".product [data-compare]")
    shopper.click(".reviews summary")
    shopper.click(".product .add")
    expected = {
        "session_start": 1,
        "search": 1,
        "view_item_list": 1,
        "view_item": 1,
        "compare": 1,
        "view_reviews": 1,
        "add_to_cart": 1,
    }
    shopper.until(lambda: expected.items() <= shopper.seen().items(), f"the worker has seen {expected}")
    state = shopper.explained()["state"]
    assert (state["cart_items"], state["cart_value"], state["device"], state["source"]) == (
        1,
        189.0,
        "desktop",
        "direct",
    )


class Pace(NamedTuple):
    """How long a shopper looks at each page, and when silence may come, seconds after the last click."""

    look_s: float
    silence_s: tuple[float, float]


def test_a_shopper_browses_compares_fills_the_basket_stops_comes_back_and_buys(enter: EnterShop) -> None:
    """The whole story, five times as fast as people are."""
    walks(enter().open(), Pace(2.0, (5.0, 35.0)))


@pytest.mark.nightly
@pytest.mark.timeout(1_000)
def test_the_same_at_a_shoppers_pace_by_the_model_that_ships(enter_shipped: EnterShop) -> None:
    """About eight minutes: the model takes hasty clicks for looking around, and silence takes its time."""
    walks(enter_shipped().open(), Pace(17.0, (20.0, 200.0)))


def walks(shopper: Shopper, pace: Pace) -> None:
    """From the first page to the order."""
    shopper.becomes("Explorer")
    shopper.picture("explorer")
    evaluates(shopper, pace)
    shopper.driver.execute_script(
        "document.querySelector('.panel').scrollIntoView({behavior: 'instant'}); scrollBy(0, -90)"
    )
    shopper.picture("evaluator")
    shopper.go("?p=full")
    shopper.click(".product .add")
    shopper.go("?p=almond")
    shopper.click(".product .add")
    shopper.go("?basket")
    offered = shopper.becomes("Intent Buyer")
    assert offered["action"] == "timed-discount"
    assert offered["parameters"]["discount_percent"] == 10
    shopper.until(lambda: shopper.there(".bar time"), "the offer is shown")
    assert shopper.text(".bar time") < "15:00"
    assert "10 % off" in shopper.text(".sum")
    total = shopper.text(".sum .total dd")
    shopper.picture("intent-buyer")
    stops(shopper, pace)
    shopper.picture("drop-off-risk")
    silent = shopper.decision()["seq"]
    shopper.click(".reminder .button")
    shopper.until(lambda: shopper.decision()["seq"] > silent, "the return is decided")
    assert shopper.text(".sum .total dd") == total, "the offer is kept until its end, also for who comes back"
    buys(shopper)
    shopper.until(lambda: shopper.seen().get("purchase") == 1, "the worker has counted the purchase")


def evaluates(shopper: Shopper, pace: Pace) -> None:
    """Look at many things, and take time for each."""
    begun = time.monotonic()
    stop = 0
    while not (shopper.decision().get("stage") == "Evaluator" and shopper.decision()["route"] == "act"):
        assert time.monotonic() - begun < 480, f"never an Evaluator for sure: {shopper.explained()}"
        shopper.go("?" + STOPS[stop % len(STOPS)])
        stop += 1
        time.sleep(pace.look_s)
    shopper.go("?p=dune")
    shopper.until(lambda: shopper.there(".panel .compare") or shopper.there(".panel .quotes"), "the panel is shown")


def stops(shopper: Shopper, pace: Pace) -> None:
    """Do nothing: the reminder comes with no click."""
    before = shopper.seen()
    due = shopper.explained()["silent_at"] / 1000 - time.time()
    soonest, latest = pace.silence_s
    assert soonest < due < latest
    assert not shopper.there(".reminder")
    decision = shopper.becomes("Drop-Off Risk", due + 30)
    assert decision["action"] == "exit-intent-reminder"
    shopper.until(lambda: _quiet_s(shopper) >= int(due), "the drawer counts the quiet from the last click")
    shopper.until(lambda: shopper.there(".reminder"), "the reminder is shown")
    counted = {"view_promotion", "scroll"}  # what shows itself
    assert {k: n for k, n in shopper.seen().items() if k not in counted} == {
        k: n for k, n in before.items() if k not in counted
    }


def _quiet_s(shopper: Shopper) -> int:
    said = re.search(r"quiet for (\d+) s", shopper.text("#drawer .did"))
    return int(said[1]) if said else -1


def buys(shopper: Shopper) -> None:
    """Through the checkout."""
    shopper.click(".desk aside .button")
    for _ in range(3):
        shopper.click("form[data-next] .button")
    shopper.until(lambda: shopper.text("main h1") == "Thank you.", "bought")
