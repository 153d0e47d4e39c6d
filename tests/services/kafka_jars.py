"""Apache Kafka's own jars, fetched once by Maven into a cache folder outside git."""

import fcntl
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.services.process import Unavailable, on_path

POM = Path(__file__).parent / "kafka" / "pom.xml"
LOGGING = Path(__file__).parent / "kafka" / "log4j2.properties"
REPOSITORY = Path(__file__).parents[2]
FETCH_TIMEOUT_S = 600


def cache_folder() -> Path:
    """Where downloads are kept: CLICKSTAGE_CACHE, else `.cache` in the repository."""
    return Path(os.environ.get("CLICKSTAGE_CACHE") or REPOSITORY / ".cache")


@cache
def kafka_version() -> str:
    """The version that `pom.xml` names."""
    match = re.search(r"<kafka\.version>(.+?)</kafka\.version>", POM.read_text())
    if match is None:
        raise ValueError(f"no <kafka.version> in {POM}")
    return match[1]


@cache
def java() -> str:
    """The path of a Java >= 17.

    Raises:
        Unavailable: none on the PATH, or an older one.
    """
    path = on_path("java", "openjdk-17-jre-headless")
    said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    if match is None or int(match[1]) < 17:
        raise Unavailable(f"Kafka needs Java 17 or newer; {path} says {said.splitlines()[:1]}")
    return path


def kafka_jars() -> Path:
    """The folder with the broker's jars; the first call on a machine downloads them (43 MB) and blocks meanwhile.

    Raises:
        Unavailable: no Java, no Maven, or Maven could not fetch them.
    """
    java()
    folder = cache_folder() / "kafka" / kafka_version()
    if folder.is_dir():
        return folder
    maven = on_path("mvn", "maven")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs in one clone: one fetches, the other waits
        if not folder.is_dir():
            _fetch(maven, folder)
    return folder


def _fetch(maven: str, folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    try:
        done = subprocess.run(
            [maven, "--batch-mode", "--quiet", "--file", str(POM), *goal],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        raise Unavailable(f"Maven did not fetch Kafka's jars within {FETCH_TIMEOUT_S} s") from slow
    if done.returncode != 0 or not partial.is_dir():
        error = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no message")
        raise Unavailable(f"Maven could not fetch Kafka's jars: {error[:300]}")
    partial.rename(folder)
