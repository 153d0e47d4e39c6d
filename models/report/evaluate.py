"""`clickstage evaluate`: the published study, the streaming protocol and real labels, as one page and one JSON file.

report.json holds fractions, not percent. Its top level has the headline figures under stable keys; ``detail`` holds the
rest, as shown on the page.
"""

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from featurestore.contract.trackers import own_types
from featurestore.errors import BundleError, SettingsError
from featurestore.session.stages import STAGES
from models.bundle.bundle import Bundle
from models.report import figures, live_figures, outcome_page, page
from models.report.options import read_options
from models.report.outcome_evaluation import run_outcomes
from models.study import cases, latency, measures, mistakes, published, shoppers
from models.study.checks import asked_for
from models.study.protocol import TREES, Study, build_study
from models.study.scores import aligned
from models.study.search import GRID_TREES, search
from models.study.streaming import EVALUATION, evaluate_stream, evaluation_ground
from models.trees.ensemble import Ensemble
from models.trees.explain import contributions

BUNDLES: Final = Path(__file__).parents[1] / "bundles"
LIBRARIES: Final = ("numpy", "scikit-learn", "numba", "matplotlib")


@dataclass(frozen=True)
class Size:
    """How much is measured; `QUICK` is for tests and a first look."""

    per_profile: int
    forest: int
    trees: tuple[int, ...]
    parts: tuple[float, ...]
    repeats: int
    calls: int
    slow_calls: int
    shopper_folds: int
    shopper_step: int
    stream_sessions: int
    seeds: int


FULL: Final = Size(
    600,
    TREES,
    GRID_TREES,
    measures.LEARNING_PARTS,
    10,
    latency.CALLS,
    latency.SLOW_CALLS,
    10,
    1,
    EVALUATION.sessions,
    9,
)
QUICK: Final = Size(100, 40, (10, 25), (0.6, 1.0), 2, 200, 20, 2, 6, 300, 2)


class Evaluation:
    """Measures step by step; ``report`` and ``pictures`` fill up."""

    def __init__(self, seed: int, size: Size, bundle: Bundle | None, data: Path | None, jobs: int) -> None:
        self.size, self.bundle, self.data, self.jobs = size, bundle, data, jobs
        self.study: Study = build_study(seed, per_profile=size.per_profile, trees=size.forest)
        self.detail: dict[str, Any] = {"notes": {}}
        self.report: dict[str, Any] = {"seed": seed, "detail": self.detail}
        self.pictures: dict[str, str] = {}

    def describe(self) -> None:
        """What was drawn: shares, flips, correlations."""
        study = self.study
        wrong = study.labels != study.clean
        self.detail |= {
            "sessions": len(study.X),
            "test_sessions": len(study.test),
            "clean_shares": measures.shares(study.clean),
            "near_boundary": float(mistakes.near_boundary(study.X, study.rules).mean()),
            "wrong_labels": {
                "all": float(wrong.mean()),
                "test": float(wrong[study.test].mean()),
                "test_by_stage": {
                    stage: float(wrong[study.test][study.labels[study.test] == code].mean())
                    for code, stage in enumerate(STAGES)
                },
            },
            "correlations": measures.correlations(study.X),
        }
        self.detail["strongest_pair"] = measures.strongest_pair(self.detail["correlations"])
        self.report["published"] = {"shares": measures.shares(study.labels)}
        self.report["rules"] = study.rules.model_dump()
        self.pictures["shares"] = figures.shares(self.report["published"]["shares"])
        self.pictures["correlations"] = figures.correlations(self.detail["correlations"])

    def classify(self) -> None:
        """Four classifiers and the baseline."""
        self.compared = measures.compare_classifiers(self.study, self.jobs)
        record = self.compared.record
        self.detail |= {"classifiers": record, "majority": measures.majority(self.study)}
        auc = {name: {stage: row["auc"] for stage, row in record[name]["by_stage"].items()} for name in record}
        self.report["published"] |= {
            "accuracy": {name: row["accuracy"] for name, row in record.items()},
            "cv_accuracy": {name: row["cv_mean"] for name, row in record.items()},
            "auc": auc["random_forest"],
        }
        linear, forest = record["logistic_regression"], record["random_forest"]
        self.pictures["accuracies"] = figures.accuracies(record, self.detail["majority"]["accuracy"])
        self.pictures["confusions"] = figures.confusions(linear["confusion"], forest["confusion"])
        self.pictures["roc"] = figures.rocs(linear["roc"], forest["roc"], auc)

    def draw_again(self) -> None:
        """The forest on other draws: how much of a figure is luck."""
        self.detail["over_seeds"] = measures.over_seeds(self.study, self.size.seeds)

    def rank_features(self) -> None:
        """Importances of the forest."""
        forest = self.compared.fitted["random_forest"]
        self.detail["importances"] = measures.importances(self.study, forest, self.size.repeats)
        self.pictures["importances"] = figures.importances(self.detail["importances"])

    def search(self) -> None:
        """P's grid, within the training rows."""
        study = self.study
        found = search(study.X[study.train], study.labels[study.train], study.seed, self.size.trees, jobs=self.jobs)
        self.detail["search"] = {
            "trees": found.trees,
            "depths": found.depths,
            "mean": found.accuracy.mean(axis=2).tolist(),
            "sd": found.accuracy.std(axis=2).tolist(),
            "best": found.best,
            "chosen": found.chosen,
        }
        self.pictures["trees"] = figures.trees(self.detail["search"])

    def learn(self) -> None:
        """Learning curve."""
        held = self.compared.held["random_forest"]
        self.detail["learning"] = measures.learning_curve(self.study, held, self.jobs, self.size.parts)
        self.pictures["learning"] = figures.learning(self.detail["learning"])

    def disturb(self) -> None:
        """Label noise from 0 to 25 %."""
        sweep = measures.noise_sweep(self.study, self.compared, self.jobs)
        self.detail["noise"] = sweep
        self.report["noise"] = {rate: row["accuracy"] for rate, row in sweep.items()}
        self.pictures["noise"] = figures.noise(sweep)

    def explain(self) -> None:
        """Mistakes, worked cases, contributions."""
        study, forest = self.study, self.compared.fitted["random_forest"]
        groups = {
            "test": mistakes.group_mistakes(study, study.test, self.compared.test["random_forest"]),
            "held_out": mistakes.group_mistakes(study, np.arange(len(study.X)), self.compared.held["random_forest"]),
        }
        self.detail["mistakes"] = groups
        titles = {"test": "test set", "held_out": "held-out folds"}
        bars = {"P": {name: float(share) for name, share in published.ERRORS.items()}} | {
            titles[key]: {name: 100 * group["share"] for name, group in groups[key]["groups"].items()} for key in groups
        }
        self.pictures["mistakes"] = figures.mistakes(bars, mistakes.GROUPS)
        self.report["cases"] = {"study": cases.judge_cases(aligned(forest, cases.studied_rows()))}
        if self.bundle is not None:
            self.report["cases"]["served"] = cases.judge_cases(self.bundle.score(cases.case_rows()))
        self._contributions()

    def _contributions(self) -> None:
        study, pipeline = self.study, self.compared.fitted["random_forest"]
        X = study.X[study.test]
        rows = np.ascontiguousarray(pipeline.named_steps["prepare"].transform(X))
        scorer = Ensemble.from_sklearn(pipeline.named_steps["model"], STAGES)
        proba = scorer.predict(rows)
        parts = [contributions(scorer, rows, np.full(len(rows), code, np.uint8)) for code in range(len(STAGES))]
        gaps = [np.abs(p.bias + p.values.sum(axis=1) - proba[:, code]).max() for code, p in enumerate(parts)]
        self.detail["explanations"] = {
            "rows": len(rows),
            "largest_gap": float(max(gaps)),
            "mean_size": {
                stage: dict(zip(published.FEATURES, np.abs(part.values).mean(axis=0).tolist(), strict=True))
                for stage, part in zip(STAGES, parts, strict=True)
            },
        }
        self.pictures["explanations"] = live_figures.explanations(X, np.stack([p.values for p in parts]), study.seed)

    def time(self) -> None:
        """Latency of single predictions."""
        X = self.study.X[self.study.test]
        self.report["latency_us"] = latency.time_classifiers(
            self.compared.fitted, X, self.size.calls, self.size.slow_calls
        )
        self.pictures["latency"] = figures.latency(self.report["latency_us"])

    def stream(self) -> None:
        """The served bundle on every prefix of unseen sessions."""
        self.report["stream"] = {}
        if self.bundle is None:
            self.detail["notes"]["stream"] = "Not measured: no bundle is there; `clickstage train` writes one."
            return
        self.detail["bundle"] = self.bundle.id
        sessions = self.size.stream_sessions
        per_s = EVALUATION.sessions_per_s * sessions / EVALUATION.sessions  # the same days, however few sessions
        config = EVALUATION.model_copy(update={"sessions": sessions, "sessions_per_s": per_s})
        ground = evaluation_ground(self.bundle.rules, config)
        record = evaluate_stream(self.bundle.score, self.bundle.rules, seed=self.study.seed, ground=ground)
        other = record["published_training"]
        self.report["stream"] = record
        self.pictures["positions"] = live_figures.positions(record["by_position"], other["by_position"])
        self.pictures["reliability"] = live_figures.reliability(
            record["calibration"]["reliability"], other["calibration"]["reliability"]
        )

    def real_labels(self) -> None:
        """online_shoppers_intention."""
        self.report["shoppers"] = {}
        path = shoppers.find_shoppers(self.data)
        if path is None:
            self.detail["notes"]["shoppers"] = (
                f"Not measured: {shoppers.FILE} is not at hand; give its folder with --data."
            )
            return
        table = shoppers.load_shoppers(path).every(self.size.shopper_step)
        folds = self.size.shopper_folds
        self.report["shoppers"] = shoppers.compare(table, self.study.seed, self.jobs, folds)
        self.detail["shoppers"] = {
            "sessions": len(table.bought),
            "folds": folds,
            "base_rate": float(table.bought.mean()),
            "majority": float(1 - table.bought.mean()),
            "stages": shoppers.describe_stages(table),
            "mapping": shoppers.MAPPING,
        }
        self.pictures["shoppers"] = live_figures.shoppers(self.report["shoppers"])


def run(
    report_dir: Path,
    seed: int = 42,
    data: Path | None = None,
    quick: bool = False,
    bundle: Path | None = None,
    jobs: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure everything and write ``report.html`` and ``report.json`` to ``report_dir``; returns what the JSON holds.

    Args:
        report_dir: created if absent.
        seed: of the draw, the split, the folds and the models.
        data: folder of the real-label file; None or a folder without it leaves that section out, with a note.
        quick: a sixth of the sessions and of everything else, for tests and a first look.
        bundle: the served bundle; None takes the one that ships, if any.
        jobs: processes; None takes two, one on a single core or for a quick run.
        console: where the progress bar goes; None is standard error.

    Raises:
        SettingsError: if ``report_dir`` cannot be written or the data file is damaged.
        BundleError: if the bundle is refused.
    """
    _writable(report_dir)
    path = bundle if bundle is not None else shipped_bundle()
    evaluation = Evaluation(
        seed,
        QUICK if quick else FULL,
        Bundle.load(path) if path is not None else None,
        data,
        jobs if jobs is not None else 1 if quick else min(2, os.cpu_count() or 1),
    )
    steps = {
        "describing the draw": evaluation.describe,
        "four classifiers": evaluation.classify,
        "latency": evaluation.time,  # right after the first heat, before more processes are busy
        "other seeds": evaluation.draw_again,
        "importances": evaluation.rank_features,
        "search": evaluation.search,
        "learning curve": evaluation.learn,
        "label noise": evaluation.disturb,
        "mistakes, cases, explanations": evaluation.explain,
        "streaming protocol": evaluation.stream,
        "real labels": evaluation.real_labels,
    }
    bar = Progress(
        TextColumn("{task.description:<30}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=len(steps))
        for name, step in steps.items():
            bar.update(task, description=name)
            step()
            bar.advance(task)
    measured = evaluation.report | {
        "schema_version": 1,
        "quick": quick,
        "command": f"clickstage evaluate --report DIR --seed {seed}{' --quick' if quick else ''}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    measured["checks"] = asked_for(measured)
    report: dict[str, Any] = outcome_page.jsonable(measured)
    (report_dir / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (report_dir / "report.html").write_text(page.build(report, evaluation.pictures), encoding="utf-8")
    return report


def shipped_bundle() -> Path | None:
    """The latest bundle in models/bundles, None if there is none."""
    try:
        return Bundle.find(BUNDLES)
    except BundleError:
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """``clickstage evaluate``.

    Raises:
        ClickstageError: as in `run`.
    """
    options = read_options(argv)
    if options.outcomes:
        _writable(options.report)
        outcomes = run_outcomes(
            options.report,
            options.seed,
            options.data,
            options.quick,
            options.file,
            options.recurrent,
            types=own_types(options.type),
            only=options.only,
        )
        Console().print(outcome_page.text_tables(outcomes), highlight=False, markup=False, soft_wrap=True)
        return 0
    report = run(options.report, options.seed, options.data, options.quick, options.bundle)
    met = [check["met"] for check in report["checks"]]
    Console(stderr=True).print(
        f"{options.report / 'report.html'}: {met.count(True)} of {len(met)} requirements met, "
        f"{met.count(None)} not measured"
    )
    return 0


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"--report {folder}: cannot be written: {error.strerror}") from None
