"""Whether the conditions of a rule hold for an observation."""

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from featurestore.session.features import N_FEATURES

_DEVICE, _SOURCE, _COUNTRY, _FIRST, _CART_VALUE, _CART_ITEMS, _CATEGORY, _PURCHASES, _EARLIER, _FIRST_OUTPUT = range(
    N_FEATURES, N_FEATURES + 10
)
_UNKNOWN = np.nan
_CENTS = 1e6


@compiled
def holds(
    r: int,
    i: int,
    features: NDArray[np.float64],
    proba: NDArray[np.float64],
    outputs: NDArray[np.float64],
    c: np.void,
    tables: np.void,
) -> bool:
    """Whether all conditions of rule ``r`` hold for observation ``i``."""
    for k in range(tables["cond_from"][r], tables["cond_from"][r + 1]):
        x = _variable(tables["cond_variable"][k], i, features, proba, outputs, c, tables["currency"])
        operator = tables["cond_operator"][k]
        first = tables["value_from"][k]
        y = tables["values"][first]
        if operator == 0:
            ok = x < y
        elif operator == 1:
            ok = x <= y
        elif operator == 2:
            ok = x > y
        elif operator == 3:
            ok = x >= y
        else:  # == and in
            ok = False
            for j in range(first, tables["value_from"][k + 1]):
                ok = ok or x == tables["values"][j]
        if not ok:
            return False
    return True


@compiled
def _variable(
    variable: int,
    i: int,
    features: NDArray[np.float64],
    proba: NDArray[np.float64],
    outputs: NDArray[np.float64],
    c: np.void,
    currency: int,
) -> float:
    """The value a condition compares; unknown is NaN, which no comparison meets.

    So is the value of a cart in another currency than the policy's, where both are named.
    """
    if variable < N_FEATURES:
        return float(features[i, variable])
    if variable == _DEVICE:
        return float(c["device"])
    if variable == _SOURCE:
        return float(c["source"])
    if variable == _COUNTRY:
        return float(c["country"])
    if variable == _FIRST:
        return _UNKNOWN if c["visitor"] == 0 else 1.0 if c["visitor_sessions"] == 0 else 0.0
    if variable == _CART_VALUE:
        if currency != 0 and c["currency"] != 0 and c["currency"] != currency:
            return _UNKNOWN
        return float(np.floor(c["cart_value"] * _CENTS + 0.5) / _CENTS)  # a sum of prices meets the price it stands for
    if variable == _CART_ITEMS:
        return float(c["cart_items"])
    if variable == _CATEGORY:
        return float(c["category"])
    if variable == _PURCHASES:
        return float(c["purchases"])
    if variable == _EARLIER:
        return _UNKNOWN if c["visitor_segment"] == 0 else float(c["visitor_segment"])
    output = variable - _FIRST_OUTPUT
    if output < proba.shape[1]:
        return float(proba[i, output])
    return float(outputs[i, output - proba.shape[1]])
