"""GRU and LSTM beside the heads, as L uses them: they read a visit action by action. Needs torch; nothing else does.

A model reads the type (embedded) and the gap of each action, keeps a hidden state a visit, and says at each action
what the rest will bring. It is trained on whole visits at once, which is the same as on all their prefixes.
"""

import time
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import EVENT_TYPES
from featurestore.errors import SettingsError
from featurestore.session.views import WIDE
from models.heads.ranking import auc
from models.study import outcome_figures as measure
from models.training.outcomes import OutcomeRows, Parts

MODELS: Final = (("GRU", 32), ("GRU", 64), ("LSTM", 64))
EPOCHS: Final = 8
_BATCH: Final = 128
_LONGEST: Final = 250
_EMBEDDED: Final = 8
_RATE: Final = 3e-3
_COST_BATCH: Final = 2_000
_FLOAT_BYTES: Final = 4
_TYPE, _GAP = WIDE.index("type_1"), WIDE.index("gap_1_s")
_PADDING: Final = len(EVENT_TYPES)


class _Visits(NamedTuple):
    """Visits as padded sequences: types and log gaps (visits, steps), labels (.., .., outcomes), what is real."""

    types: NDArray[np.int64]
    gaps: NDArray[np.float32]
    labels: NDArray[np.float32]
    real: NDArray[np.bool_]

    def take(self, visits: NDArray[np.int64] | slice, steps: int | None = None) -> "_Visits":
        """Some visits, their first ``steps`` alone."""
        types, gaps, labels, real = self
        return _Visits(
            types[visits][:, :steps], gaps[visits][:, :steps], labels[visits][:, :steps], real[visits][:, :steps]
        )


def torch_or_refuse() -> Any:
    """The library.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise SettingsError('--recurrent needs torch: pip install "clickstage[torch]"') from None
    return torch


def by_recurrent(
    rows: OutcomeRows, parts: Parts, names: tuple[str, ...], seed: int, epochs: int = EPOCHS
) -> dict[str, dict[str, Any]]:
    """Accuracy, AUC and AP of each outcome by model, its cost an event, and the bytes of state a visit needs.

    Args:
        rows: at events, grouped by visit.
        parts: of whole visits; ``calibrate`` is not used.
        names: of the outcomes.
        seed: of weights and order.
        epochs: passes over the training visits.
    """
    torch = torch_or_refuse()
    torch.set_num_threads(1)
    train, test = (_visits(rows, part, names) for part in (parts.train, parts.test))
    found: dict[str, dict[str, Any]] = {}
    for kind, width in MODELS:
        model = _fitted(torch, kind, width, train, seed, epochs)
        truth, z = test.labels[test.real] > 0, _logits(torch, model, test)[test.real]
        figures = {
            name: {
                "accuracy": float(np.mean((z[:, i] >= 0) == truth[:, i])),
                "auc": auc(truth[:, i], z[:, i]),
                "ap": measure.average_precision(truth[:, i], z[:, i]),
            }
            for i, name in enumerate(names)
        }
        states = 2 if kind == "LSTM" else 1
        found[f"{kind} {width}"] = {
            **figures,
            "us_an_event": _cost(torch, model, kind, width),
            "bytes_a_visit": states * width * _FLOAT_BYTES,
        }
    return found


def _visits(rows: OutcomeRows, part: NDArray[np.bool_], names: tuple[str, ...]) -> _Visits:
    chosen = np.flatnonzero(part & (rows.position <= _LONGEST))
    _, start, size = np.unique(rows.visit[chosen], return_index=True, return_counts=True)
    step = np.arange(chosen.size) - np.repeat(start, size)
    at = np.repeat(np.arange(size.size), size), step
    shape = (size.size, int(size.max()))
    types, gaps = np.full(shape, _PADDING), np.zeros(shape, np.float32)
    labels, real = np.zeros((*shape, len(names)), np.float32), np.zeros(shape, np.bool_)
    wide = rows.wide[chosen]
    types[at], gaps[at], real[at] = wide[:, _TYPE], np.log1p(np.maximum(wide[:, _GAP], 0.0)), True
    labels[at] = np.stack([rows.label(name)[chosen] for name in names], axis=1)
    return _Visits(types, gaps, labels, real)


def _fitted(torch: Any, kind: str, width: int, visits: _Visits, seed: int, epochs: int) -> Any:
    torch.manual_seed(seed)
    model = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Embedding(_PADDING + 1, _EMBEDDED, padding_idx=_PADDING),
            "cell": getattr(torch.nn, kind)(_EMBEDDED + 1, width, batch_first=True),
            "say": torch.nn.Linear(width, visits.labels.shape[2]),
        }
    )
    learn = torch.optim.Adam(model.parameters(), lr=_RATE)
    loss_of = torch.nn.BCEWithLogitsLoss()
    lengths = visits.real.sum(axis=1)
    rng = np.random.default_rng([seed, 36])
    for _ in range(epochs):
        order = np.argsort(lengths + rng.random(lengths.size), kind="stable")  # visits of one length go together
        batches = [order[i : i + _BATCH] for i in range(0, order.size, _BATCH)]
        for i in rng.permutation(len(batches)):
            part = visits.take(batches[i], int(lengths[batches[i]].max()))
            learn.zero_grad()
            real = torch.from_numpy(part.real)
            loss = loss_of(_forward(torch, model, part)[real], torch.from_numpy(part.labels)[real])
            loss.backward()
            learn.step()
    return model


def _forward(torch: Any, model: Any, visits: _Visits) -> Any:
    seen = torch.cat([model["embed"](torch.from_numpy(visits.types)), torch.from_numpy(visits.gaps)[..., None]], dim=2)
    return model["say"](model["cell"](seen)[0])


def _logits(torch: Any, model: Any, visits: _Visits) -> NDArray[np.float64]:
    """Scores (visits, steps, outcomes)."""
    with torch.no_grad():
        parts = [
            _forward(torch, model, visits.take(slice(i, i + _BATCH))).numpy()
            for i in range(0, len(visits.types), _BATCH)
        ]
    return np.concatenate(parts).astype(np.float64)


def _cost(torch: Any, model: Any, kind: str, width: int, runs: int = 20) -> float:
    """µs an event on one thread: one step of `_COST_BATCH` visits, from type and gap to scores; the fastest run."""
    types = np.arange(_COST_BATCH)[:, None] % _PADDING
    hidden = torch.zeros(1, _COST_BATCH, width)
    state = (hidden, hidden) if kind == "LSTM" else hidden
    gap = torch.ones(_COST_BATCH, 1, 1)
    fastest = float("inf")
    with torch.no_grad():
        for _ in range(runs):
            begin = time.perf_counter()
            seen = torch.cat([model["embed"](torch.from_numpy(types)), gap], dim=2)
            model["say"](model["cell"](seen, state)[0])
            fastest = min(fastest, time.perf_counter() - begin)
    return fastest / _COST_BATCH * 1e6
