"""The shop of `clickstage demo` in a real browser: embedded Kafka and Valkey, a real worker, a real edge.

The tests share one stack, whose rules are five times as fast as the shipped ones (`tests.browser.quick`). The nightly
story has a stack as it ships; with CLICKSTAGE_PICTURES=docs/pictures it writes the screenshots of the docs.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.quick import quick_bundle
from tests.browser.shopper import Shopper
from tests.run_services import RunServices
from tests.services.chromium import Chromium
from worker.demo.stack import EmbeddedStack

EnterShop = Callable[..., Shopper]


@pytest.fixture(scope="session")
def chromium(services: RunServices) -> Chromium:
    """The browser of this machine."""
    return services.chromium()


@pytest.fixture(scope="session")
def stack(chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """The embedded stack, shared: every shopper is a session of its own."""
    bundle = quick_bundle(tmp_path_factory.mktemp("bundles"))
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), {"CLICKSTAGE_BUNDLE": str(bundle)}) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def shipped_stack(chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """One with the model that ships."""
    with EmbeddedStack(tmp_path_factory.mktemp("shipped")) as embedded:
        yield embedded


@pytest.fixture
def enter(chromium: Chromium, stack: EmbeddedStack, tmp_path: Path) -> Iterator[EnterShop]:
    """Lets shoppers in, each with a browser of its own; an error in the console of one fails the test.

    ``enter(preferences=..., before=..., address=...)``: settings of the browser, a script that runs before those of the
    page, and the way to the shop if it is not the straight one.
    """
    with _door(chromium, stack, tmp_path) as start:
        yield start


@pytest.fixture
def enter_shipped(chromium: Chromium, shipped_stack: EmbeddedStack, tmp_path: Path) -> Iterator[EnterShop]:
    """`enter`, where the model that ships decides."""
    with _door(chromium, shipped_stack, tmp_path, os.environ.get("CLICKSTAGE_PICTURES")) as start:
        yield start


@contextmanager
def _door(chromium: Chromium, stack: EmbeddedStack, tmp_path: Path, pictures: str | None = None) -> Iterator[EnterShop]:
    shoppers: list[Shopper] = []
    with ExitStack() as browsers:

        def start(preferences: dict[str, Any] | None = None, before: str = "", address: str = "") -> Shopper:
            driver = chromium.start(tmp_path / f"profile{len(shoppers)}", preferences)
            browsers.callback(driver.quit)
            driver.set_script_timeout(30)
            if before:
                driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": before})
            shoppers.append(Shopper(driver, address or stack.edge.address, Path(pictures) if pictures else None))
            return shoppers[-1]

        yield start
        assert [complaint for shopper in shoppers for complaint in shopper.complaints()] == []
