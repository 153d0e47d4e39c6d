"""The streaming protocol: a model judged where it works, at every event of live sessions and in their silences.

Sessions that the model never saw, later than all that it was trained on; the truth of a row is the rules' clean label
of that very row. Beside the served model stands one trained the published way, on finished sessions with 5 % label
noise, from the same shop: what it loses on the same rows is the skew of training on ends and serving in the middle.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.session.observation import EVENT_ROW, SILENCE
from featurestore.session.stages import STAGES
from models.rules import StageRules
from models.simulator.simulator import SimConfig, simulate
from models.study.protocol import NOISE, flip_labels, new_pipeline
from models.training.dataset import Recording, Rows, record, split_by_time
from models.training.doubt import DOUBT, LEAST_MAJORITY, evaluator_chance

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Features (n, 9) with NaN → probabilities (n, 4)."""

EVALUATION: Final = SimConfig(sessions=12_000, seed=4_242, sessions_per_s=0.25, start_ms=1_769_904_000_000)
"""Other shoppers than any training run's, a month later."""
PUBLISHED_SESSIONS: Final = 2_400
POSITIONS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200)
"""Upper ends of the bands of positions."""
CONFIDENT: Final = 0.7


class Ground(NamedTuple):
    """Rows to judge on, and finished sessions that ended before them to train the published way on."""

    test: Rows
    finished: Rows


def evaluation_ground(rules: StageRules, config: SimConfig = EVALUATION) -> Ground:
    """The last 60 % of the sessions to judge on; the finished ones of the first 40 % for the published way."""
    recording = record(simulate(config), rules)
    return ground_of(recording, 0.4)


def ground_of(recording: Recording, share: float) -> Ground:
    """A recording cut in time: finished sessions before, live rows after."""
    test = split_by_time(recording.live, recording.started, share).test
    finished = split_by_time(recording.finished, recording.started, share).train
    return Ground(test, finished)


def evaluate_stream(score: Score, rules: StageRules, *, seed: int = 42, ground: Ground | None = None) -> dict[str, Any]:
    """The whole protocol for one served model; JSON-ready.

    Args:
        score: the model, for example ``Bundle.score``.
        rules: the rules that it was trained on.
        seed: of the model trained the published way.
        ground: rows to judge on, default `evaluation_ground`.

    Returns:
        `judge` of the model, ``published_training`` with the same of the model trained the published way (and its two
        main figures as ``published_training_accuracy`` and ``published_training_macro_f1``).
    """
    ground = ground or evaluation_ground(rules)
    published = published_way(ground.finished, seed)
    other = judge(published, ground.test, rules)
    return {
        **judge(score, ground.test, rules),
        "published_training_accuracy": other["accuracy"],
        "published_training_macro_f1": other["macro_f1"],
        "published_training": {**other, "training_sessions": int(min(PUBLISHED_SESSIONS, ground.finished.t.size))},
    }


def published_way(finished: Rows, seed: int) -> Score:
    """P's forest (200 trees, depth 20, 5 % noise) on up to 2,400 finished sessions, one row each."""
    rng = np.random.default_rng([seed, 11])
    size = min(PUBLISHED_SESSIONS, finished.t.size)
    rows = finished.take(np.sort(rng.choice(finished.t.size, size, replace=False)))
    unknown = np.isnan(rows.X).all(axis=0)  # in a short run no visitor may have a history yet
    X = np.where(unknown, 0.0, rows.X)
    model = new_pipeline("random_forest", seed).fit(X, flip_labels(rows.stages, NOISE, seed))
    classes = np.asarray(model.named_steps["model"].classes_, np.int64)

    def score(X: NDArray[np.float64]) -> NDArray[np.float64]:
        proba = np.zeros((X.shape[0], len(STAGES)))
        proba[:, classes] = model.predict_proba(np.where(unknown, 0.0, X))
        return proba

    return score


def judge(score: Score, rows: Rows, rules: StageRules) -> dict[str, Any]:
    """Every figure of the protocol for one model on ``rows`` (of a session in order, sessions in any)."""
    order = np.lexsort((rows.position(), rows.session))
    rows = rows.take(order)
    proba = score(rows.X)
    predicted = proba.argmax(axis=1).astype(np.uint8)
    confidence = proba.max(axis=1)
    silent = rows.kind == SILENCE
    return {
        "rows": int(rows.t.size),
        "sessions": int(np.unique(rows.session).size),
        **_scores(rows.stages, predicted),
        "accuracy_in_silence": _share(predicted[silent] == rows.stages[silent]),
        "accuracy_at_events": _share(predicted[~silent] == rows.stages[~silent]),
        "by_stage": _by_stage(rows.stages, predicted),
        "by_position": _by_position(rows, predicted),
        "until_final_stage": _until_final(rows, predicted),
        "flips_per_session": _flips(rows.session, predicted),
        "flips_per_session_of_rules": _flips(rows.session, rows.stages),
        "confident_share": _share(confidence >= CONFIDENT),
        "accuracy_when_confident": _share((predicted == rows.stages)[confidence >= CONFIDENT]),
        "calibration": _calibration(rows, predicted, confidence, rules),
    }


def _scores(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> dict[str, float | None]:
    per_stage = [f1 for f1 in _f1(truth, predicted) if f1 is not None]
    return {"accuracy": _share(truth == predicted), "macro_f1": float(np.mean(per_stage)) if per_stage else None}


def _f1(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> list[float | None]:
    """F1 of each stage, None where it neither occurs nor is predicted."""
    scores: list[float | None] = []
    for stage in range(len(STAGES)):
        hit = int(((truth == stage) & (predicted == stage)).sum())
        all_marked = int((truth == stage).sum() + (predicted == stage).sum())
        scores.append(2 * hit / all_marked if all_marked else None)
    return scores


def _by_stage(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> dict[str, dict[str, float | None]]:
    return {
        name: {
            "share": _share(truth == stage),
            "precision": _share(truth[predicted == stage] == stage),
            "recall": _share(predicted[truth == stage] == stage),
            "f1": f1,
        }
        for stage, (name, f1) in enumerate(zip(STAGES, _f1(truth, predicted), strict=True))
    }


def _by_position(rows: Rows, predicted: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Accuracy and macro-F1 in bands of the row's position in its session."""
    position = rows.position()
    bands = []
    for first, last in zip((1, *(end + 1 for end in POSITIONS[:-1])), POSITIONS, strict=True):
        chosen = (position >= first) & (position <= last)
        if chosen.any():
            bands.append(
                {
                    "first": first,
                    "last": last,
                    "rows": int(chosen.sum()),
                    **_scores(rows.stages[chosen], predicted[chosen]),
                }
            )
    return bands


def _until_final(rows: Rows, predicted: NDArray[np.uint8]) -> dict[str, Any]:
    """Events until the stage of the last event (by the rules) is predicted and not left again; silences left out."""
    live = rows.kind == EVENT_ROW
    session, truth, predicted = rows.session[live], rows.stages[live], predicted[live]
    if session.size == 0:
        return {"never_share": None, "stages": {}}
    starts = np.flatnonzero(np.diff(session, prepend=session[0] - 1))
    ends = np.append(starts[1:], session.size)
    final = truth[ends - 1]
    wrong_at = np.where(predicted != np.repeat(final, ends - starts), np.arange(session.size), -1)
    last_wrong = np.maximum.reduceat(wrong_at, starts)
    events = np.where(last_wrong < 0, 1, last_wrong - starts + 2)
    never = last_wrong == ends - 1
    return {
        "never_share": _share(never),
        "stages": {
            name: {
                "sessions": int(chosen.sum()),
                "mean": float(events[chosen].mean()),
                "median": float(np.median(events[chosen])),
                "p90": float(np.quantile(events[chosen], 0.9)),
                "share_of_session": float((events[chosen] / (ends - starts)[chosen]).mean()),
            }
            for stage, name in enumerate(STAGES)
            if (chosen := (final == stage) & ~never).any()
        },
    }


def _flips(session: NDArray[np.int64], stages: NDArray[np.uint8]) -> float | None:
    """Changes of stage from one row to the next of a session, per session."""
    changed = (stages[1:] != stages[:-1]) & (session[1:] == session[:-1])
    sessions = np.unique(session).size
    return float(changed.sum() / sessions) if sessions else None


def _calibration(
    rows: Rows, predicted: NDArray[np.uint8], confidence: NDArray[np.float64], rules: StageRules
) -> dict[str, Any]:
    """Reliability curve and expected calibration error of the top probability, ten bins.

    ``ece`` is against the rules' clean labels; ``ece_doubt`` against the chance that the predicted stage holds if the
    Evaluator's thresholds are only known up to `doubt.DOUBT`, which is what the served confidence means.
    """
    right = (predicted == rows.stages).astype(np.float64)
    chance = evaluator_chance(rows.X, rules, DOUBT)
    doubtful = np.select([rows.stages == 1, rows.stages == 0], [1 - chance, chance], 0.0).clip(0, 1 - LEAST_MAJORITY)
    neighbour = (predicted <= 1) & (rows.stages <= 1) & (predicted != rows.stages)
    expected = np.where(right > 0, 1 - doubtful, np.where(neighbour, doubtful, 0.0))
    bins = np.minimum((confidence * 10).astype(np.int64), 9)
    curve = []
    ece = ece_doubt = 0.0
    for b in range(10):
        inside = bins == b
        if not inside.any():
            continue
        mean, accuracy = float(confidence[inside].mean()), float(right[inside].mean())
        ece += inside.mean() * abs(mean - accuracy)
        ece_doubt += inside.mean() * abs(mean - float(expected[inside].mean()))
        curve.append({"confidence": mean, "accuracy": accuracy, "rows": int(inside.sum())})
    return {"ece": float(ece), "ece_doubt": float(ece_doubt), "reliability": curve}


def _share(hits: NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if hits.size else None
