"""Counters, gauges and histograms kept in numpy arrays: an increment per batch costs a microsecond, not one per event.

prometheus-client's own classes take one lock and one Python call per observation. These keep a dense array over the
closed label sets, so every series exists from the start at 0, and a whole batch is added at once. One lock guards a
catalogue's series: the loop writes, the HTTP thread reads.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from worker.metrics.catalogue import Spec
from worker.metrics.labels import OTHER

Floats = npt.NDArray[np.float64]


class Counter:
    """A counter over closed label sets.

    Parameters
    ----------
    spec
        Its labels must all be closed; an open axis is given in ``axes``.
    axes
        Values of the open axes.
    """

    def __init__(self, spec: Spec, lock: Lock, axes: Mapping[str, Sequence[str]] | None = None) -> None:
        self.spec = spec
        self._lock = lock
        self._reshape(axes or {})

    def _reshape(self, axes: Mapping[str, Sequence[str]]) -> None:
        self.axes = tuple(tuple(axes.get(label, values)) for label, values in self.spec.labels.items())
        self._index = tuple({value: i for i, value in enumerate(axis)} for axis in self.axes)
        self.values: Floats = np.zeros(tuple(len(axis) for axis in self.axes))

    def inc(self, *labels: str | int, by: float = 1.0) -> None:
        """Add ``by`` to one series. A label is its value or its position; an unknown value counts as ``other``.

        Raises ValueError for an unknown value on an axis without ``other``, and for a negative ``by``.
        """
        if by < 0:
            raise ValueError(f"{self.spec.full_name}: a counter never goes down")
        place = _place(self.spec, self._index, labels)
        with self._lock:
            self.values[place] += by

    def add(self, counts: npt.ArrayLike) -> None:
        """Add a whole array of the shape of the label sets: what the loop does once a batch."""
        with self._lock:
            self.values += np.asarray(counts, np.float64)

    def use_axes(
        self, axes: Mapping[str, Sequence[str]], exists: Callable[[tuple[str, ...]], bool] = lambda labels: True
    ) -> None:
        """Set the values of the open axes; series that exist before and after keep their counts.

        Combinations of labels for which ``exists`` is false are no series: their cells hold NaN, whatever is added.
        """
        with self._lock:
            before = {self._labels(place): self.values[place] for place in np.ndindex(self.values.shape)}
            self._reshape(axes)
            for place in np.ndindex(self.values.shape):
                labels = self._labels(place)
                self.values[place] = before.get(labels, 0.0) if exists(labels) else np.nan

    def extend(self, label: str, value: str) -> None:
        """Add a value to one axis, where it is not there yet; each new series is like the first of the axis, at 0."""
        at = list(self.spec.labels).index(label)
        if value in self._index[at]:
            return
        with self._lock:
            axes = [*self.axes]
            axes[at] = (*axes[at], value)
            new = np.where(np.isnan(self.values.take([0], at)), np.nan, 0.0)
            self.values = np.concatenate([self.values, new], at)
            self.axes = tuple(axes)
            self._index = tuple({name: i for i, name in enumerate(axis)} for axis in self.axes)

    def family(self) -> Metric:
        """The exposition of the moment. The caller holds the lock."""
        family = CounterMetricFamily(
            self.spec.full_name.removesuffix("_total"), self.spec.help, labels=list(self.spec.labels)
        )
        for place in np.ndindex(self.values.shape):
            if not np.isnan(self.values[place]):
                family.add_metric(self._labels(place), float(self.values[place]))
        return family

    def _labels(self, place: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(axis[i] for axis, i in zip(self.axes, place, strict=True))


class Gauge:
    """A gauge whose series come and go: a value of NaN, or one not set, is absent from the exposition.

    An absent series is the honest form of "no figure": a NaN would poison every sum over the fleet.
    """

    def __init__(self, spec: Spec, lock: Lock) -> None:
        self.spec = spec
        self._lock = lock
        self.values: dict[tuple[str, ...], float] = {}

    def set(self, value: float, *labels: str) -> None:
        """Set one series."""
        if len(labels) != len(self.spec.labels):
            raise ValueError(f"{self.spec.full_name}: {len(labels)} label values for {len(self.spec.labels)} labels")
        with self._lock:
            self.values[labels] = value

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Set all series at once; those not named vanish (a revoked partition has no lag here)."""
        with self._lock:
            self.values = dict(values)

    def fill(self, values: npt.ArrayLike) -> None:
        """Set the series of a gauge with one closed label, in the order of its set."""
        (axis,) = self.spec.labels.values()
        self.replace({(name,): float(v) for name, v in zip(axis, np.asarray(values), strict=True)})

    def family(self) -> Metric:
        """The exposition of the moment. The caller holds the lock."""
        family = GaugeMetricFamily(self.spec.full_name, self.spec.help, labels=list(self.spec.labels))
        for labels, value in sorted(self.values.items()):
            if not math.isnan(value):
                family.add_metric(list(labels), value)
        return family


class Histogram:
    """A histogram, with one closed label or none, that takes whole batches of values.

    A value counts in the first bucket whose upper bound is not below it. Negative values count as 0 (two machines'
    clocks differ by more than a fast decision takes); NaN is dropped.
    """

    def __init__(self, spec: Spec, lock: Lock) -> None:
        self.spec = spec
        self._lock = lock
        self.axes = tuple(spec.labels.values())
        self._index = tuple({value: i for i, value in enumerate(axis)} for axis in self.axes)
        self._bounds: Floats = np.array(spec.bounds)
        shape = tuple(len(axis) for axis in self.axes)
        self.counts: Floats = np.zeros((*shape, len(spec.bounds) + 1))
        self.sums: Floats = np.zeros(shape)

    def observe(self, value: float, *labels: str | int) -> None:
        """Count one value; at the price of no array, for what is measured many times a batch."""
        if math.isnan(value):
            return
        held = max(value, 0.0)
        place = _place(self.spec, self._index, labels)
        bucket = (*place, bisect_left(self.spec.bounds, held))
        with self._lock:
            self.counts[bucket] += 1
            self.sums[place] += held

    def observe_many(self, values: npt.ArrayLike, *labels: str | int) -> None:
        """Count values of shape (n,) in one series."""
        place = _place(self.spec, self._index, labels)
        held = np.asarray(values, np.float64)
        held = np.maximum(held[~np.isnan(held)], 0.0)
        added = np.bincount(self._bounds.searchsorted(held), minlength=len(self._bounds) + 1)
        with self._lock:
            self.counts[place] += added
            self.sums[place] += held.sum()

    def family(self) -> Metric:
        """The exposition of the moment. The caller holds the lock."""
        family = HistogramMetricFamily(self.spec.full_name, self.spec.help, labels=list(self.spec.labels))
        bounds = [repr(float(b)) for b in self.spec.bounds] + ["+Inf"]
        for place in np.ndindex(self.sums.shape):
            labels = [axis[i] for axis, i in zip(self.axes, place, strict=True)]
            running = np.cumsum(self.counts[place]).tolist()
            family.add_metric(labels, list(zip(bounds, running, strict=True)), float(self.sums[place]))
        return family


def _place(spec: Spec, index: tuple[dict[str, int], ...], labels: tuple[str | int, ...]) -> tuple[int, ...]:
    if len(labels) != len(index):
        raise ValueError(f"{spec.full_name}: {len(labels)} label values for {len(index)} labels")
    return tuple(
        label if isinstance(label, int) else _position(spec, known, label)
        for known, label in zip(index, labels, strict=True)
    )


def _position(spec: Spec, known: Mapping[str, int], label: str) -> int:
    position = known.get(label, known.get(OTHER))
    if position is None:
        raise ValueError(f"{spec.full_name}: no label value {label!r}")
    return position
