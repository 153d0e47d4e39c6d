"""Stage rules: what each stage means, as thresholds on the features.

The rules label training data, stand beside the model's answers in the drift monitor, and set the moment at which
silence is looked at. They travel in the bundle. First match wins:

1. Drop-Off Risk: long idle, low engagement, short session
2. Intent Buyer: enough items added to the cart
3. Evaluator: enough pages and clicks and time
4. Explorer: everybody else
"""

import json
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from featurestore.errors import SettingsError
from featurestore.session.features import FEATURES
from featurestore.session.fold import FoldConfig
from featurestore.session.layout import N_GAPS
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER

_COLUMN: Final = {name: i for i, name in enumerate(FEATURES)}
_Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
_Rate = Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=10_000)]


class StageRules(BaseModel):
    """Thresholds of the four stages and of silence.

    Silence: after the last interaction of a session with ``g`` gaps the shopper counts as idle once the mean of the
    last five gaps, the open one included, reaches ``idle_mean_s``, and not before ``idle_after_s``: at
    ``max(idle_after_s, k * idle_mean_s - sum of the last k - 1 gaps)`` seconds with ``k = min(g + 1, 5)``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    idle_s: _Seconds = Field(30.0, description="Drop-Off Risk from this idle_time on")
    engagement_below_per_s: _Rate = Field(
        3.0,
        description="Drop-Off Risk only below this engagement_score, clicks per second. Silence does not lengthen "
        "session_duration, so a quick shopper who stops keeps a high score: the limit only exempts inhuman bursts",
    )
    short_session_s: _Seconds = Field(900.0, description="Drop-Off Risk only in sessions shorter than this")
    buyer_cart_additions: _Count = Field(2, description="Intent Buyer from this many cart_additions on")
    evaluator_pages: _Count = Field(10, description="Evaluator from this many pages_viewed on, ...")
    evaluator_clicks: _Count = Field(20, description="... this many num_clicks ...")
    evaluator_duration_s: _Seconds = Field(200.0, description="... and this session_duration")
    idle_after_s: _Seconds = Field(45.0, description="The open gap that silence needs at least")
    gap_cap_s: Annotated[float, Field(gt=0, lt=1_800, allow_inf_nan=False)] = Field(
        600.0, description="A single gap counts at most this in the features; slow shops need more"
    )
    idle_mean_s: _Seconds = Field(
        33.0, description="The idle_time at which silence is scored; a little past idle_s so that the model is sure"
    )

    @model_validator(mode="after")
    def _silence_is_past_the_rule(self) -> Self:
        if self.idle_mean_s < self.idle_s:
            raise ValueError(
                f"idle_mean_s ({self.idle_mean_s:g}) is below idle_s ({self.idle_s:g}): silence would be scored before "
                "the rule can call it Drop-Off Risk; set idle_mean_s to about 1.1 times idle_s"
            )
        if max(self.idle_after_s, N_GAPS * self.idle_mean_s) > self.gap_cap_s:
            raise ValueError(
                f"gap_cap_s ({self.gap_cap_s:g}) is below idle_after_s ({self.idle_after_s:g}) or {N_GAPS} times "
                f"idle_mean_s ({self.idle_mean_s:g}): silence after quick clicks could never reach it; raise gap_cap_s"
            )
        if self.evaluator_pages > 64:
            raise ValueError(
                f"evaluator_pages ({self.evaluator_pages}) is above 64, the most that pages_viewed counts: "
                "no session could be an Evaluator"
            )
        return self

    def label(self, X: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Stage code of each row; X is (n, 9) in the order of `FEATURES`. A missing value meets no condition.

        >>> browsing = [60.0, 5, 3, 0, 15.0, np.nan, 0.08, 0.0, 12.0]
        >>> buying = [60.0, 5, 3, 2, 15.0, np.nan, 0.08, 0.7, 12.0]
        >>> gone = [60.0, 5, 3, 2, 15.0, np.nan, 0.08, 0.7, 45.0]
        >>> StageRules().label(np.array([browsing, buying, gone])).tolist()
        [0, 2, 3]
        """
        duration, clicks = X[:, _COLUMN["session_duration"]], X[:, _COLUMN["num_clicks"]]
        stages = np.full(X.shape[0], EXPLORER, np.uint8)
        stages[
            (X[:, _COLUMN["pages_viewed"]] >= self.evaluator_pages)
            & (clicks >= self.evaluator_clicks)
            & (duration >= self.evaluator_duration_s)
        ] = EVALUATOR
        stages[X[:, _COLUMN["cart_additions"]] >= self.buyer_cart_additions] = INTENT_BUYER
        stages[
            (X[:, _COLUMN["idle_time"]] >= self.idle_s)
            & (X[:, _COLUMN["engagement_score"]] < self.engagement_below_per_s)
            & (duration < self.short_session_s)
        ] = DROP_OFF_RISK
        return stages

    def fold_config(self) -> FoldConfig:
        """The constants of the fold under these rules."""
        return FoldConfig(
            idle_after_ms=round(1000 * self.idle_after_s),
            idle_mean_ms=round(1000 * self.idle_mean_s),
            gap_cap_ms=round(1000 * self.gap_cap_s),
        )

    def to_json(self) -> str:
        """The rules as indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_mapping(cls, values: object, origin: str) -> Self:
        """Rules from a parsed file.

        Raises:
            SettingsError: naming each wrong field, what was expected, and the known fields.
        """
        if not isinstance(values, dict):
            raise SettingsError(f"{origin}: expected a mapping of thresholds, for example idle_s: 30")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("\n".join(_explain(origin, error))) from None

    @classmethod
    def from_json(cls, text: str | bytes, origin: str = "rules") -> Self:
        """Rules from JSON text.

        Raises:
            SettingsError: if it is no JSON, or as in `from_mapping`.
        """
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{origin}: not JSON: {error}") from None
        return cls.from_mapping(values, origin)


def load_rules(path: Path) -> StageRules:
    """Rules from a .json, .yaml or .yml file.

    Raises:
        SettingsError: if the file cannot be read, is neither format, or names a wrong threshold.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    if path.suffix == ".json":
        return StageRules.from_json(text, str(path))
    import yaml  # a worker gets its rules from the bundle, as JSON

    try:
        return StageRules.from_mapping(yaml.safe_load(text), str(path))
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {error}") from None


def save_rules(rules: StageRules, path: Path) -> None:
    """Write a rule file that `load_rules` reads: JSON for .json, else YAML with each threshold's meaning above it."""
    if path.suffix == ".json":
        path.write_text(rules.to_json(), encoding="utf-8")
        return
    lines = []
    for name, field in StageRules.model_fields.items():
        lines += [f"# {field.description}", f"{name}: {getattr(rules, name)!r}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _explain(origin: str, error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(StageRules.model_fields)
            lines.append(f"{origin}: unknown threshold {name!r}; known are {known}")
        else:
            lines.append(f"{origin}: {name + ': ' if name else ''}{problem['msg'].removeprefix('Value error, ')}")
    return lines
