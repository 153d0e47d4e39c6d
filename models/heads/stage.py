"""The stage: which of the four stages a shopper is in, from the published features. Every bundle's first head."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from models.bundle.baseline import Baseline
from models.heads.head import Head
from models.heads.views import PUBLISHED
from models.trees.ensemble import Ensemble

NAME: Final = "stage"


def stage_head(
    model: Ensemble,
    *,
    baseline: Baseline,
    golden: NDArray[np.float64],
    fill: NDArray[np.float64],
    minimum: NDArray[np.float64] | None = None,
    maximum: NDArray[np.float64] | None = None,
) -> Head:
    """The head of a model with four outputs, in the order of `STAGES`; arguments as for `Head.build`.

    Raises:
        ValueError: as `Head` does.
    """
    return Head.build(
        NAME,
        "multiclass",
        STAGES,
        PUBLISHED,
        FEATURES,
        model,
        baseline=baseline,
        golden=golden,
        fill=fill,
        minimum=minimum,
        maximum=maximum,
    )
