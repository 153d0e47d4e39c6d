"""The model bundle and the policy that ship with Clickstage, and how either is loaded from its setting."""

from pathlib import Path
from typing import Final

import models
from decisions.policy import Policy
from decisions.policy.conditions import HeadOutputs
from models.bundle.bundle import Bundle

BUNDLES: Final = Path(models.__file__).parent / "bundles"
_SHIPPED: Final = Path(__file__).parent / "policies"
POLICIES: Final = _SHIPPED if _SHIPPED.is_dir() else Path(__file__).parent.parent / "deploy" / "policies"
"""In an installed package beside this file; in a checkout where marketing edits them."""
DEFAULT_POLICY: Final = POLICIES / "default.yaml"


def load_bundle(path: Path | None) -> Bundle:
    """The bundle at ``path``, or the newest that ships.

    Raises:
        BundleError: it is missing or was refused.
    """
    return Bundle.load(path if path is not None else Bundle.find(BUNDLES))


def load_policy(path: Path | None, outputs: HeadOutputs = ()) -> Policy:
    """The policy at ``path``, or the one that ships; ``outputs`` of a bundle's heads are known to its conditions.

    Raises:
        PolicyError: it is wrong.
    """
    return Policy.from_file(path if path is not None else DEFAULT_POLICY, outputs)
