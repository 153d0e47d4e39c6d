"""A model bundle: all that a worker needs to score, in one directory that is verified before it is used.

    <name>-<version>/
        manifest.json           names, versions, rules, medians, facts of training, sha256 of the files below
        manifest.json.sha256    of manifest.json, in the format of sha256sum
        forest.npz              the forest's arrays
        golden.npz              rows, some with missing values, and the scores they must get
        baseline.json           the drift baseline
        estimator.joblib        for analysts, optional; a pickle, so no worker opens it

`Bundle.load` refuses a bundle that was damaged, or trained for other features, states or stages, and scores the golden
rows before anything else is scored. `write_bundle` is its only writer.
"""

import hashlib
import re
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import BundleError
from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from models.bundle.baseline import Baseline
from models.bundle.manifest import Manifest, Scaling, Training, parse_manifest
from models.rules import StageRules
from models.trees.ensemble import Forest, read_npz, write_npz
from models.trees.explain import contributions

MANIFEST: Final = "manifest.json"
CHECKSUM: Final = "manifest.json.sha256"
FOREST: Final = "forest.npz"
GOLDEN: Final = "golden.npz"
BASELINE: Final = "baseline.json"
ANALYSTS: Final = "estimator.joblib"

_AGAIN: Final = "copy the bundle again, or train a new one (clickstage train)"
_LIBRARIES: Final = ("numpy", "numba", "scikit-learn", "pydantic")


@dataclass(frozen=True)
class Bundle:
    """A verified model; ``medians`` is (9,)."""

    manifest: Manifest
    forest: Forest
    baseline: Baseline
    medians: NDArray[np.float64]

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def id(self) -> str:
        """``name-version``: what decisions say which model made them."""
        return f"{self.name}-{self.version}"

    @property
    def rules(self) -> StageRules:
        return self.manifest.rules

    def score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (n, 4) in the order of `STAGES` of feature rows (n, 9), NaN where a value is missing."""
        return self.forest.predict_proba(self._imputed(X))

    def contributions(self, X: NDArray[np.float64], stages: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What each feature (n, 9) added to the score of the row's stage (n,); see `models.trees.explain`."""
        return contributions(self.forest, self._imputed(X), stages).values

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that scoring and explaining run."""
        X = np.full((1, len(FEATURES)), np.nan)
        self.score(X)
        self.contributions(X, np.zeros(1, np.uint8))

    def _imputed(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        filled: NDArray[np.float64] = np.where(np.isnan(X), self.medians, X)
        return filled

    @classmethod
    def load(cls, path: Path) -> Self:
        """The bundle in the directory ``path``, verified and ready to score. Blocks for some tenths of a second.

        Raises:
            BundleError: why it was refused and what to do.
        """
        if not path.is_dir():
            raise BundleError(f"{path}: there is no model bundle; train one (clickstage train) or correct the path")
        manifest = parse_manifest(_verified_manifest(path), str(path))
        if not {FOREST, GOLDEN, BASELINE} <= manifest.files.keys() <= {FOREST, GOLDEN, BASELINE, ANALYSTS}:
            raise BundleError(f"{path}: {MANIFEST} lists other files than a bundle has; {_AGAIN}")
        for name, digest in manifest.files.items():
            if not (name == ANALYSTS and not (path / name).exists()):
                _verify(path / name, digest)
        try:
            forest = Forest.load(path / FOREST)
            baseline = Baseline.from_json((path / BASELINE).read_bytes())
            golden = read_npz(path / GOLDEN)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: {error}; {_AGAIN}") from None
        if forest.digest() != manifest.forest or forest.n_features != len(FEATURES) or baseline.features != FEATURES:
            raise BundleError(f"{path}: forest or baseline are not those of the manifest; {_AGAIN}")
        bundle = cls(manifest, forest, baseline, np.array(manifest.medians))
        bundle._replay(golden, path)
        return bundle

    @classmethod
    def find(cls, directory: Path) -> Path:
        """The bundle of the latest version in ``directory``; 1.10 is later than 1.9.

        Raises:
            BundleError: if there is none.
        """
        found = [entry.parent for entry in directory.glob(f"[!.]*/{MANIFEST}")]
        if not found:
            raise BundleError(
                f"{directory}: there is no model bundle; train one (clickstage train) or correct the path"
            )
        return max(found, key=_age)

    def _replay(self, golden: dict[str, NDArray[np.float64]], path: Path) -> None:
        """Score the golden rows and compare."""
        rows, expected = golden.get("rows"), golden.get("expected")
        if rows is None or expected is None or rows.ndim != 2 or rows.shape[1] != len(FEATURES) or len(rows) == 0:
            raise BundleError(f"{path}: {GOLDEN} holds no golden rows; {_AGAIN}")
        if expected.shape != (len(rows), len(STAGES)):
            raise BundleError(f"{path}: {GOLDEN} needs {len(STAGES)} scores for each row; {_AGAIN}")
        off = np.abs(self.score(rows) - expected).max()
        if not off <= self.manifest.golden_tolerance:  # NaN is no score either
            raise BundleError(
                f"{path}: this machine scores the golden rows differently (by {off:.2g}, allowed "
                f"{self.manifest.golden_tolerance:.2g}), so its decisions could not be trusted; {_AGAIN}"
            )


def write_bundle(
    directory: Path,
    *,
    name: str,
    version: str,
    created: str,
    forest: Forest,
    rules: StageRules,
    medians: NDArray[np.float64],
    minimum: NDArray[np.float64],
    maximum: NDArray[np.float64],
    baseline: Baseline,
    golden: NDArray[np.float64],
    seed: int,
    training: Training,
    analysts: bytes | None = None,
    replace: bool = False,
) -> Path:
    """Write ``directory/name-version`` and load it back; nothing is left behind if that fails.

    Args:
        directory: made if missing.
        name: of the bundle, no hyphen.
        version: no hyphen; numbers in it count as numbers.
        created: any date or text of up to 40 characters; part of the bytes.
        forest: to serve.
        rules: that labelled the training rows.
        medians: (9,), finite.
        minimum: (9,) of the imputed training rows.
        maximum: (9,)
        baseline: of the training rows.
        golden: rows (n, 9), n > 0, NaN where missing; a row of missing values is added, so that each median counts.
        seed: of the training.
        training: its facts.
        analysts: the estimator as `models.training.analysts.pickled` gives it.
        replace: an existing bundle of that name and version; else it is refused.

    Raises:
        BundleError: if the bundle exists, cannot be written, or would be refused by `Bundle.load`.
    """
    target = directory / f"{name}-{version}"
    if target.exists() and not replace:
        raise BundleError(f"{target} exists; give the new bundle another version, or replace it on purpose")
    rows = np.concatenate([golden, np.full((1, len(FEATURES)), np.nan)])
    expected = forest.predict_proba(np.where(np.isnan(rows), medians, rows))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as scratch:
            fresh = Path(scratch) / target.name
            fresh.mkdir()
            forest.save(fresh / FOREST)
            write_npz(fresh / GOLDEN, {"rows": rows, "expected": expected})
            (fresh / BASELINE).write_text(baseline.to_json(), encoding="utf-8")
            if analysts is not None:
                (fresh / ANALYSTS).write_bytes(analysts)
            manifest = Manifest(
                name=name,
                version=version,
                created=created,
                rules=rules,
                medians=tuple(medians.tolist()),
                scaling=Scaling(minimum=tuple(minimum.tolist()), maximum=tuple(maximum.tolist())),
                seed=seed,
                forest=forest.digest(),
                training=training,
                libraries=library_versions(),
                files={file.name: _sha256(file.read_bytes()) for file in sorted(fresh.iterdir())},
            )
            text = manifest.to_json().encode()
            (fresh / MANIFEST).write_bytes(text)
            (fresh / CHECKSUM).write_text(f"{_sha256(text)}  {MANIFEST}\n", encoding="utf-8")
            Bundle.load(fresh)
            if target.exists():
                target.replace(Path(scratch) / "old")
            fresh.replace(target)
    except (OSError, ValueError) as error:
        raise BundleError(f"{target} was not written: {error}") from error
    return target


def library_versions() -> dict[str, str]:
    """Of what made the arrays, without importing it."""
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "none"
    return found


def _verified_manifest(path: Path) -> bytes:
    try:
        data = (path / MANIFEST).read_bytes()
        line = (path / CHECKSUM).read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}: {Path(str(error.filename)).name}; {_AGAIN}") from None
    if line != f"{_sha256(data)}  {MANIFEST}\n".encode():
        raise BundleError(f"{path}: {MANIFEST} does not have the checksum of {CHECKSUM}: it was changed; {_AGAIN}")
    return data


def _verify(file: Path, digest: str) -> None:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file.parent}: {error.strerror}: {file.name}; {_AGAIN}") from None
    if _sha256(data) != digest:
        raise BundleError(
            f"{file.parent}: {file.name} does not have the checksum of the manifest: it was changed; {_AGAIN}"
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _age(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts versions: numbers as numbers, and after words."""
    name, _, label = path.name.rpartition("-")
    parts = re.findall(r"\d+|[A-Za-z]+", label)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts], name
