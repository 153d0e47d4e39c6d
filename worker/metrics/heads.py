"""What each head of the bundle expects, beside what came in training: sums over the scored rows, by output.

A head's mean output moves when the traffic does, or when its model meets what it has not seen. The mean of its target
in training is exported beside it. Counters add up over the fleet.
"""

import numpy as np
from numpy.typing import NDArray

from models.heads import Heads
from worker.metrics.metrics import Metrics


class HeadMonitor:
    """Counts the outputs of a bundle's heads.

    Args:
        heads: the stage first.
        metrics: its series are opened for these heads at once.
    """

    def __init__(self, heads: Heads, metrics: Metrics) -> None:
        self._metrics = metrics
        names = [head.name for head in heads]
        outputs = list(dict.fromkeys(output for head in heads for output in head.outputs))
        cells = [(head.name, output) for head in heads for output in head.outputs]
        self._rows = np.array([names.index(head) for head, _ in cells])
        self._columns = np.array([outputs.index(output) for _, output in cells])
        self._firsts = np.cumsum([0, *(len(head.outputs) for head in heads)])[:-1]
        self._shape = len(names), len(outputs)
        known = set(cells)
        metrics.head_rows.use_axes({"head": names})
        metrics.head_output_sum.use_axes(
            {"head": names, "output": outputs}, lambda labels: (labels[0], labels[1]) in known
        )
        means = [mean for head in heads for mean in head.baseline.output_means]
        metrics.head_output_baseline.replace(dict(zip(cells, means, strict=True)))

    def observe(self, probabilities: NDArray[np.float64], outputs: NDArray[np.float64], scored: int) -> None:
        """Count a batch.

        Args:
            probabilities: of the stages, shape (n, 4); 0 in rows that were not scored.
            outputs: of the other heads, shape (n, k); NaN where a head has none.
            scored: rows that were scored.
        """
        present = np.isfinite(outputs)
        counts = np.concatenate([np.full(probabilities.shape[1], scored), present.sum(axis=0)])
        sums = np.concatenate([probabilities.sum(axis=0), np.where(present, outputs, 0.0).sum(axis=0)])
        self._metrics.head_rows.add(counts[self._firsts])
        cells = np.zeros(self._shape)
        cells[self._rows, self._columns] = sums
        self._metrics.head_output_sum.add(cells)
