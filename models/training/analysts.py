"""The copy of the estimator for analysts: a pickle, which no worker opens. Training half."""

import io
from typing import Any

import joblib


def pickled(estimator: Any) -> bytes:
    """The estimator as joblib stores it, compressed; read it with `joblib.load` and scikit-learn's own version."""
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer, compress=3)
    return buffer.getvalue()
