"""The views of a session that heads may read: named and versioned columns, which the fold computes.

A view's columns never change under one name: other columns, or another meaning, is another version.
"""

from collections.abc import Mapping
from typing import Final

from featurestore.session.features import FEATURE_VERSION, FEATURES

PUBLISHED: Final = f"features-{FEATURE_VERSION}"
"""The published features, which the stage reads; see `featurestore.session.features`."""

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {PUBLISHED: FEATURES}
"""Columns by the name of the view."""
