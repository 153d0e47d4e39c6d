"""``clickstage erase``: remove a session, or a visitor with all of their sessions, and keep replays from undoing it."""

import argparse
import shlex
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from featurestore.columns.hashing import hash_text
from featurestore.contract.ids import IdKey
from featurestore.store.erasure import Eraser, Removed, eraser_for, fields_of
from featurestore.store.keys import Shard
from worker.commands.options import add_settings, settings_from
from worker.errors import ExitCode
from worker.kafka.sender import NotDelivered, Sender
from worker.lookup import ACCESS, Lookup, known_buckets
from worker.pipeline.outputs import producer_config
from worker.settings import Settings

DELIVERY_S: Final = 20.0
NOTES = """What it does: state, deadline, decision and (for a visitor) profile are deleted from Redis; a tombstone makes
workers ignore older events of the session or visitor for 15 days, also in a replay; an event with `consent: false` goes
to the clicks topic, so that even a rebuild after a total loss of Redis ends without the session. Workers stop for about
half a second on the partitions concerned.

What it cannot do: the topics keep their records until their retention ends, and backups of Redis theirs. Set both.
"""


def main(argv: Sequence[str]) -> int:
    """Erase and print what was removed."""
    parser = argparse.ArgumentParser(
        prog="clickstage erase", description=__doc__, epilog=NOTES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--session", metavar="ID", help="a session id as the shop sends it")
    who.add_argument("--visitor", metavar="ID", help="a visitor id as the shop sends it")
    parser.add_argument(
        "--everywhere", action="store_true", help="with --session: search all partitions, not only the session's own"
    )
    add_settings(parser, ACCESS)
    args = parser.parse_args(argv)
    settings = settings_from(args)
    lookup = Lookup(settings)
    known_buckets(settings, lookup.client, lookup.namespace)
    eraser = eraser_for(lookup.client, lookup.namespace, lookup.shards)
    ids = IdKey.of(settings.id_key.get_secret_value())
    if args.session is not None:
        name = ids.session(args.session)
        now = _now_ms()
        removed = erase_session(eraser, lookup.shards if args.everywhere else [lookup.home(args.session)], name, now)
        sessions = {args.session: now}
    else:
        name = ids.visitor(args.visitor)
        removed, sessions = erase_visitor(eraser, lookup.shards, name)
        if ids:  # pseudonyms are no keys of the topic: the tombstone of the visitor has to do
            sessions = {}
    for count, what in zip(removed, ("session states", "deadlines", "decisions", "visitor profiles"), strict=True):
        print(f"{count} {what} removed")
    print("events of before this moment are ignored for 15 days")
    withdraw(settings, sessions)
    return ExitCode.OK


def erase_session(eraser: Eraser, shards: Sequence[Shard], session_id: str, now_ms: int) -> Removed:
    """Erase one session from ``shards``, and all that it did up to ``now_ms``.

    All of them are fenced if none holds it: a worker may be about to write an event of it.
    """
    holders = eraser.holders(session_id, shards) or list(shards)
    return eraser.erase({shard: [session_id] for shard in holders}, fields_of([hash_text(session_id)]), now_ms)


def erase_visitor(eraser: Eraser, shards: Sequence[Shard], visitor_id: str) -> tuple[Removed, dict[str, int]]:
    """Erase a visitor's live sessions and profile; what was removed, and up to when each is erased, epoch ms."""
    visitor = hash_text(visitor_id)
    states = deadlines = decisions = 0
    erased: dict[str, int] = {}
    sessions: dict[Shard, list[str]] = {shard: [] for shard in shards}
    sessions.update(eraser.sessions_of(visitor))
    while True:
        names = [name for part in sessions.values() for name in part]
        now = _now_ms()
        removed = eraser.erase(sessions, fields_of([hash_text(name) for name in names], [visitor]), now)
        states += removed.states
        deadlines += removed.deadlines
        decisions += removed.decisions
        erased |= dict.fromkeys(names, now)
        # A session that began between the search and the fence is found now.
        sessions = eraser.sessions_of(visitor)
        if not sessions:
            return Removed(states, deadlines, decisions, eraser.forget_profile(visitor)), erased


def withdraw(settings: Settings, sessions: Mapping[str, int]) -> None:
    """Withdraw the consent of sessions in the log itself, so that a rebuild ends without them.

    The withdrawal is of the moment up to which a session is erased. So its tombstone covers it, and a worker that knows
    the tombstone keeps not even a note that the session withdrew.

    Args:
        settings: the topic and how to reach it.
        sessions: up to when each is erased, epoch ms.

    Raises:
        NotDelivered: the log does not say so of every session; Redis is erased all the same. Which ones is printed with
            the command to repeat, since a visitor's sessions cannot be found any more.
    """
    sender = Sender({**producer_config(settings), "message.timeout.ms": round(DELIVERY_S * 1000)})
    open_ = dict.fromkeys(sessions)
    for session_id, moment in sessions.items():
        event = {"session_id": session_id, "type": "click", "ts": moment, "consent": False}
        sender.send(
            settings.topic,
            msgspec.json.encode(event),
            session_id,
            timestamp=moment,
            on_delivered=partial(open_.pop, session_id, None),
        )
    if not sender.finish(DELIVERY_S + 1):
        return
    for session_id in open_:
        print(f"not withdrawn in {settings.topic}; repeat: clickstage erase --session {shlex.quote(session_id)}")
    raise NotDelivered(
        f"Redis is erased, but {settings.topic} is not: Kafka did not take the withdrawal of consent of {len(open_)} "
        f"of {len(sessions)} sessions ({sender.why()}). If Redis is ever rebuilt from {settings.topic} without its "
        "tombstones, these sessions come back. Then repeat the commands above"
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
