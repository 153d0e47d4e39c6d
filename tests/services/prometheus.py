"""A real Prometheus on a random port, and promtool."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.services.process import ServerProcess, free_port, on_path


def promtool() -> str:
    """The path of promtool.

    Raises:
        Unavailable: it is not installed.
    """
    return on_path("promtool", "prometheus")


@cache
def find_prometheus() -> tuple[str, str]:
    """The server's path and its name with the version, such as "Prometheus 2.42.0".

    Raises:
        Unavailable: it is not installed.
    """
    binary = on_path("prometheus", "prometheus")
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"version ([0-9.]+)", said.stdout + said.stderr)
    return binary, f"Prometheus {match[1] if match else 'of unknown version'}"


class PrometheusServer(ServerProcess):
    """One Prometheus that scrapes `targets` and evaluates `rule_files`.

    Args:
        directory: holds the configuration, the time series and the log.
        targets: "host:port" of what to scrape, under the job `clickstage`.
        rule_files: alert and recording rules.
        interval: of scrapes and of rule evaluation, as Prometheus writes durations.

    Raises:
        Unavailable: Prometheus is not installed.
    """

    def __init__(
        self, directory: Path, targets: list[str], rule_files: list[Path] | None = None, interval: str = "1s"
    ) -> None:
        self.binary, self.version = find_prometheus()
        super().__init__("prometheus", directory)
        self.port = free_port()
        self.config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(path.resolve()) for path in rule_files or []],
            "scrape_configs": [{"job_name": "clickstage", "static_configs": [{"targets": targets}]}],
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        path = self.directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(self.config))
        return [
            self.binary,
            f"--config.file={path}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=2) as response:
                return bool(response.status == 200)
        except HTTPError as not_yet:
            not_yet.close()
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of a PromQL expression: a list of {"metric": labels, "value": [time, text]}."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def alerts(self) -> list[dict[str, Any]]:
        """The pending and firing alerts, with their labels and annotations."""
        alerts: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return alerts

    def rules(self) -> list[dict[str, Any]]:
        """The rule groups as loaded, with their health."""
        groups: list[dict[str, Any]] = self._get("rules")["groups"]
        return groups

    def _get(self, endpoint: str, **parameters: str) -> dict[str, Any]:
        with urlopen(f"{self.url}/api/v1/{endpoint}?{urlencode(parameters)}", timeout=10) as response:
            data: dict[str, Any] = json.load(response)["data"]
        return data
