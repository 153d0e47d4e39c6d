"""The tracker in bad weather: withdrawn consent, two tabs, blocked storage, beacons and streams, no network."""

import time

import redis

from featurestore.store.keys import decision_key
from tests.browser.conftest import EnterShop
from tests.browser.line import Line
from tests.browser.shopper import Shopper
from worker.demo.stack import EmbeddedStack

NO_BEACON = "Object.defineProperty(navigator, 'sendBeacon', {value: () => false});"
NO_STREAM = "window.EventSource = class extends EventTarget { close() {} };"
NO_STORAGE = {"profile.default_content_setting_values.cookies": 2}
PRIVATE = "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true});"


def requests(shopper: Shopper, part: str = "/v1/") -> int:
    """How often the page has asked the edge for something whose address has this part."""
    code = "return performance.getEntriesByType('resource').filter((e) => e.name.includes(arguments[0])).length"
    return int(shopper.driver.execute_script(code, part))


def test_withdrawing_consent_erases_the_session_and_stops_everything(enter: EnterShop, stack: EmbeddedStack) -> None:
    """Here and at the other end; the page shows what everybody sees."""
    shopper = enter().open()
    shopper.becomes("Explorer")
    name = decision_key(shopper.session_id())
    valkey = redis.Redis.from_url(stack.valkey.url)
    assert valkey.exists(name)
    shopper.until(lambda: shopper.there(".strip"), "the banner is shown")
    shopper.click("[data-withdraw]")
    shopper.until(lambda: shopper.stored() == {"cs.c": "0"}, "the browser has forgotten")
    shopper.until(lambda: not valkey.exists(name), "the decision is gone")
    assert not shopper.there(".strip")
    time.sleep(2)  # what was under way has come back
    before = requests(shopper)
    shopper.go("?c=lamps")
    shopper.click(".grid .add")
    shopper.until(lambda: shopper.there("[data-basket-count]"), "the shop goes on")
    assert requests(shopper) == before
    shopper.open("?p=halo")
    shopper.until(lambda: shopper.there(".product"), "the next page")
    assert shopper.stored() == {"cs.c": "0"}
    assert shopper.decision() == {}
    valkey.close()


def test_a_withdrawal_that_comes_from_elsewhere_stops_the_page(enter: EnterShop) -> None:
    """Another device of the shopper, or the shop's own service: the stream says so."""
    shopper = enter().open()
    shopper.becomes("Explorer")
    shopper.script("""
        const { session_id, token } = clickstage.session();
        const headers = { authorization: "Bearer " + token };
        const address = `/v1/sessions/${session_id}?key=demo`;
        return fetch(address, { method: "DELETE", headers }).then((response) => response.status);""")
    shopper.until(lambda: shopper.stored() == {"cs.c": "0"}, "the browser has forgotten")
    assert shopper.decision() == {}


def test_two_tabs_are_one_session_and_a_withdrawal_in_one_counts_in_both(enter: EnterShop) -> None:
    """Shared by storage; what happens in one moves the other."""
    shopper = enter().open()
    session = shopper.session_id()
    shopper.becomes("Explorer")
    first = shopper.driver.current_window_handle
    shopper.driver.switch_to.new_window("tab")
    shopper.open("?p=halo")
    assert shopper.session_id() == session
    shopper.until(lambda: shopper.seen().get("page_view") == 2, "both tabs count")
    shopper.click("[data-withdraw]")
    shopper.driver.switch_to.window(first)
    shopper.until(lambda: shopper.script("return clickstage.session() === undefined"), "the other tab stops")
    assert shopper.stored() == {"cs.c": "0"}


def test_going_back_is_a_page_view_of_the_same_session(enter: EnterShop) -> None:
    """With the back/forward cache and without."""
    shopper = enter().open()
    session = shopper.session_id()
    shopper.becomes("Explorer")
    shopper.driver.get("about:blank")
    shopper.driver.back()
    assert shopper.session_id() == session
    shopper.until(lambda: shopper.seen().get("page_view") == 2, "the page view of the return")
    shopper.go("?c=lamps")
    shopper.until(lambda: shopper.seen().get("page_view") == 3, "it goes on")


def test_where_storage_is_blocked_each_page_is_a_session_that_works(enter: EnterShop) -> None:
    """Chromium blocks localStorage with cookies."""
    shopper = enter(preferences=NO_STORAGE).open()
    assert shopper.script("try { return !localStorage } catch { return true }")
    session = shopper.session_id()
    shopper.becomes("Explorer")
    shopper.go("?p=halo")
    shopper.until(lambda: shopper.seen().get("view_item") == 1, "events are sent")
    assert shopper.open("?p=morel").session_id() != session


def test_where_beacons_are_blocked_the_next_page_sends_what_was_left(enter: EnterShop) -> None:
    """The click that leaves the page is not lost."""
    shopper = enter(before=NO_BEACON).open("?p=halo")
    shopper.session_id()
    shopper.until(lambda: shopper.seen().get("view_item") == 1, "the first page is counted")
    shopper.script("document.querySelector('.product .add').click(); location.href = '?c=lamps'")
    shopper.until(lambda: shopper.seen().get("add_to_cart") == 1, "the click is counted")


def test_a_click_that_leaves_the_page_is_sent_by_beacon(enter: EnterShop) -> None:
    """Even to a page without the tracker."""
    shopper = enter().open("?p=halo")
    shopper.until(lambda: shopper.seen().get("view_item") == 1, "the first page is counted")
    shopper.script("document.querySelector('.product .add').click(); location.href = 'about:blank'")
    shopper.driver.get(shopper.address + "?c=lamps")
    shopper.until(lambda: shopper.seen().get("add_to_cart") == 1, "the click is counted")


def test_without_a_stream_decisions_are_polled(enter: EnterShop) -> None:
    """Something before the edge may keep them back: the browser waits, and hears nothing."""
    shopper = enter(before=NO_STREAM).open()
    shopper.becomes("Explorer")
    assert requests(shopper, "/events?key=demo&token") == 0
    assert requests(shopper, "/v1/decisions/") > 0


def test_what_happens_offline_is_sent_later(enter: EnterShop, stack: EmbeddedStack) -> None:
    """The network is cut between browser and edge; each event counts once in the end."""
    with Line(stack.edge.port) as line:
        shopper = enter(address=line.address).open("?p=halo")
        shopper.until(lambda: shopper.seen().get("view_item") == 1, "the first page is counted")
        line.cut()
        shopper.click(".product .add")
        shopper.go("?p=morel")
        shopper.until(lambda: any("ERR_" in text for text in shopper.complaints()), "a request fails")
        shopper.click(".product .add")
        shopper.network_was_cut = True
        line.mend()
        expected = {"add_to_cart": 2, "view_item": 2}
        shopper.until(lambda: expected.items() <= shopper.seen().items(), "all is counted")
        shopper.becomes("Explorer")
        assert expected.items() <= shopper.seen().items(), "each event once"


def test_global_privacy_control_asks_before_anything_is_sent(enter: EnterShop) -> None:
    """Until the shopper agrees."""
    shopper = enter(before=PRIVATE).open("?p=halo")
    shopper.until(lambda: shopper.there(".product"), "the page")
    assert shopper.stored() == {}
    assert shopper.script("return clickstage.session() === undefined")
    shopper.script("clickstage.consent(true)")
    shopper.becomes("Explorer")
