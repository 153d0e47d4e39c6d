"""``manifest.json``: what a bundle says about itself, and the checks that need no other file.

Format 2 lists heads. Format 1 knew one model, the stage over the published features: it is read as a bundle of one
head.
"""

import json
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from featurestore.errors import BundleError
from featurestore.session.features import FEATURE_VERSION, FEATURES
from featurestore.session.stages import STAGES
from models.heads.head import Task
from models.heads.stage import NAME
from models.heads.views import PUBLISHED
from models.rules import StageRules

FORMAT: Final = 2
_RETRAIN: Final = "train a bundle with this release (clickstage train)"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]{0,40}$")]
HeadName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,60}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Tolerance = Annotated[float, Field(gt=0, le=1e-6)]


class Scaling(BaseModel):
    """Minimum and maximum of each filled column in training: for models that need scaled input. Trees do not."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]


class Training(BaseModel):
    """Facts of the training: how many sessions and rows, which model, and its figures on held-out sessions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: int = Field(ge=0)
    rows: int = Field(ge=0)
    model: str
    config: dict[str, JsonValue] = {}
    metrics: dict[str, JsonValue] = {}


class HeadEntry(BaseModel):
    """One head; see `models.heads.head.Head`.

    Attributes:
        fill: what a missing value counts as, per column.
        model: digest of the model's arrays, the same on every machine.
        calibration: slope and intercept.
        golden_tolerance: how far a golden row's output may be from the recorded one.
        model_file: the model's arrays; ``golden_file`` and ``baseline_file`` as their names say.
        training: facts and figures of this head.
        before_cart: only asked while there is no cart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: HeadName
    task: Task
    outputs: Annotated[tuple[str, ...], Field(min_length=1)]
    view: str
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    fill: tuple[float, ...]
    scaling: Scaling | None = None
    model: Sha256
    calibration: tuple[float, float] = (1.0, 0.0)
    golden_tolerance: Tolerance = 1e-9
    model_file: FileName
    golden_file: FileName
    baseline_file: FileName
    training: dict[str, JsonValue] = {}
    before_cart: bool = False

    @property
    def files(self) -> tuple[str, str, str]:
        """The files of this head."""
        return self.model_file, self.golden_file, self.baseline_file


class SegmentsEntry(BaseModel):
    """The segments of finished visits; see `models.heads.segments.Segments`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    file: FileName
    training: dict[str, JsonValue] = {}


class Manifest(BaseModel):
    """Everything in a bundle that is not an array.

    Attributes:
        format: of the bundle's files.
        created: given by who trained, not read from a clock, so that the same inputs give the same bytes.
        rules: that labelled the stages.
        heads: the stage first.
        segments: of finished visits; None for none.
        files: sha256 of each file beside the manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[2] = FORMAT
    name: Name
    version: Name
    created: Annotated[str, Field(max_length=40)]
    rules: StageRules
    heads: Annotated[tuple[HeadEntry, ...], Field(min_length=1)]
    seed: int
    training: Training
    libraries: dict[str, str]
    files: dict[str, Sha256]
    segments: SegmentsEntry | None = None

    def sha256(self, name: str) -> str:
        """Of the file ``name`` in the bundle; KeyError if it has none of that name."""
        return self.files[name]

    def to_json(self) -> str:
        """Indented JSON with a final newline. Without segments it is what it was before there were any."""
        return self.model_dump_json(indent=2, exclude={"segments"} if self.segments is None else None) + "\n"


class _Format1(BaseModel):
    """A manifest of format 1: one forest over the published features."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1]
    name: Name
    version: Name
    created: Annotated[str, Field(max_length=40)]
    features: tuple[str, ...]
    feature_version: int
    state_version: int  # what the features were folded from; their own version says what they mean
    stages: tuple[str, ...]
    rules: StageRules
    medians: tuple[float, ...]
    scaling: Scaling
    seed: int
    forest: Sha256
    golden_tolerance: Tolerance = 1e-9
    training: Training
    libraries: dict[str, str]
    files: dict[str, Sha256]

    def upgraded(self, origin: str) -> Manifest:
        """The same in today's format.

        Raises:
            BundleError: it was trained on other features or stages.
        """
        _match(origin, "features", list(self.features), list(FEATURES))
        _match(origin, "feature version", self.feature_version, FEATURE_VERSION)
        _match(origin, "stages", list(self.stages), list(STAGES))
        head = HeadEntry(
            name=NAME,
            task="multiclass",
            outputs=self.stages,
            view=PUBLISHED,
            columns=self.features,
            fill=self.medians,
            scaling=self.scaling,
            model=self.forest,
            golden_tolerance=self.golden_tolerance,
            model_file="forest.npz",
            golden_file="golden.npz",
            baseline_file="baseline.json",
        )
        return Manifest(
            name=self.name,
            version=self.version,
            created=self.created,
            rules=self.rules,
            heads=(head,),
            seed=self.seed,
            training=self.training,
            libraries=self.libraries,
            files=self.files,
        )


def parse_manifest(data: bytes, origin: str) -> Manifest:
    """The manifest, if this release can serve it.

    Raises:
        BundleError: what is wrong and what to do.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{origin}: manifest.json is no JSON ({error}); copy the bundle again or {_RETRAIN}"
        ) from None
    found = values.get("format") if isinstance(values, dict) else None
    if found == 1:
        manifest = _validated(_Format1, data, origin).upgraded(origin)
    elif found == FORMAT:
        manifest = _validated(Manifest, data, origin)
    else:
        raise BundleError(
            f"{origin}: bundle format {found!r} is unknown, this release reads 1 and {FORMAT}; "
            f"run the release that wrote it, or {_RETRAIN}"
        )
    first = manifest.heads[0]
    _match(origin, "a first head named", first.name, NAME)
    _match(origin, "stages", list(first.outputs), list(STAGES))
    _match(origin, "view of the stage", first.view, PUBLISHED)
    _match(origin, "features", list(first.columns), list(FEATURES))
    return manifest


M = TypeVar("M", bound=BaseModel)


def _validated(kind: type[M], data: bytes, origin: str) -> M:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise BundleError(f"{origin}: manifest.json is wrong: {wrong}; {_RETRAIN}") from None


def _match(origin: str, what: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        raise BundleError(
            f"{origin}: trained on {what} {theirs}, but this release computes {ours}: "
            f"its scores would mean nothing; {_RETRAIN} or run the release that it was trained with"
        )
