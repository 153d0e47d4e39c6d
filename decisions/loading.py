"""What a judgement needs, from a store: the sessions that events touch, then the profiles of visitors new to them.

There are two questions, because the second depends on the answer to the first. A caller that has other things to do
sends each as soon as it can (`Loader.begin`, `Loading.open`, `Loading.finish`); others just call `Loader.load`.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from decisions.intake import Plan
from decisions.outcome import visitors_wanted
from decisions.overlay import Overlay, apply_overlays
from featurestore.session.codec import unpack
from featurestore.session.visitors import NOBODY, PROFILE
from featurestore.session.visitors import unpack as unpack_profiles
from featurestore.store.keys import Namespace
from featurestore.store.protocols import SessionReader
from featurestore.store.set_aside import Kind

T = TypeVar("T")


class Unread(NamedTuple):
    """A record that could not be read: what it was of begins anew.

    Attributes:
        session: index of the session in the plan that it was wanted for.
        kind: of the record.
        name: session id, or key of the profile.
        record: as it is stored.
    """

    session: int
    kind: Kind
    name: str
    record: bytes


class Loaded(NamedTuple):
    """What `decisions.core.Judge.judge` wants.

    Attributes:
        states: `STATE`, one row a session of the plan.
        memories: `MEMORY`, one row a session of the plan.
        profiles: a table of `PROFILE`, of the visitors that the events may name to their sessions.
    """

    states: NDArray[np.void]
    memories: NDArray[np.void]
    profiles: NDArray[np.void]


class Ask(Protocol):
    """Sends a question and gives back what reads the answer; how often it is asked again is its own business."""

    def __call__(self, op: str, begin: Callable[[], Callable[[], T]]) -> Callable[[], T]:
        """``op`` names the question in metrics; ``begin`` sends it and may be called again."""
        ...


class Once:
    """Asks once; `StoreUnavailable` is the caller's."""

    def __call__(self, op: str, begin: Callable[[], Callable[[], T]]) -> Callable[[], T]:
        """See `Ask`."""
        return begin()


class Loader:
    """Loads what judgements need.

    Args:
        reader: of sessions and profiles.
        namespace: whose keys are read.
        session_gap_ms: of the fold: a session that is older begins anew, with its visitor's profile of now.
        ask: how questions are sent.
    """

    def __init__(
        self, reader: SessionReader, namespace: Namespace, session_gap_ms: int, ask: Ask | None = None
    ) -> None:
        self.reader: Final = reader
        self.namespace: Final = namespace
        self.session_gap_ms: Final = session_gap_ms
        self.ask: Final[Ask] = ask or Once()

    def load(self, plan: Plan) -> Loaded:
        """The stored sessions of a plan and the profiles that its events need; blocks.

        Raises:
            StoreUnavailable: by the default ``ask``.
        """
        return self.begin(plan).finish()

    def begin(self, plan: Plan) -> "Loading":
        """Ask for the sessions, and return."""
        return Loading(self, plan)


class Loading:
    """The loading of one plan.

    Attributes:
        unread: records that could not be read; complete once `finish` has returned.
    """

    def __init__(self, loader: Loader, plan: Plan) -> None:
        self._loader = loader
        self._plan = plan
        requests = plan.requests()
        self._sessions = loader.ask("load", lambda: loader.reader.begin_load(requests))
        self._opened: tuple[NDArray[np.void], NDArray[np.void]] | None = None
        self._wanted = _NONE_WANTED
        self._keys: list[str] = []
        self.unread: list[Unread] = []
        self._profiles: Callable[[], list[bytes | None]] = list

    def open(self, overlays: Sequence[Overlay] = ()) -> None:
        """Read the sessions, lay the ``overlays`` over them that the store may not have yet, and ask for profiles.

        A second call does nothing.
        """
        if self._opened is not None:
            return
        plan, loader = self._plan, self._loader
        blobs = apply_overlays(plan, chain.from_iterable(self._sessions()), overlays)
        states, memories, corrupt = unpack(blobs, plan.hashes)
        self.unread += [Unread(i, "session", plan.sessions[i], blobs[i]) for i in corrupt.tolist()]
        self._opened = states, memories
        self._wanted = _distinct(plan, visitors_wanted(plan.events, states, loader.session_gap_ms))
        keys = self._keys = list(map(loader.namespace.visitor, self._wanted["visitor"].tolist()))
        if keys:
            self._profiles = loader.ask("visitors", lambda: loader.reader.begin_profiles(keys))

    def finish(self, overlays: Sequence[Overlay] = ()) -> Loaded:
        """Read the profiles as well; ``overlays`` as for `open`, those since then included. Once."""
        self.open(overlays)
        assert self._opened is not None  # noqa: S101 - `open` sets it
        profiles = NOBODY
        if self._keys:
            blobs = self._profiles()
            for overlay in overlays:
                blobs = overlay.profiles(self._keys, blobs)
            profiles, corrupt = unpack_profiles(blobs)
            for name in _WANTED.names or ():
                profiles[name] = self._wanted[name]
            sessions = self._wanted["first"].tolist()
            self.unread += [Unread(sessions[i], "profile", self._keys[i], blobs[i] or b"") for i in corrupt]
        return Loaded(*self._opened, profiles)


_WANTED: Final = np.dtype([(name, PROFILE[name]) for name in ("visitor", "first", "end")])
_NONE_WANTED: Final = np.zeros(0, _WANTED)


def _distinct(plan: Plan, wanted: NDArray[np.int64]) -> NDArray[np.void]:
    """The visitors that some events name, as a table of profiles has them: one row for each partition.

    Which of two partitions' events come first is not known, so that what one brings is not known to the other.
    """
    if not wanted.size:
        return _NONE_WANTED
    found = np.zeros(wanted.size, _WANTED)
    found["visitor"] = plan.events["visitor"][wanted]
    firsts, ends = _by_partition(plan)
    part = firsts.searchsorted(plan.events["session_index"][wanted], side="right") - 1
    found["first"], found["end"] = firsts[part], ends[part]
    found = found[np.lexsort((found["first"], found["visitor"]))]
    again = (found["visitor"][1:] == found["visitor"][:-1]) & (found["first"][1:] == found["first"][:-1])
    return found[np.concatenate([[True], ~again])] if again.any() else found


def _by_partition(plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the sessions of each partition begin and end; its buckets follow one another."""
    firsts: dict[int, int] = {}
    for shard, first, _ in plan.spans:
        firsts.setdefault(shard.partition, first)
    begins = list(firsts.values())
    return np.array(begins, np.int64), np.array([*begins[1:], len(plan.sessions)], np.int64)
