"""Other people's clients, unmodified: Segment's HTTP API, GA4's Measurement Protocol, Snowplow's tracker protocol.

The mapping is `featurestore.contract.trackers`, the same for the edge and ``clickstage replay``. Here is
each protocol's address, where it carries the key, and the answer that its clients expect.
"""

from edge.compat.ga4 import GA4
from edge.compat.segment import Segment
from edge.compat.snowplow import Snowplow

__all__ = ["GA4", "Segment", "Snowplow"]
