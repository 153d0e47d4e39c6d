"""``manifest.json``: what a bundle says about itself, and the checks that need no other file."""

import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from featurestore.errors import BundleError
from featurestore.session.features import FEATURE_VERSION, FEATURES
from featurestore.session.fold import STATE_VERSION
from featurestore.session.stages import STAGES
from models.rules import StageRules

FORMAT: Final = 1
_RETRAIN: Final = "train a bundle with this release (clickstage train)"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]{0,40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Scaling(BaseModel):
    """Minimum and maximum of each imputed feature in training: for models that need scaled input. Trees do not."""

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


class Manifest(BaseModel):
    """Everything in a bundle that is not an array.

    Attributes:
        format: of the bundle's files.
        created: given by who trained, not read from a clock, so that the same inputs give the same bytes.
        features: in the order of the columns.
        feature_version: of their definitions.
        state_version: of the session state that the features are folded from.
        medians: what fills a missing value, per feature.
        forest: digest of the forest's arrays, the same on every machine.
        golden_tolerance: how far a golden row's score may be from the recorded one.
        files: sha256 of each file beside the manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = FORMAT
    name: Name
    version: Name
    created: Annotated[str, Field(max_length=40)]
    features: tuple[str, ...] = FEATURES
    feature_version: int = FEATURE_VERSION
    state_version: int = STATE_VERSION
    stages: tuple[str, ...] = STAGES
    rules: StageRules
    medians: tuple[float, ...]
    scaling: Scaling
    seed: int
    forest: Sha256
    golden_tolerance: Annotated[float, Field(gt=0, le=1e-6)] = 1e-9
    training: Training
    libraries: dict[str, str]
    files: dict[str, Sha256]

    def sha256(self, name: str) -> str:
        """Of the file ``name`` in the bundle; KeyError if it has none of that name."""
        return self.files[name]

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


def parse_manifest(data: bytes, origin: str) -> Manifest:
    """The manifest, if this release can serve it.

    Raises:
        BundleError: what is wrong and what to do.
    """
    try:
        values = json.loads(data)
    except ValueError as error:
        raise BundleError(
            f"{origin}: manifest.json is no JSON ({error}); copy the bundle again or {_RETRAIN}"
        ) from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise BundleError(
            f"{origin}: bundle format {found!r} is unknown, this release reads {FORMAT}; "
            f"run the release that wrote it, or {_RETRAIN}"
        )
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise BundleError(f"{origin}: manifest.json is wrong: {wrong}; {_RETRAIN}") from None
    _match(origin, "features", list(manifest.features), list(FEATURES))
    _match(origin, "feature version", manifest.feature_version, FEATURE_VERSION)
    _match(origin, "state version", manifest.state_version, STATE_VERSION)
    _match(origin, "stages", list(manifest.stages), list(STAGES))
    if {len(manifest.medians), len(manifest.scaling.minimum), len(manifest.scaling.maximum)} != {len(FEATURES)}:
        raise BundleError(f"{origin}: medians and scaling need {len(FEATURES)} numbers each; {_RETRAIN}")
    return manifest


def _match(origin: str, what: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        raise BundleError(
            f"{origin}: trained on {what} {theirs}, but this release computes {ours}: "
            f"its scores would mean nothing; {_RETRAIN} or run the release that it was trained with"
        )
