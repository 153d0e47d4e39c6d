"""The views of a session that heads may read: named and versioned columns, which the fold computes.

A view's columns never change under one name: other columns, or another meaning, is another version.
"""

from collections.abc import Mapping
from typing import Final

from featurestore.session.features import FEATURE_VERSION, FEATURES
from featurestore.session.views import WIDE as WIDE_COLUMNS
from featurestore.session.views import WIDE_VERSION

PUBLISHED: Final = f"features-{FEATURE_VERSION}"
"""The published features, which the stage reads; see `featurestore.session.features`."""

WIDE: Final = f"wide-{WIDE_VERSION}"
"""Everything that the state keeps, as numbers; computed only where a head reads it."""

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {PUBLISHED: FEATURES, WIDE: WIDE_COLUMNS}
"""Columns by the name of the view."""
