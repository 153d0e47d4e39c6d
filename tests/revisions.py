"""Earlier revisions of this repository, as folders that their commands run from.

They are kept in the cache folder: the kernels are compiled once in each, which takes longer than most tests.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.services.kafka_jars import cache_folder

C8D4F88: Final = "c8d4f88646efe7541c1aafecaea25446cabbdd6a"
"""The last commit before the core was rebuilt (issue 19); its stored records are version 1."""

REPOSITORY: Final = Path(__file__).parents[1]


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

    def lay_out(folder: Path) -> None:
        archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
        compile_kernels(folder, folder)

    return _kept(cache_folder() / "trees" / commit, lay_out)


def installed(revision: str) -> Path:
    """The folder where the wheel of a revision is installed, without its dependencies: this environment has them.

    Raises:
        NoRevision: the history does not hold it.
    """
    tree = tree_of(revision)

    def install(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as built:
            build = ["hatchling", "build", "-t", "wheel", "-d", built]
            subprocess.run([sys.executable, "-m", *build], cwd=tree, capture_output=True, check=True)
            wheels = [str(wheel) for wheel in Path(built).glob("*.whl")]
            pip = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), *wheels]
            subprocess.run([sys.executable, "-m", *pip], capture_output=True, check=True)
        compile_kernels(folder, tree)

    return _kept(cache_folder() / "wheels" / commit_of(revision), install)


def compile_kernels(packages: Path, tree: Path) -> None:
    """Compile what a worker runs, as the image build of ``tree`` does; minutes, or seconds if it is done.

    A worker that has not started within two minutes ends, and these are too few for a compilation beside other tests.
    """
    script = tree / "deploy" / "warm_up.py"
    subprocess.run([sys.executable, str(script)], env=clean_environment(packages), capture_output=True, check=True)


def _kept(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that is filled once, whole or not at all."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent))
        fill(new)
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
