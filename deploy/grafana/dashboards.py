"""The four dashboards.

`python -m deploy.grafana.dashboards` writes the JSON that Grafana is provisioned with; `--check` fails if what is
committed differs from what the code says.
"""

import json
import sys
from pathlib import Path
from typing import Final

from deploy.grafana.pages.business import BUSINESS
from deploy.grafana.pages.drift import DRIFT
from deploy.grafana.pages.overview import OVERVIEW
from deploy.grafana.pages.workers import WORKERS
from deploy.grafana.panels import Dashboard

DIRECTORY: Final = Path(__file__).parent / "dashboards"
DASHBOARDS: Final = (OVERVIEW, DRIFT, BUSINESS, WORKERS)


def written(dashboard: Dashboard) -> str:
    """The JSON file of a dashboard."""
    return json.dumps(dashboard.as_json(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or with --check compare them."""
    stale = 0
    for dashboard in DASHBOARDS:
        path = DIRECTORY / f"{dashboard.uid}.json"
        text = written(dashboard)
        if "--check" in arguments:
            if not path.exists() or path.read_text() != text:
                sys.stderr.write(f"{path.name} is stale: run python -m deploy.grafana.dashboards\n")
                stale = 1
        else:
            DIRECTORY.mkdir(exist_ok=True)
            path.write_text(text)
    return stale


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
