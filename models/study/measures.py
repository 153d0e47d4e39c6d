"""What P reports about its classifiers, as plain values that serialise to JSON; shares and accuracies are fractions."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from featurestore.session.stages import STAGES
from models.study.protocol import (
    CLASSIFIERS,
    FOLDS,
    Floats,
    Stages,
    Study,
    build_study,
    new_pipeline,
    noise_ceiling,
)
from models.study.published import FEATURES
from models.study.scores import aligned, by_stage, confusion, overall, roc

NOISE_PERCENT: Final = (0, 5, 10, 15, 20, 25)
LEARNING_PARTS: Final = (0.125, 0.25, 0.375, 0.5, 0.6, 0.75, 1.0)  # of the 1,920 sessions of a fold

Record = dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """The four classifiers: fitted on the training rows, their probabilities on the test rows and out of fold."""

    fitted: dict[str, Pipeline]
    test: dict[str, Floats]
    held: dict[str, Floats]
    record: Record


def shares(stages: Stages) -> dict[str, float]:
    """Share of each stage."""
    counts = np.bincount(stages, minlength=len(STAGES))
    return {stage: float(counts[code] / counts.sum()) for code, stage in enumerate(STAGES)}


def folds_of(study: Study) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Five stratified folds over all rows: 1,920 to learn from, 480 held out."""
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=study.seed)
    return list(splitter.split(study.X, study.labels))


def compare_classifiers(study: Study, jobs: int) -> Compared:
    """Fit each classifier on the training rows, score it on the test rows, and cross-validate it over all rows."""
    folds = folds_of(study)
    splits = [(study.train, study.test), *folds]
    tasks = [(name, fit, held) for name in CLASSIFIERS for fit, held in splits]
    results = Parallel(n_jobs=jobs)(delayed(_fit_predict)(study, name, fit, held) for name, fit, held in tasks)
    fitted, test, out_of_fold, record = {}, {}, {}, {}
    y = study.labels[study.test]
    for number, name in enumerate(CLASSIFIERS):
        first, *rest = results[number * len(splits) : (number + 1) * len(splits)]
        fitted[name], test[name] = first
        proba = np.zeros((len(study.X), len(STAGES)))
        for (_, held), (_, part) in zip(folds, rest, strict=True):
            proba[held] = part
        out_of_fold[name] = proba
        hits = proba.argmax(axis=1) == study.labels
        accuracies = [float(hits[held].mean()) for _, held in folds]
        record[name] = overall(y, test[name].argmax(axis=1)) | {
            "clean_accuracy": float(np.mean(test[name].argmax(axis=1) == study.clean[study.test])),
            "cv_mean": float(np.mean(accuracies)),
            "cv_sd": float(np.std(accuracies)),
            "by_stage": by_stage(y, test[name]),
            "confusion": confusion(y, test[name]),
            "roc": roc(y, test[name]),
        }
    return Compared(fitted, test, out_of_fold, record)


def majority(study: Study) -> Record:
    """The baseline that always names the most frequent stage of the training rows."""
    most = int(np.bincount(study.labels[study.train]).argmax())
    return {"stage": STAGES[most]} | overall(study.labels[study.test], np.full(len(study.test), most))


def learning_curve(study: Study, held: Floats, jobs: int, parts: tuple[float, ...] = LEARNING_PARTS) -> list[Record]:
    """Cross-validated accuracy of the forest by share of the training sessions; ``held`` predicts with all of them."""
    folds = folds_of(study)
    full = len(folds[0][0])
    sizes = [round(part * full) for part in parts if part < 1]
    rng = np.random.default_rng([study.seed, 3])
    orders = [rng.permutation(fit) for fit, _ in folds]
    tasks = [(order[:size], rest) for size in sizes for order, (_, rest) in zip(orders, folds, strict=True)]
    probas = Parallel(n_jobs=jobs)(delayed(_predict)(study, "random_forest", fit, rest) for fit, rest in tasks)
    hits = [_accuracy(study, rest, proba) for (_, rest), proba in zip(tasks, probas, strict=True)]
    hits += [_accuracy(study, rest, held[rest]) for _, rest in folds]
    return [
        {"sessions": size, "share": size / full, "cv_mean": float(np.mean(part)), "cv_sd": float(np.std(part))}
        for size, part in zip([*sizes, full], np.reshape(hits, (-1, FOLDS)), strict=True)
    ]


def noise_sweep(
    study: Study, compared: Compared, jobs: int, percents: tuple[int, ...] = NOISE_PERCENT
) -> dict[str, Record]:
    """Forest accuracy at each noise rate: on P's one test set and cross-validated, on noisy and on clean labels.

    The study's own rate is read from ``compared``.
    """
    noisy = {
        percent: build_study(study.seed, percent / 100, study.rules, study.per_profile, study.trees)
        for percent in percents
    }
    tasks = [
        (s, fit, held)
        for s in noisy.values()
        if s.noise != study.noise
        for fit, held in [(s.train, s.test), *folds_of(s)]
    ]
    probas = iter(Parallel(n_jobs=jobs)(delayed(_predict)(s, "random_forest", fit, held) for s, fit, held in tasks))
    sweep = {}
    for percent, s in noisy.items():
        folds = [held for _, held in folds_of(s)]
        if s.noise == study.noise:
            test, out_of_fold = compared.test["random_forest"], [compared.held["random_forest"][held] for held in folds]
        else:
            test, *out_of_fold = (next(probas) for _ in range(FOLDS + 1))
        hits = [_accuracy(s, held, proba) for held, proba in zip(folds, out_of_fold, strict=True)]
        sweep[str(percent)] = {
            "accuracy": _accuracy(s, s.test, test),
            "clean_accuracy": float(np.mean(test.argmax(axis=1) == s.clean[s.test])),
            "cv_mean": float(np.mean(hits)),
            "cv_sd": float(np.std(hits)),
            "wrong_labels_in_test": float(np.mean(s.labels[s.test] != s.clean[s.test])),
            "ceiling": noise_ceiling(s.noise),
        }
    return sweep


def importances(study: Study, forest: Pipeline, repeats: int = 10) -> dict[str, Record]:
    """Gini importance, and the test accuracy lost when a feature's values are shuffled (mean and deviation)."""
    lost = permutation_importance(
        forest, study.X[study.test], study.labels[study.test], n_repeats=repeats, random_state=study.seed
    )
    gini = forest.named_steps["model"].feature_importances_
    return {
        name: {
            "gini": float(gini[column]),
            "permutation": float(lost.importances_mean[column]),
            "permutation_sd": float(lost.importances_std[column]),
        }
        for column, name in enumerate(FEATURES)
    }


def over_seeds(study: Study, draws: int) -> dict[str, Any]:
    """The forest's test accuracy over ``draws`` draws of everything, the seed of ``study`` and those after it.

    One draw is one throw: the test set has some hundred sessions, and its flipped labels alone move the figure by a
    point. ``not_flipped`` counts mistakes on labels that were not flipped.
    """
    accuracies, mistakes, own = [], 0, 0
    for seed in range(study.seed, study.seed + draws):
        drawn = build_study(seed, study.noise, study.rules, study.per_profile, study.trees)
        proba = _predict(drawn, "random_forest", drawn.train, drawn.test)
        wrong = proba.argmax(axis=1) != drawn.labels[drawn.test]
        flipped = (drawn.labels != drawn.clean)[drawn.test]
        accuracies.append(1 - float(wrong.mean()))
        mistakes += int(wrong.sum())
        own += int((wrong & ~flipped).sum())
    return {
        "seeds": list(range(study.seed, study.seed + draws)),
        "accuracy": accuracies,
        "mean": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies, ddof=1)) if draws > 1 else 0.0,
        "mistakes": mistakes,
        "not_flipped": own,
    }


def correlations(X: Floats) -> list[list[float]]:
    """Pearson correlation of each pair of features (9, 9), over the rows where both are known."""
    return [[_correlation(a, b) for b in X.T] for a in X.T]


def strongest_pair(table: list[list[float]]) -> tuple[str, str, float]:
    """The two features that correlate most, and how much."""
    size = np.abs(np.array(table)) - np.eye(len(FEATURES))
    a, b = np.unravel_index(int(size.argmax()), size.shape)
    return FEATURES[int(a)], FEATURES[int(b)], float(table[int(a)][int(b)])


def _accuracy(study: Study, rows: NDArray[np.int64], proba: Floats) -> float:
    return float(np.mean(proba.argmax(axis=1) == study.labels[rows]))


def _correlation(a: Floats, b: Floats) -> float:
    known = ~(np.isnan(a) | np.isnan(b))
    return round(float(np.corrcoef(a[known], b[known])[0, 1]), 4)


def _fit_predict(study: Study, name: str, fit: NDArray[np.int64], held: NDArray[np.int64]) -> tuple[Pipeline, Floats]:
    model = new_pipeline(name, study.seed, study.trees).fit(study.X[fit], study.labels[fit])
    return model, aligned(model, study.X[held])


def _predict(study: Study, name: str, fit: NDArray[np.int64], held: NDArray[np.int64]) -> Floats:
    return _fit_predict(study, name, fit, held)[1]
