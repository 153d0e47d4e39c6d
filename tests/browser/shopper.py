"""A shopper in Chromium: looks, clicks, waits; and what Clickstage knows of this shopper."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By

PATIENCE_S: Final = 90.0
"""For what takes a moment: the machine may be busy with other tests."""


class Shopper:
    """One browser in the shop.

    Args:
        driver: its browser.
        address: of the shop.
        pictures: takes screenshots; None for none.
    """

    def __init__(self, driver: webdriver.Chrome, address: str, pictures: Path | None = None) -> None:
        self.driver = driver
        self.address = address
        self._pictures = pictures
        self.network_was_cut = False

    def open(self, query: str = "") -> "Shopper":
        """Load a page anew."""
        self.driver.get(self.address + query)
        return self

    def click(self, selector: str) -> None:
        """Click the first element that is there, wherever it stands on the page."""
        self.until(lambda: self.there(selector), f"{selector} is there")
        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        try:
            element.click()
        except WebDriverException:  # something that floats is above it
            self.driver.execute_script("arguments[0].click()", element)

    def go(self, query: str) -> None:
        """Follow a link to a page of the shop, without loading it anew."""
        self.driver.execute_script(
            "const a = document.createElement('a'); a.href = arguments[0];"
            "document.body.append(a); a.click(); a.remove()",
            query,
        )

    def there(self, selector: str) -> bool:
        """Whether the page has it, and shows it."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return any(element.is_displayed() for element in found)

    def text(self, selector: str) -> str:
        """What the first one says."""
        while True:
            try:
                return self.driver.find_element(By.CSS_SELECTOR, selector).text
            except StaleElementReferenceException:  # drawn anew between the two steps, as the drawer often is
                continue

    def script(self, code: str, *arguments: Any) -> Any:
        """Run JavaScript; a promise is awaited."""
        done = "const done = arguments[arguments.length - 1];"
        return self.driver.execute_async_script(f"{done} Promise.resolve((() => {{{code}}})()).then(done)", *arguments)

    def decision(self) -> dict[str, Any]:
        """What the tracker says is to be shown; empty for nothing yet."""
        return self.script("return window.clickstage?.decision?.()") or {}

    def session_id(self) -> str:
        """The session's id, once the edge has made it."""
        code = "return clickstage.session()?.session_id"
        return str(self.until(lambda: self.script(code), "the edge makes a session"))

    def explained(self) -> dict[str, Any]:
        """What the worker keeps of this shopper."""
        self.session_id()
        code = """
            const { session_id, token } = clickstage.session();
            const headers = { authorization: "Bearer " + token };
            const address = `/v1/sessions/${session_id}/explain?key=demo`;
            return fetch(address, { headers }).then((response) => response.json());"""
        explained: dict[str, Any] = self.script(code)
        return explained

    def seen(self) -> dict[str, int]:
        """Events by type, as the worker has counted them."""
        counted: dict[str, int] = (self.explained().get("state") or {}).get("events", {})
        return counted

    def stored(self) -> dict[str, str]:
        """What the tracker keeps in this browser."""
        kept: dict[str, str] = self.script(
            "return Object.fromEntries(Object.entries(localStorage).filter(([name]) => name.startsWith('cs.')))"
        )
        return kept

    def until(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
        """Wait for something; what came."""
        deadline = time.monotonic() + patience_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {what}; the decision is {self.decision()}")
            time.sleep(0.1)
        return value

    def becomes(self, stage: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for a stage; the decision."""
        self.until(lambda: self.decision().get("stage") == stage, f"becomes {stage}", patience_s)
        return self.decision()

    def picture(self, name: str) -> None:
        """Take a screenshot for the docs, where they are wanted."""
        if self._pictures is not None:
            time.sleep(1.2)  # what moves has arrived, and the drawer has asked once more
            self.driver.save_screenshot(str(self._pictures / f"storefront-{name}.png"))

    def complaints(self) -> list[str]:
        """Errors of JavaScript and failed requests, as the console shows them; the network's where it was not cut."""
        entries: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        severe = [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
        return [text for text in severe if not (self.network_was_cut and "net::ERR_" in text)]
