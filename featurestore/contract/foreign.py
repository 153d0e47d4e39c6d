"""Whose event is it? Records of other trackers on `clicks` are recognised, so that the dead letter can say."""

from collections.abc import Mapping
from typing import Any, Final

_SEGMENT_CALLS: Final = ("track", "page", "screen", "identify", "group", "alias")  # no set: a type may be a list
_SNOWPLOW: Final = frozenset({"domain_sessionid", "dvce_created_tstamp", "derived_tstamp", "collector_tstamp"})


def tracker_of(told: Mapping[str, Any]) -> str | None:
    """What an object is, if it is another tracker's, and how to send it; None otherwise."""
    if isinstance(told.get("events"), list) and {"client_id", "app_instance_id"} & told.keys():
        return _says("a GA4 Measurement Protocol payload", "ga4")
    segment = {"anonymousId", "userId", "messageId"} & told.keys()
    if segment and (told.get("type") in _SEGMENT_CALLS or "batch" in told or "event" in told):
        return _says("a call of Segment's API", "segment")
    if (
        _SNOWPLOW & told.keys()
        or ("e" in told and "dtm" in told)
        or "payload_data" in str(told.get("schema", ""))[:200]
    ):
        return _says("an event of Snowplow's", "snowplow")
    return None


def _says(what: str, name: str) -> str:
    return (
        f"the value is {what}, not an event of the contract: let the tracker write to a topic of its own and run "
        f"`clickstage bridge --from {name} --topic TOPIC`, or post it to `clickstage edge`; both map it"
    )
