"""The error tree, split by who must act.

    ClickstageError
    ├── InvalidEvent       the producer: the record goes to the dead letters, the worker goes on
    ├── CorruptRecord      nobody: the record is set aside, its session begins anew, the worker goes on
    │   └── UnknownStream  the operator: a later release wrote it; run that one
    ├── StoreUnavailable   nobody yet: pause, retry, do not commit
    ├── Backpressure       nobody yet: pause, retry, do not commit
    ├── TopicReplaced      the supervisor: the topic was created anew; exit code 7, start again
    ├── Forked             whoever forked a running worker: its clients do not work in the child
    ├── SettingsError      the operator: exit code 2
    │   ├── PortTaken      the operator: another process listens there; exit code 10
    │   ├── Foreign        the operator: decisions or topics are another deployment's
    │   ├── Unsafe         the operator: Kafka or Redis are out of reach or void the promise; exit code 7
    │   └── PolicyError    marketing: the policy file is wrong; exit code 4
    └── BundleError        the data scientist: exit code 3

An error that no command expects ends it with exit code 7, if it is one of these, and with 70 if not (`worker.errors`).
Messages say what happened and what to do; they never carry an event's content.
"""

from typing import Self


class ClickstageError(Exception):
    """Root of every error that Clickstage raises on purpose."""


class InvalidEvent(ClickstageError):
    """A record that is not an event of the contract; ``reason`` is one of the closed list in `event.REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def kept(self) -> Self:
        """Itself, to be kept in a list: without the frames, and so the records, that a raised error holds.

        A frame that holds the list makes a cycle of them. The worker's collector runs seldom: whole batches stayed.
        """
        self.__context__ = None
        return self.with_traceback(None)


class CorruptRecord(ClickstageError):
    """A stored record cannot be read: damaged bytes, or another version than this release reads."""


class UnknownStream(CorruptRecord):
    """A stored output belongs to a topic that this release does not know."""


class StoreUnavailable(ClickstageError):
    """Redis did not answer, or refused to write for now (loading, read-only, out of memory)."""


class Backpressure(ClickstageError):
    """A bounded buffer is full; stop reading until it drains."""


class TopicReplaced(ClickstageError):
    """The clicks topic was deleted and created again: offsets and keys of the old one mean nothing any more."""


class Forked(ClickstageError):
    """This process is a child of the one that made the Kafka clients: their threads are not here."""


class SettingsError(ClickstageError):
    """A setting is missing or wrong; the message lists all of them."""


class PortTaken(SettingsError):
    """A port to listen at belongs to another process."""


class Foreign(SettingsError):
    """Decisions or topics of another deployment were named; the message names both deployments."""


class Unsafe(SettingsError):
    """Kafka or Redis cannot be reached, or are set up so that the promise is void."""


class PolicyError(SettingsError):
    """The policy file is wrong; the message names file, line and remedy."""


class BundleError(ClickstageError):
    """A model bundle was refused."""
