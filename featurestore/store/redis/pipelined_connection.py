"""A pipelined connection to Redis: commands go out at once, answers are read later, in order, on one connection.

Redis works on a batch's write while the worker decodes the next; a second command sent behind the write sees what it
wrote. redis-py's pipeline waits for its answers, so this is built on its connections.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import hiredis
import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA

from featurestore.store.redis.resp import Packed, Wire

PIECE: Final = 65_536

Command = tuple[Any, ...] | Packed
"""Arguments, or what is packed already."""


class Ticket:
    """Answers that are still under way."""

    def __init__(self, pipelined: "PipelinedConnection", commands: int) -> None:
        self._pipelined = pipelined
        self.commands = commands
        self.answers: list[Any] | None = None
        self.broken = False

    def read(self) -> list[Any]:
        """One answer a command, an error answer in its place; blocks up to the client's timeout.

        Raises:
            redis.RedisError: the connection broke, so what became of the commands is not known.
        """
        self._pipelined.read_to(self)
        if self.answers is None:
            raise redis.ConnectionError("the connection broke before the answer")
        return self.answers


def _gathered(wire: Sequence[Wire]) -> list[Wire]:
    """The same bytes in few pieces: each is a call to the system, and wakes the server up."""
    pieces: list[Wire] = []
    small: list[Wire] = []
    size = 0
    for part in wire:
        small.append(part)
        size += len(part)
        if size >= PIECE:
            pieces.append(b"".join(small) if len(small) > 1 else part)
            small, size = [], 0
    if small:
        pieces.append(b"".join(small))
    return pieces


class PipelinedConnection:
    """One connection of a client, used from one thread.

    Attributes:
        connections: how many it has had so far: what a server remembers of a connection is gone with it.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._under_way: deque[Ticket] = deque()
        self.connections = 0

    @property
    def connected(self) -> bool:
        """Whether the next command goes out on a connection that was used before."""
        return self._connection is not None and bool(self._connection.is_connected)

    def send(self, commands: Sequence[Command]) -> Ticket:
        """Send and return; a connection that breaks is told by the ticket."""
        ticket = Ticket(self, sum(command.answers if isinstance(command, Packed) else 1 for command in commands))
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
                self.connections += 1
            wire: list[Wire] = []
            for command in commands:
                # The packer itself: redis-py's wrapper looks at the type of each argument.
                wire += command.wire if isinstance(command, Packed) else (hiredis.pack_command(command),)
            self._connection.send_packed_command(_gathered(wire))
        except BaseException:
            self.reset()
            raise
        self._under_way.append(ticket)
        return ticket

    def read_to(self, ticket: Ticket) -> None:
        """Read answers up to this ticket's."""
        while ticket.answers is None and not ticket.broken:
            oldest = self._under_way[0]
            try:
                oldest.answers = self._answers(oldest.commands)
            except BaseException:
                oldest.answers = None
                self.reset()
                raise
            self._under_way.popleft()

    def reset(self) -> None:
        """Drop the connection; every ticket under way is broken."""
        for ticket in self._under_way:
            ticket.broken = True
        self._under_way.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _answers(self, count: int) -> list[Any]:
        """The next answers; those that have come already are taken from the parser's own reader."""
        answers: list[Any] = []
        while len(answers) < count:
            answers.append(self._answer())
            gets = self._connection._parser._reader.gets  # noqa: SLF001 - a batch has thousands of answers
            answers += islice(iter(gets, NOT_ENOUGH_DATA), count - len(answers))
        return answers

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error
