"""``clickstage train``: from simulated or recorded events to a bundle.

1. events through the worker's fold: rows at event prefixes and in silence (`dataset`)
2. labels by the rules, noise if asked for, doubt near the Evaluator's thresholds (`doubt`)
3. checks: nothing is trained on rows that cannot give a model
4. imputation medians and scaling constants (trees need no scaling; the constants travel for other models)
5. if asked for, the published hyperparameter search
6. the forest, grown with a progress report, and judged on later sessions that it never saw
7. the bundle

The same configuration gives the same forest, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field

from featurestore.errors import SettingsError
from featurestore.session.features import FEATURES
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER, STAGES
from models.bundle.baseline import Baseline
from models.bundle.bundle import write_bundle
from models.bundle.manifest import Training
from models.checked import Checked
from models.heads.head import Head
from models.heads.outcomes import BUILT_IN, Outcome
from models.heads.segments import Segments
from models.heads.stage import stage_head
from models.rules import StageRules
from models.simulator.simulator import SimConfig, SimEvent, simulate
from models.study.cases import case_rows, judge_cases
from models.study.protocol import flip_labels
from models.study.search import GRID_TREES, search
from models.study.streaming import judge
from models.training.analysts import pickled
from models.training.classifiers import GROWN, Limits, new_growth
from models.training.dataset import Recording, Rows, Split, observe_log, recording_of, split_by_time
from models.training.doubt import DOUBT, Weighted, weighted
from models.training.outcome_heads import train_heads
from models.training.outcomes import outcome_rows
from models.training.rule_tree import RULES, rule_tree
from models.training.segments import finished, train_segments
from models.training.space import SPACE, space_rows
from models.trees.ensemble import Ensemble

Report = Callable[[str, float], None]
"""Called with the step's name and the share of the whole that is done."""

BOUNCE: Final = FEATURES.index("bounce_rate")
_SEARCH_ROWS: Final = 4_000
_FEWEST_ROWS: Final = 30
_STEPS: Final = 8
_WARM_UP: Final = 0.3
_GOLDEN_ROWS: Final = 40
_DECIDES: Final = {
    EXPLORER: "every other stage takes its rows: raise idle_s, buyer_cart_additions or the evaluator_ thresholds",
    EVALUATOR: "lower evaluator_pages, evaluator_clicks or evaluator_duration_s",
    INTENT_BUYER: "lower buyer_cart_additions, or check that add_to_cart events arrive",
    DROP_OFF_RISK: "lower idle_s and idle_mean_s, or raise short_session_s or engagement_below_per_s",
}


class _Need(NamedTuple):
    """A stage needs more than ``most`` of a feature; ``why`` a log may have none."""

    feature: str
    most: int
    why: str


_NEEDS: Final = {
    INTENT_BUYER: _Need("cart_additions", 0, "no event adds to a cart"),
    EVALUATOR: _Need("pages_viewed", 1, "no visit has a second page: the events name none, or always the same"),
}


def _grown(name: str) -> str:
    if name not in {*GROWN, RULES}:
        raise ValueError(f"{name!r} cannot be trained; there are {', '.join((*GROWN, RULES))}")
    return name


class TrainConfig(Checked):
    """How to train.

    Attributes:
        name: of the bundle.
        version: of the bundle.
        seed: of the simulation, the sampling and the forest.
        sessions: to simulate, unless events are given.
        rows: at most so many rows are drawn from the training sessions.
        model: one of `models.training.classifiers.GROWN`, or `rule_tree.RULES` for the rules themselves.
        trees: of the forest; boosting grows a fifth as many rounds of one tree a stage.
        depth: of a tree, at most.
        leaves: of a tree, at most; up to 63 the scorer keeps a tree's leaves in one machine word.
        features_tried: at each split of the forest.
        noise: share of labels drawn anew, as in the published study; the shipped bundle has none.
        space: rows from the whole space of the rules (see `space`) beside those of shoppers, as a share of them.
        doubt: relative deviation of the Evaluator's thresholds, see `doubt`.
        search: choose trees and depth by the published 5-fold search.
        train_share: share of the sessions, by time, to train on; the later ones are held out.
        bounce_rate: what to impute where no visitor is ever known.
        jobs: processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.]{0,40}$")] = "journey"
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]{0,40}$")] = "1"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    sessions: Annotated[int, Field(ge=100, le=1_000_000)] = 12_000
    rows: Annotated[int, Field(ge=100, le=5_000_000)] = 40_000
    model: Annotated[str, AfterValidator(_grown)] = "random_forest"
    trees: Annotated[int, Field(ge=5, le=2_000)] = 64
    depth: Annotated[int, Field(ge=1, le=64)] = 20
    leaves: Annotated[int, Field(ge=2, le=4_096)] = 32
    features_tried: Annotated[int, Field(ge=1, le=len(FEATURES))] = 5
    noise: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    space: Annotated[float, Field(ge=0, le=4)] = SPACE
    doubt: Annotated[float, Field(ge=0, le=2)] = DOUBT
    search: bool = False
    train_share: Annotated[float, Field(ge=0.1, le=0.95)] = 0.75
    bounce_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    jobs: Annotated[int, Field(ge=1, le=256)] = 2

    def simulation(self) -> SimConfig:
        """The sessions to learn from when no events are given: enough time passes for visitors to come back."""
        return SimConfig(sessions=self.sessions, seed=self.seed, sessions_per_s=0.25)


class Trained(NamedTuple):
    """What training made; medians, minimum and maximum are (9,).

    ``estimator`` is None where the stage is the rules themselves.
    ``steady`` are the rows that the drift baseline is made of: those of all sessions but the first `_WARM_UP`, when no
    visitor has a history yet. ``heads`` are the outcome heads; ``left_out`` says why others, a stage or the segments
    are missing.
    """

    estimator: Any
    forest: Ensemble
    rules: StageRules
    config: TrainConfig
    medians: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    train: Rows
    test: Rows
    held_out: dict[str, Any]
    steady: Rows
    sessions: int
    heads: tuple[Head, ...] = ()
    segments: Segments | None = None
    left_out: Mapping[str, str] = MappingProxyType({})


def train(
    config: TrainConfig,
    rules: StageRules,
    events: list[SimEvent] | None = None,
    report: Report = lambda *_: None,
    outcomes: Sequence[Outcome] = BUILT_IN,
    *,
    segments: bool = False,
) -> Trained:
    """Train on ``events`` in log order, or on a simulation: the stage, a head for each outcome, segments if asked for.

    Raises:
        SettingsError: if the rows cannot give a model, before anything is fitted.
    """
    report("run events through the fold", 0.0)
    log = [events] if events is not None else simulate(config.simulation())
    seen = observe_log(log, rules, wide=bool(outcomes) or segments)
    trained = train_on(recording_of(seen, rules), config, rules, report)
    if not outcomes and not segments:
        return trained
    rows = outcome_rows(seen, rules, outcomes)
    if outcomes:
        report("learn the outcomes", 0.92)
        fitted = train_heads(rows, config.seed, outcomes)
        trained = trained._replace(heads=fitted.heads, left_out={**trained.left_out, **fitted.left_out})
    if segments:
        report("find the segments", 0.94)
        found = train_segments(finished(rows), config.seed)
        if isinstance(found, str):
            return trained._replace(left_out={**trained.left_out, "segments": found})
        trained = trained._replace(segments=found)
    return trained


def train_on(recording: Recording, config: TrainConfig, rules: StageRules, report: Report = lambda *_: None) -> Trained:
    """`train` after its first step.

    Raises:
        SettingsError: if the rows cannot give a model, before anything is fitted.
    """
    split = split_rows(recording, config)
    medians = _medians(split.train.X, config)
    X = filled(split.train.X, medians)
    rng = np.random.default_rng([config.seed, 7])
    chosen = np.sort(rng.choice(X.shape[0], min(config.rows, X.shape[0]), replace=False))
    labels = flip_labels(split.train.stages[chosen], config.noise, config.seed)
    if config.search:
        report("search the grid of the published study", 0.15)
        config = searched(X[chosen], labels, config)
    estimator = None
    if config.model == RULES:
        forest = rule_tree(rules, X[chosen])
    else:
        everywhere = filled(space_rows(rules, round(config.space * chosen.size), config.seed), medians)
        for stage in impossible(recording.live):
            feature, most, _ = _NEEDS[stage]
            everywhere = everywhere[everywhere[:, FEATURES.index(feature)] <= most]
        learnt = weighted(
            np.concatenate([X[chosen], everywhere]),
            np.concatenate([labels, rules.label(everywhere)]),
            rules,
            config.doubt,
        )
        estimator = _grow(learnt, config, report)
        forest = Ensemble.from_sklearn(estimator, STAGES)
    report("judge it on later sessions", 0.9)
    held_out = judge(lambda rows: forest.predict(filled(rows, medians)), split.test, rules)
    low, high = X.min(axis=0), X.max(axis=0)
    steady = recording.live.take(recording.started[recording.live.session] > np.quantile(recording.started, _WARM_UP))
    return Trained(
        estimator,
        forest,
        rules,
        config,
        medians,
        low,
        high,
        split.train,
        split.test,
        held_out,
        steady,
        len(recording.names),
        left_out={STAGES[stage]: _NEEDS[stage].why for stage in impossible(recording.live)},
    )


def save(trained: Trained, directory: Path, *, created: str, replace: bool = False) -> Path:
    """Write the bundle to ``directory/name-version``; the same training and ``created`` give the same bytes.

    Raises:
        BundleError: if it exists (and is not to be replaced) or cannot be written.
    """
    config, test = trained.config, trained.test
    rng = np.random.default_rng([config.seed, 9])
    sample = np.sort(rng.choice(test.t.size, min(_GOLDEN_ROWS, test.t.size), replace=False))
    figures = ("rows", "sessions", "accuracy", "macro_f1", "flips_per_session", "confident_share")
    cases = judge_cases(trained.forest.predict(filled(case_rows(), trained.medians)))
    metrics = {
        **{name: trained.held_out[name] for name in figures},
        "ece": trained.held_out["calibration"]["ece"],
        "cases": {case: {"stage": v["stage"], "confidence": v["confidence"]} for case, v in cases.items()},
    }
    stage = stage_head(
        trained.forest,
        baseline=Baseline.from_training(trained.steady.X, trained.steady.stages),
        golden=np.concatenate([case_rows(), test.X[sample]]),
        fill=trained.medians,
        minimum=trained.minimum,
        maximum=trained.maximum,
    )
    return write_bundle(
        directory,
        name=config.name,
        version=config.version,
        created=created,
        heads=[stage, *trained.heads],
        rules=trained.rules,
        seed=config.seed,
        training=Training(
            sessions=trained.sessions,
            rows=int(min(config.rows, trained.train.t.size)),
            model=config.model,
            config=config.model_dump(mode="json"),
            metrics=metrics,
        ),
        analysts=None if trained.estimator is None else pickled(trained.estimator),
        segments=trained.segments,
        replace=replace,
    )


def filled(X: NDArray[np.float64], medians: NDArray[np.float64]) -> NDArray[np.float64]:
    """``X`` (n, 9) with ``medians`` (9,) where a value is missing."""
    return np.where(np.isnan(X), medians, X)


def check_rows(rows: Rows, config: TrainConfig) -> None:
    """Refuse rows that cannot give a model.

    Raises:
        SettingsError: saying which feature or stage, and what to change.
    """
    if rows.t.size == 0:
        raise SettingsError("no session gives a row to learn from; give more events")
    problems = []
    for j, feature in enumerate(FEATURES):
        if np.isnan(rows.X[:, j]).all() and not (j == BOUNCE and config.bounce_rate is not None):
            why = (
                ": no visitor_id comes back after a visit of its own has ended; give a log of a longer time, a day if "
                "you can, or say what to assume, --bounce-rate 0.3"
                if j == BOUNCE
                else ""
            )
            problems.append(f"{feature} is missing in every row{why}")
        elif np.isinf(rows.X[:, j]).any():
            problems.append(f"{feature} has an infinite value")
    absent = impossible(rows)
    counts = np.bincount(rows.stages, minlength=len(STAGES))
    for stage, count in enumerate(counts.tolist()):
        if count < _FEWEST_ROWS and stage not in absent:
            problems.append(
                f"{STAGES[stage]} has {count} of {rows.t.size:,} rows, {_FEWEST_ROWS} are needed: {_DECIDES[stage]}"
            )
    if problems:
        raise SettingsError("\n".join(problems))


def split_rows(recording: Recording, config: TrainConfig) -> Split:
    """The rows to train on and the later ones to judge on.

    Raises:
        SettingsError: they cannot give a model; nothing is fitted yet.
    """
    check_rows(recording.live, config)
    split = split_by_time(recording.live, recording.started, config.train_share)
    check_rows(split.train, config)
    if split.test.t.size == 0:
        raise SettingsError(
            "no session begins after the training sessions have ended, so none is left to judge the model on; "
            "give events of a longer time or a smaller train_share"
        )
    return split


def impossible(rows: Rows) -> list[int]:
    """The stages that a log cannot have, because it never tells what they need; others without rows are a mistake."""
    return [
        stage
        for stage, need in _NEEDS.items()
        if not (rows.X[:, FEATURES.index(need.feature)] > need.most).any() and not (rows.stages == stage).any()
    ]


def searched(
    X: NDArray[np.float64], stages: NDArray[np.uint8], config: TrainConfig, grid: tuple[int, ...] = GRID_TREES
) -> TrainConfig:
    """``config`` with the trees and depth that the published search chooses on up to 4,000 of the rows."""
    rng = np.random.default_rng([config.seed, 8])
    rows = rng.choice(X.shape[0], min(_SEARCH_ROWS, X.shape[0]), replace=False)
    trees, depth = search(X[rows], stages[rows], config.seed, grid, jobs=config.jobs).chosen
    return config.model_copy(update={"trees": trees, "depth": 64 if depth is None else depth})


def _medians(X: NDArray[np.float64], config: TrainConfig) -> NDArray[np.float64]:
    known = ~np.isnan(X).all(axis=0)
    medians = np.full(X.shape[1], config.bounce_rate if config.bounce_rate is not None else np.nan)
    medians[known] = np.nanmedian(X[:, known], axis=0)
    return medians


def _grow(rows: Weighted, config: TrainConfig, report: Report) -> Any:
    """The fitted estimator, grown in steps so that progress can be told; the steps change nothing of the result."""
    limits = Limits(config.seed, config.trees, config.depth, config.leaves, config.features_tried, config.jobs)
    growth = new_growth(config.model, limits)
    for step in range(1, _STEPS + 1):
        report(f"grow {growth.size} {growth.unit}", 0.2 + 0.7 * (step - 1) / _STEPS)
        size = max(1, growth.size * step // _STEPS)
        if size > len(getattr(growth.estimator, "estimators_", ())):
            growth.estimator.set_params(n_estimators=size).fit(rows.X, rows.stages, sample_weight=rows.weights)
            growth.tame(growth.estimator)
    return growth.estimator
