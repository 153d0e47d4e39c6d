"""Debian's Chromium without a window, driven by its ChromeDriver."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.services.process import on_path

FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1360,920",
)


@dataclass(frozen=True)
class Chromium:
    """Starts browsers.

    Attributes:
        binary, driver: paths.
        version: such as "Chromium 150.0.1".
    """

    binary: str
    driver: str
    version: str

    @classmethod
    def find(cls) -> Self:
        """The browser and its driver.

        Raises:
            Unavailable: one of them is not installed.
        """
        binary, driver = on_path("chromium", "chromium"), on_path("chromedriver", "chromium-driver")
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
        match = re.search(r"[0-9.]+", said)
        return cls(binary, driver, f"Chromium {match[0] if match else 'of unknown version'}")

    def start(self, profile: Path, preferences: dict[str, Any] | None = None) -> webdriver.Chrome:
        """A browser with a new profile; the caller quits it."""
        options = webdriver.ChromeOptions()
        options.binary_location = self.binary
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", preferences or {})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        return webdriver.Chrome(options=options, service=Service(self.driver))
