"""Node.js with the tracker's tools: esbuild, TypeScript and jsdom, as `npm ci` sets them up."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.services.process import Unavailable, on_path

TRACKER = Path(__file__).parents[2] / "edge" / "tracker"


@dataclass(frozen=True)
class Node:
    """Runs scripts in the tracker's folder.

    Attributes:
        binary: path of node.
        version: such as "Node.js v20.20.2".
    """

    binary: str
    version: str

    @classmethod
    def find(cls) -> Self:
        """Node and the tracker's tools.

        Raises:
            Unavailable: one of them is not installed.
        """
        binary = on_path("node", "nodejs")
        if not (TRACKER / "node_modules" / ".package-lock.json").exists():
            raise Unavailable("the tracker's tools are not installed; npm ci --prefix edge/tracker")
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        return cls(binary, f"Node.js {said.stdout.strip()}")

    def run(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run node in the tracker's folder; what it printed is in the result."""
        return subprocess.run(
            [self.binary, *arguments], cwd=TRACKER, capture_output=True, text=True, timeout=timeout_s, check=False
        )
