"""Platt scaling: a probability that says how often it comes true (J. Platt, 1999)."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Calibration(NamedTuple):
    """``p = 1 / (1 + exp(-(slope * z + intercept)))`` of a raw score ``z``; slope is positive, so no order changes."""

    slope: float = 1.0
    intercept: float = 0.0

    def of_probability(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """What an uncalibrated probability becomes; 0 and 1 stay.

        >>> Calibration(2.0, 0.0).of_probability(np.array([0.0, 0.5, 1.0])).tolist()
        [0.0, 0.5, 1.0]
        """
        with np.errstate(divide="ignore"):
            z = np.log(p) - np.log1p(-p)
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-(self.slope * z + self.intercept))))


IDENTICAL: Final = Calibration()
"""The model's own probability."""
