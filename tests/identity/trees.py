"""The folder of a side: one that is given, or a git revision laid out in the cache folder.

A revision's folder is kept: its kernels are compiled once, which takes longer than all the rest.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.services.kafka_jars import cache_folder

REPOSITORY: Final = Path(__file__).parents[2]


class NoRevision(Exception):
    """The history of this clone does not hold the revision; the message says what to do."""


def tree_of(what: str) -> Path:
    """The folder of a revision, or of what is a folder already.

    Raises:
        NoRevision: neither.
    """
    if Path(what).is_dir():
        return Path(what).resolve()
    commit = commit_of(what)
    folder = cache_folder() / "trees" / commit
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent))
        archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(new)], input=archive, check=True)
        try:
            new.rename(folder)
        except OSError:  # another process was quicker
            shutil.rmtree(new)
    return folder.resolve()


def commit_of(revision: str) -> str:
    """The full hash of a revision.

    Raises:
        NoRevision: git is missing, this is no clone, or its history is cut short.
    """
    command = ["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoRevision("there is no git on the PATH") from None
    if done.returncode:
        raise NoRevision(
            f"{revision!r} is neither a folder nor a revision of this clone; `git fetch --unshallow` gets all of them"
        )
    return done.stdout.strip()


def newest_bundle(tree: Path) -> Path:
    """The model bundle that a tree ships, the newest if there are several."""
    manifests = sorted(tree.glob("models/bundles/*/manifest.json"))
    return max(manifests, key=lambda path: int(path.parent.name.rpartition("-")[2])).parent


def clean_environment(tree: Path) -> dict[str, str]:
    """The environment of a tree's command line: its own packages, and no settings from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLICKSTAGE_")}
    return kept | {"PYTHONPATH": str(tree)}
