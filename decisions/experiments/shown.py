"""What was really shown, from the documents of the ``exposures`` topic, session by session.

A decision says what to show. A page may never show it: the shopper scrolls past the slot, a blocker removes it, the
page is closed. The page's own reports (``POST /v1/exposures``) say what was on the screen.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from decisions.experiments.members import Key, Summary


class Exposure(msgspec.Struct):
    """What an analysis reads of a document of the ``exposures`` topic."""

    session_id: str
    exposure_id: str
    kind: str
    action: str
    received_at: int


def shown_in(
    exposures: Iterable[Exposure], kept: Mapping[Key, Summary], dropped: Counter[str]
) -> dict[Key, frozenset[str]]:
    """The actions that were on the screen in each session.

    A session id can come back after its end: an exposure belongs to the first summary of its id that was written after
    the edge received it. Clicks and dismissals are of something that was shown before, so only ``shown`` counts.
    Exposures without a summary are counted in ``dropped``.
    """
    ends = _ends(kept)
    shown: dict[Key, set[str]] = defaultdict(set)
    unfinished: set[str] = set()
    for exposure in exposures:
        if exposure.kind != "shown":
            continue
        of_session = ends.get(exposure.session_id, ())
        at = bisect_left(of_session, (exposure.received_at,))
        if at == len(of_session):
            unfinished.add(exposure.exposure_id)
        else:
            shown[of_session[at][1]].add(exposure.action)
    dropped["exposures of sessions without a summary (unfinished, or bots)"] += len(unfinished)
    return {key: frozenset(actions) for key, actions in shown.items()}


def _ends(kept: Mapping[Key, Summary]) -> dict[str, Sequence[tuple[int, Key]]]:
    """When each summary of a session id was written, and which it is; in the order of time."""
    ends: dict[str, list[tuple[int, Key]]] = defaultdict(list)
    for key, summary in kept.items():
        ends[summary.session_id].append((summary.decided_at, key))
    return {session_id: sorted(of_session) for session_id, of_session in ends.items()}
