"""A model bundle: all that a worker needs to score, in one directory that is verified before it is used.

    <name>-<version>/
        manifest.json           names, versions, rules, the heads, facts of training, sha256 of the files below
        manifest.json.sha256    of manifest.json, in the format of sha256sum
        <head>.npz              the arrays of a head's model
        <head>.golden.npz       rows, some with missing values, and the outputs they must get
        <head>.baseline.json    the drift baseline
        segments.npz            typical visits, and the golden rows of the segments; optional
        estimator.joblib        for analysts, optional; a pickle, so no worker opens it

`Bundle.load` refuses a bundle that was damaged, or trained for views, columns or stages of another release, and scores
the golden rows of each head before anything else is scored. `write_bundle` is its only writer. Bundles of format 1 (one
forest, `forest.npz`) are read as well.
"""

import hashlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import BundleError
from featurestore.files import read_regular
from models.bundle.baseline import Baseline
from models.bundle.manifest import HeadEntry, Manifest, Scaling, SegmentsEntry, Training, parse_manifest
from models.heads import Calibration, Golden, Head, Heads
from models.heads.scoring import Names
from models.heads.segments import ARRAYS, Segments
from models.rules import StageRules
from models.trees.ensemble import MAX_BYTES, Ensemble, read_npz, write_npz

MANIFEST: Final = "manifest.json"
CHECKSUM: Final = "manifest.json.sha256"
ANALYSTS: Final = "estimator.joblib"
SEGMENTS: Final = "segments.npz"

_AGAIN: Final = "copy the bundle again, or train a new one (clickstage train)"
_MOST_TEXT: Final = 1 << 24
"""Bytes of a manifest."""
_LIBRARIES: Final = ("numpy", "numba", "scikit-learn", "pydantic")


@dataclass(frozen=True)
class Bundle:
    """Verified heads, of which the first is the stage, and the segments of finished visits, if it has any."""

    manifest: Manifest
    heads: Heads
    segments: Segments | None = None

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

    @property
    def stage(self) -> Head:
        """The head that decisions are made by."""
        return self.heads.first

    @property
    def names(self) -> Names:
        """What a policy's conditions may name."""
        return Names(self.heads.variables, () if self.segments is None else self.segments.kinds)

    @property
    def baseline_digest(self) -> str:
        """Eight hex digits that name the stage's drift baseline."""
        return self.manifest.sha256(self.manifest.heads[0].baseline_file)[:8]

    def score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (n, 4) in the order of `STAGES` of feature rows (n, 9), NaN where a value is missing."""
        return self.stage.score(X)

    def contributions(self, X: NDArray[np.float64], stages: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What each feature (n, 9) added to the score of the row's stage (n,); see `models.trees.explain`."""
        return self.stage.contributions(X, stages)

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that scoring and explaining run."""
        self.heads.warm_up()

    @classmethod
    def load(cls, path: Path) -> Self:
        """The bundle in the directory ``path``, verified and ready to score. Blocks for some tenths of a second.

        Raises:
            BundleError: why it was refused and what to do.
        """
        if not path.is_dir():
            raise BundleError(f"{path}: there is no model bundle; train one (clickstage train) or correct the path")
        manifest = parse_manifest(_verified_manifest(path), str(path))
        needed = {file for entry in manifest.heads for file in entry.files}
        if manifest.segments is not None:
            needed.add(manifest.segments.file)
        if not needed <= manifest.files.keys() <= {*needed, ANALYSTS}:
            raise BundleError(f"{path}: {MANIFEST} lists other files than a bundle has; {_AGAIN}")
        for name, digest in manifest.files.items():
            if not (name == ANALYSTS and not (path / name).exists()):
                _verify(path / name, digest)
        try:
            heads = Heads([_head(path, entry) for entry in manifest.heads])
            segments = None if manifest.segments is None else _segments(path, manifest.segments)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: {error}; {_AGAIN}") from None
        return cls(manifest, heads, segments)

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


def _head(path: Path, entry: HeadEntry) -> Head:
    """One head, which scores its golden rows as it did when it was written.

    Raises:
        OSError, ValueError: it cannot be read, or is not what the manifest says.
    """
    model = Ensemble.load(path / entry.model_file)
    if model.digest() != entry.model:
        raise ValueError(f"{entry.model_file} holds other arrays than those of the manifest")
    golden = read_npz(path / entry.golden_file)
    if golden.keys() != {"rows", "expected"} or any(part.dtype != np.float64 for part in golden.values()):
        raise ValueError(f"{entry.golden_file} holds no golden rows")
    scaling = entry.scaling or Scaling(minimum=(), maximum=())
    head = Head(
        entry.name,
        entry.task,
        entry.outputs,
        entry.view,
        entry.columns,
        model,
        Calibration(*entry.calibration),
        Baseline.from_json((path / entry.baseline_file).read_bytes()),
        Golden(golden["rows"], golden["expected"]),
        np.array(entry.fill),
        np.array(scaling.minimum),
        np.array(scaling.maximum),
        entry.golden_tolerance,
        entry.training,
        entry.before_cart,
    )
    off = head.off()
    if not off <= head.tolerance:  # NaN is no score either
        raise ValueError(
            f"this machine scores the golden rows of head {head.name} differently (by {off:.2g}, allowed "
            f"{head.tolerance:.2g}), so its decisions could not be trusted"
        )
    return head


def _segments(path: Path, entry: SegmentsEntry) -> Segments:
    """The segments, which put their golden rows where they were put when they were written.

    Raises:
        OSError, ValueError: they cannot be read, or are not what the manifest says.
    """
    arrays = read_npz(path / entry.file)
    if arrays.keys() != set(ARRAYS) or arrays["expected"].dtype != np.int64:
        raise ValueError(f"{entry.file} holds no segments")
    found = Segments(entry.names, entry.columns, **arrays, training=entry.training)
    found.check()
    return found


def refuse_existing(target: Path, *, replace: bool) -> None:
    """Refuse a bundle's folder that is there, unless it is to be replaced; before the work that goes into a bundle.

    Raises:
        BundleError: naming it.
    """
    if target.exists() and not replace:
        raise BundleError(f"{target} exists; give the new bundle another --version, or replace it with --replace")


def write_bundle(
    directory: Path,
    *,
    name: str,
    version: str,
    created: str,
    heads: Sequence[Head],
    rules: StageRules,
    seed: int,
    training: Training,
    analysts: bytes | None = None,
    segments: Segments | None = None,
    replace: bool = False,
) -> Path:
    """Write ``directory/name-version`` and load it back; nothing is left behind if that fails.

    Args:
        directory: made if missing.
        name: of the bundle, no hyphen.
        version: no hyphen; numbers in it count as numbers.
        created: any date or text of up to 40 characters; part of the bytes.
        heads: the stage first.
        rules: that labelled the training rows.
        seed: of the training.
        training: its facts.
        analysts: the estimator as `models.training.analysts.pickled` gives it.
        segments: of finished visits; None for none.
        replace: an existing bundle of that name and version; else it is refused.

    Raises:
        BundleError: if the bundle exists, cannot be written, or would be refused by `Bundle.load`.
    """
    target = directory / f"{name}-{version}"
    refuse_existing(target, replace=replace)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as scratch:
            fresh = Path(scratch) / target.name
            fresh.mkdir()
            entries = tuple(_write_head(fresh, head) for head in heads)
            told = None if segments is None else _write_segments(fresh, segments)
            if analysts is not None:
                (fresh / ANALYSTS).write_bytes(analysts)
            manifest = Manifest(
                name=name,
                version=version,
                created=created,
                rules=rules,
                heads=entries,
                seed=seed,
                training=training,
                libraries=library_versions(),
                files={file.name: _sha256(file.read_bytes()) for file in sorted(fresh.iterdir())},
                segments=told,
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


def _write_head(path: Path, head: Head) -> HeadEntry:
    scaled = head.minimum.size > 0
    entry = HeadEntry(
        name=head.name,
        task=head.task,
        outputs=head.outputs,
        view=head.view,
        columns=head.columns,
        fill=tuple(head.fill.tolist()),
        scaling=Scaling(minimum=tuple(head.minimum.tolist()), maximum=tuple(head.maximum.tolist())) if scaled else None,
        model=head.model.digest(),
        calibration=(head.calibration.slope, head.calibration.intercept),
        golden_tolerance=head.tolerance,
        model_file=f"{head.name}.npz",
        golden_file=f"{head.name}.golden.npz",
        baseline_file=f"{head.name}.baseline.json",
        training=dict(head.training),
        before_cart=head.before_cart,
    )
    head.model.save(path / entry.model_file)
    write_npz(path / entry.golden_file, {"rows": head.golden.rows, "expected": head.golden.expected})
    (path / entry.baseline_file).write_text(head.baseline.to_json(), encoding="utf-8")
    return entry


def _write_segments(path: Path, segments: Segments) -> SegmentsEntry:
    write_npz(path / SEGMENTS, segments.arrays())
    return SegmentsEntry(
        names=segments.names, columns=segments.columns, file=SEGMENTS, training=dict(segments.training)
    )


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
        data = read_regular(path / MANIFEST, _MOST_TEXT)
        line = read_regular(path / CHECKSUM, _MOST_TEXT)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}: {Path(str(error.filename)).name}; {_AGAIN}") from None
    if line != f"{_sha256(data)}  {MANIFEST}\n".encode():
        raise BundleError(f"{path}: {MANIFEST} does not have the checksum of {CHECKSUM}: it was changed; {_AGAIN}")
    return data


def _verify(file: Path, digest: str) -> None:
    try:
        data = read_regular(file, MAX_BYTES)
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
