"""The published protocol: rows, rule labels, flipped labels, the 80:20 split and the four classifiers.

Noise convention: at rate r each session has its label drawn anew with probability r, uniformly over all four stages,
so a quarter of the draws change nothing and 0.75 r of the labels end up wrong (3.75 % at 5 %): accuracy on such labels
cannot exceed 1 - 0.75 r however good the model is. The draws of a seed are nested: what is flipped at 5 % is flipped
at 10 % too, to the same stage.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

from featurestore.errors import SettingsError
from featurestore.session.stages import STAGES
from models.rules import StageRules
from models.study.profiles import SESSIONS_PER_PROFILE, as_served, draw_sessions
from models.training.classifiers import KINDS

NOISE: Final = 0.05
TEST_SHARE: Final = 0.2
FOLDS: Final = 5
TREES: Final = 200
DEPTH: Final = 20
CLASSIFIERS: Final = tuple(KINDS)
STAGE_CODES: Final = np.arange(len(STAGES))

Floats = NDArray[np.float64]
Stages = NDArray[np.uint8]


@dataclass(frozen=True)
class Study:
    """One draw of the published data: n rows.

    ``X`` (n, 9) raw, NaN where the bounce rate is missing; ``clean`` the rules' stage codes; ``labels`` the same after
    flips; ``train`` and ``test`` row numbers, stratified by ``labels``; ``trees`` of the forests that are fitted to it.
    """

    X: Floats
    profiles: Stages
    clean: Stages
    labels: Stages
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    seed: int
    noise: float
    rules: StageRules
    per_profile: int
    trees: int


def build_study(
    seed: int = 42,
    noise: float = NOISE,
    rules: StageRules | None = None,
    per_profile: int = SESSIONS_PER_PROFILE,
    trees: int = TREES,
) -> Study:
    """Draw, label, flip and split.

    Raises:
        SettingsError: if a stage has too few sessions under these rules to be split and cross-validated.
    """
    rules = rules or StageRules()
    X, profiles = draw_sessions(seed, per_profile)
    clean = rules.label(as_served(X))
    labels = flip_labels(clean, noise, seed)
    rare = [f"{STAGES[code]} ({count})" for code, count in enumerate(np.bincount(clean, minlength=4)) if count < 10]
    if rare:
        raise SettingsError(
            f"these rules leave fewer than 10 of {len(X)} study sessions to {', '.join(rare)}; loosen their thresholds"
        )
    train, test = train_test_split(np.arange(len(X)), test_size=TEST_SHARE, stratify=labels, random_state=seed)
    return Study(X, profiles, clean, labels, np.sort(train), np.sort(test), seed, noise, rules, per_profile, trees)


def flip_labels(stages: Stages, rate: float, seed: int) -> Stages:
    """Labels after noise at ``rate``, by the convention above. Nested in ``rate``; a pure function of its arguments.

    Raises:
        SettingsError: if ``rate`` is no share.
    """
    if not 0.0 <= rate <= 1.0:
        raise SettingsError(f"label noise is a share between 0 and 1, not {rate!r}")
    rng = np.random.default_rng([seed, 2])
    chance = rng.random(len(stages))
    drawn = rng.integers(0, len(STAGES), len(stages))
    return np.where(chance < rate, drawn, stages).astype(np.uint8)


def noise_ceiling(rate: float) -> float:
    """Expected accuracy of a perfect model on labels with noise at ``rate``."""
    return 1.0 - rate * (len(STAGES) - 1) / len(STAGES)


def new_model(name: str, seed: int, trees: int = TREES, depth: int | None = DEPTH) -> Any:
    """An unfitted classifier of the table in `models.training.classifiers`.

    ``trees`` is 200 for P; boosting gets half as many rounds, scikit-learn's 100.
    """
    if name not in KINDS:
        raise ValueError(f"no classifier is called {name!r}; there are {', '.join(CLASSIFIERS)}")
    return KINDS[name].compared(seed, trees, depth)


def new_transformer() -> Pipeline:
    """P's preprocessing of the nine numeric columns: median imputation, then min-max scaling."""
    return make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler())


def new_pipeline(name: str, seed: int, trees: int = TREES) -> Pipeline:
    """Preprocessing and classifier as one estimator, so that every fold fits its own medians and ranges."""
    return Pipeline([("prepare", new_transformer()), ("model", new_model(name, seed, trees))])
