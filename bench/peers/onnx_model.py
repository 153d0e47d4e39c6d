# mypy: ignore-errors
# (checked against packages of another environment)
"""The bundle's forest as ONNX, in double precision so that it decides as the original does.

python onnx_model.py ESTIMATOR.joblib OUT.onnx
"""

import sys
from pathlib import Path

import joblib
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType


def main() -> None:
    """Convert."""
    source, out = sys.argv[1:]
    model = joblib.load(source)
    converted = convert_sklearn(
        model, initial_types=[("X", DoubleTensorType([None, 9]))], options={id(model): {"zipmap": False}}
    )
    Path(out).write_bytes(converted.SerializeToString())


if __name__ == "__main__":
    main()
