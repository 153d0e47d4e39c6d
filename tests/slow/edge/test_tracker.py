"""The tracker's sources in Node: their types, their build, and their own tests in jsdom."""

import re
from pathlib import Path

import pytest

from tests.services.node import TRACKER, Node

SCRIPTS = ("clickstage.js", "clickstage.mjs")


def test_what_is_shipped_is_what_the_sources_build(node: Node, tmp_path: Path) -> None:
    """dist/ is committed, so that installing needs no Node; building it again gives the same bytes."""
    built = node.run("build.mjs", "--out", str(tmp_path))
    assert built.returncode == 0, built.stderr
    for name in (*SCRIPTS, "clickstage.d.ts"):
        assert (tmp_path / name).read_bytes() == (TRACKER / "dist" / name).read_bytes(), (
            "npm run build, and commit dist/"
        )


def test_the_sources_have_no_type_error(node: Node) -> None:
    """`tsc --noEmit` under strict."""
    checked = node.run("node_modules/typescript/bin/tsc", "--noEmit")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("suite", sorted(path.name for path in (TRACKER / "test").glob("*.test.mjs")))
def test_the_tracker_in_jsdom(node: Node, suite: str) -> None:
    """Sessions, queue, retries, consent, slots, dataLayer: each rule is a test of its own in edge/tracker/test."""
    ran = node.run("--test", f"test/{suite}")
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^# pass [1-9]", ran.stdout, re.MULTILINE), "no test ran"
