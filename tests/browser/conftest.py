"""The shop of `clickstage demo` in a real browser: embedded Kafka and Valkey, a real worker, a real edge.

CLICKSTAGE_PICTURES=docs/pictures writes the screenshots of the docs.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

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
    with EmbeddedStack(tmp_path_factory.mktemp("stack")) as embedded:
        yield embedded


@pytest.fixture
def enter(chromium: Chromium, stack: EmbeddedStack, tmp_path: Path) -> Iterator[EnterShop]:
    """Lets shoppers in, each with a browser of its own; an error in the console of one fails the test.

    ``enter(preferences=..., before=..., address=...)``: settings of the browser, a script that runs before those of the
    page, and the way to the shop if it is not the straight one.
    """
    wanted = os.environ.get("CLICKSTAGE_PICTURES")
    shoppers: list[Shopper] = []
    with ExitStack() as browsers:

        def start(preferences: dict[str, Any] | None = None, before: str = "", address: str = "") -> Shopper:
            driver = chromium.start(tmp_path / f"profile{len(shoppers)}", preferences)
            browsers.callback(driver.quit)
            driver.set_script_timeout(30)
            if before:
                driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": before})
            shoppers.append(Shopper(driver, address or stack.edge.address, Path(wanted) if wanted else None))
            return shoppers[-1]

        yield start
        assert [complaint for shopper in shoppers for complaint in shopper.complaints()] == []
