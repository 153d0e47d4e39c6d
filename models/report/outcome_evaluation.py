"""``clickstage evaluate --outcomes``: the outcome heads on every log at hand, as a page, a JSON file and text.

The logs: the simulated shop, L's log as it is generated here, a third party's synthetic shop, and, where the data
folder is there, C's clicks and the real labels of UCI 468.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from featurestore.errors import SettingsError
from models.heads.outcomes import BUILT_IN, Outcome
from models.report import outcome_page
from models.rules import StageRules
from models.simulator.simulator import SimConfig, SimEvent, simulate
from models.study import action_log, next_price, recurrent, shop_log, shoppers, uci_intent
from models.study.outcome_study import auc_by_folds, judge_outcome, rank_later, visits_with
from models.study.windows import WINDOWS, by_window, on_both_sides
from models.training.dataset import observe_log
from models.training.eventfile import read_events
from models.training.outcome_fit import FEWEST_POSITIVE_VISITS
from models.training.outcomes import (
    OutcomeRows,
    Parts,
    outcome_rows,
    split_visits,
    split_visits_by_time,
    visit_folds,
)

SIMULATED: Final = SimConfig(sessions=20_000, seed=4_343, sessions_per_s=0.25)
_QUICK_SESSIONS: Final = 3_500
_QUICK_WINDOWS: Final = (4, 14)
_FIRST: Final = 0.7
_FOLDS: Final = 10
_OTHER_DRAWS: Final = 4
LOGS: Final = ("simulator", "L", "shop", "eshop", "uci468")
"""What there is to judge, as the option ``--only`` names it."""


class OutcomeEvaluation:
    """Measures log by log; ``report`` fills up.

    Args:
        seed: of everything that is drawn.
        data: the folder of other people's logs; what is not there is named.
        quick: rough figures.
        file: a log to judge instead of all these.
        types: what names of its own mean there.
        only: of `LOGS`; none for all.
        recurrent: GRU and LSTM on L's log too; needs torch.
    """

    def __init__(
        self,
        seed: int,
        data: Path | None,
        quick: bool,
        file: Path | None = None,
        *,
        recurrent: bool = False,
        types: Mapping[str, str] = MappingProxyType({}),
        only: Sequence[str] = (),
    ) -> None:
        self.types, self.only = types, only
        self.seed, self.data, self.quick, self.file, self.recurrent = seed, data, quick, file, recurrent
        self.draws = 20 if quick else 200
        self.report: dict[str, Any] = {"seed": seed, "quick": quick, "logs": {}}

    def steps(self) -> dict[str, Callable[[], None]]:
        """What to do, by name."""
        if self.file is not None:
            return {self.file.name: partial(self.own_log, self.file)}
        steps = {
            "simulator": ("the simulated shop", self.simulated),
            "L": ("L's log, generated", self.generated),
            "shop": ("a third party's shop", self.third_party),
            "eshop": ("C's tasks", self.next_prices),
            "uci468": ("real labels", self.real_labels),
        }
        return {title: step for name, (title, step) in steps.items() if name in (self.only or steps)}

    def own_log(self, path: Path) -> None:
        """Later visits of a shop's own log; earlier ones train and calibrate.

        Where too few visits have an outcome for that, it is judged by folds of visits, and the report says so.

        Raises:
            SettingsError: the file cannot be read, or no visit in it has ended.
        """
        rows = _rows(read_events(path, types=self.types))
        if not rows.visit.size:
            raise SettingsError(f"{path}: no visit in it is over before its end; take a longer log")
        later, folds = [split_visits_by_time(rows)], visit_folds(rows, self.seed, 3 if self.quick else _FOLDS)
        enough = {
            outcome.name: min(visits_with(rows, part, outcome) for part in (later[0].train, later[0].test))
            for outcome in BUILT_IN
        }
        by_folds = {name for name, visits in enough.items() if visits < FEWEST_POSITIVE_VISITS}
        self._judge(path.name, rows, {o.name: folds if o.name in by_folds else later for o in BUILT_IN}, BUILT_IN)
        judged = [name for name in self.report["logs"][path.name]["heads"] if name in by_folds]
        if judged:
            self.report["logs"][path.name]["by_folds"] = judged

    def simulated(self) -> None:
        """Later visits of the simulated shop."""
        sessions = _QUICK_SESSIONS if self.quick else SIMULATED.sessions
        rows = _rows(
            [event for chunk in simulate(SIMULATED.model_copy(update={"sessions": sessions})) for event in chunk]
        )
        self._judge("simulator", rows, _all(BUILT_IN, [split_visits_by_time(rows)]), BUILT_IN)

    def generated(self) -> None:
        """L's counts; visits split at random, and L's windows beside the state."""
        sessions = _QUICK_SESSIONS if self.quick else action_log.SESSIONS
        rows = _rows(action_log.generate(self.seed, sessions))
        parts = split_visits(rows, self.seed)
        asked = tuple(outcome for outcome in BUILT_IN if outcome.name in {"order_rest", "add_rest"})
        self._judge("L", rows, _all(asked, [parts]), asked)
        events = ~rows.silent
        seen, cut = rows.take(events), Parts(*(part[events] for part in parts))
        sizes = _QUICK_WINDOWS if self.quick else WINDOWS
        names = ("order_rest", "add_rest")
        self.report["windows"] = by_window(seen, cut, names, self.seed, sizes)
        self.report["both_sides"] = on_both_sides(rows, names, self.seed, sizes)
        if self.recurrent:
            self.report["recurrent"] = recurrent.by_recurrent(seen, cut, names, self.seed)

    def third_party(self) -> None:
        """`shop_synthetic_ecom` by ten folds of visits, and, as the prototype was judged, in the last 30 % of them."""
        path = self._file(shop_log.FILE)
        if path is not None:
            rows = _rows(shop_log.load_shop_log(path))
            folds = visit_folds(rows, self.seed, 3 if self.quick else _FOLDS)
            self._judge("shop_synthetic_ecom", rows, _all(BUILT_IN, folds), BUILT_IN)
            asked = [outcome for outcome in BUILT_IN if outcome.name in {"order_rest", "add_rest"}]
            self.report["shop_in_time"] = {
                outcome.name: rank_later(rows, outcome, self.seed, _FIRST, self.draws)
                | {"other_folds": [auc_by_folds(rows, drawn, outcome, self.seed) for drawn in self._others(rows)]}
                for outcome in asked
            }

    def _others(self, rows: OutcomeRows) -> list[list[Parts]]:
        """Other draws of the folds: how much of a figure is the draw."""
        draws, folds = (1, 3) if self.quick else (_OTHER_DRAWS, _FOLDS)
        return [visit_folds(rows, self.seed + draw, folds) for draw in range(1, draws + 1)]

    def next_prices(self) -> None:
        """`eshop_clothing_2008`: C's tasks from prefixes, and the published way beside them."""
        path = self._file(next_price.FILE)
        if path is not None:
            clicks = next_price.load_clicks(path)
            tasks = next_price.judge_tasks(clicks, self.seed)
            self.report["eshop"] = {**tasks, "published_way": next_price.published_way(clicks, self.seed)}

    def real_labels(self) -> None:
        """UCI 468."""
        path = self._file(shoppers.FILE)
        if path is not None:
            table = shoppers.load_shoppers(path)
            self.report["uci468"] = uci_intent.judge_intent(table, self.seed, 3 if self.quick else shoppers.FOLDS)

    def _file(self, name: str) -> Path | None:
        path = self.data / name if self.data is not None else None
        if path is None or not path.is_file():
            self.report.setdefault("not_at_hand", []).append(name)
            return None
        return path

    def _judge(
        self, log: str, rows: OutcomeRows, folds: Mapping[str, Sequence[Parts]], outcomes: Sequence[Outcome]
    ) -> None:
        found = {o.name: judge_outcome(rows, folds[o.name], o, self.seed, self.draws) for o in outcomes}
        self.report["logs"][log] = {
            "visits": int(np.unique(rows.visit).size),
            "rows": int((~rows.silent).sum()),
            "censored": rows.censored,
            "heads": {name: figures for name, figures in found.items() if not isinstance(figures, str)},
            "left_out": {name: why for name, why in found.items() if isinstance(why, str)},
        }


def run_outcomes(
    folder: Path,
    seed: int = 42,
    data: Path | None = None,
    quick: bool = False,
    file: Path | None = None,
    recurrent_too: bool = False,
    console: Console | None = None,
    *,
    types: Mapping[str, str] = MappingProxyType({}),
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure every log, those of ``only``, or ``file`` alone; write ``outcomes.html`` and ``.json`` to ``folder``.

    Returns what the JSON holds.

    Raises:
        OSError: the folder cannot be written.
        SettingsError: ``file`` cannot be judged, or ``recurrent_too`` is wanted and torch is not there.
    """
    if recurrent_too:
        recurrent.torch_or_refuse()
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = OutcomeEvaluation(seed, data, quick, file, recurrent=recurrent_too, types=types, only=only)
    steps = evaluation.steps()
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console or Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(steps))
        for name, step in steps.items():
            bar.update(task, description=name)
            step()
            bar.advance(task)
    report: dict[str, Any] = outcome_page.jsonable(evaluation.report)
    (folder / "outcomes.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "outcomes.html").write_text(outcome_page.build(report), encoding="utf-8")
    outcome_page.write_pictures(report, folder)
    return report


def _all(outcomes: Sequence[Outcome], folds: Sequence[Parts]) -> dict[str, Sequence[Parts]]:
    return dict.fromkeys((outcome.name for outcome in outcomes), folds)


def _rows(events: list[SimEvent]) -> OutcomeRows:
    rules = StageRules()
    return outcome_rows(observe_log([events], rules, wide=True), rules)
