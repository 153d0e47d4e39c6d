"""Other trackers' payloads as events of the contract: one mapping for the edge and ``clickstage replay``.

Pure functions: a decoded payload goes in, `Mapped` comes out. No input raises: what cannot become an event is left out
with a reason of `LEFT_OUT`, and a field that cannot be read costs that field, never the click.
"""

from featurestore.contract.trackers.ga4 import ga4
from featurestore.contract.trackers.mapping import LEFT_OUT, WHY, Mapped, encode
from featurestore.contract.trackers.segment import segment
from featurestore.contract.trackers.shop_rows import TYPE_HELP, own_types, shop_row
from featurestore.contract.trackers.snowplow import snowplow_enriched, snowplow_tracker

__all__ = [
    "LEFT_OUT",
    "TYPE_HELP",
    "WHY",
    "Mapped",
    "encode",
    "ga4",
    "own_types",
    "segment",
    "shop_row",
    "snowplow_enriched",
    "snowplow_tracker",
]
