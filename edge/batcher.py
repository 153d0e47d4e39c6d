"""Questions of many requests, answered together by one thread: each batch costs one round trip and one pass of arrays.

While the thread works, further questions gather: a batch is as large as the load makes it. A pause makes batches
larger still: a question waits for it only if another batch ended just before, so a quiet process answers at once.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


MOST_PAUSE_S: Final = 0.005
"""A batch that took long, for it waited for Redis, is no reason for a longer pause."""


class Busy(Exception):
    """More questions wait than are worth waiting for."""


class Batcher(Generic[Question, Answer]):
    """One thread that answers.

    Args:
        name: of the thread.
        work: answers questions, in order; what it raises, everybody who asked gets. Blocks.
        most: questions in one batch.
        most_waiting: questions that may wait; `Busy` beyond that.
        pauses: how long the thread pauses after a batch, as a multiple of the time that the batch took.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Question]], Sequence[Answer]],
        most: int,
        most_waiting: int,
        pauses: float = 0.0,
    ) -> None:
        self._work = work
        self._most = most
        self._most_waiting = most_waiting
        self._pauses = pauses
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Question, asyncio.Future[Answer]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def ask(self, question: Question) -> Answer:
        """The answer; raises what the work raised, or `Busy`."""
        if self._queue.qsize() >= self._most_waiting:
            raise Busy
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.put((question, answer))
        return await answer

    def end(self) -> None:
        """The thread ends after what waits."""
        self._queue.put(None)

    def close(self) -> None:
        """End the thread, and wait until it has."""
        self.end()
        self._thread.join(5.0)

    def _run(self) -> None:
        rested = 0.0
        while (first := self._queue.get()) is not None:
            began = time.monotonic()
            if began < rested:
                time.sleep(rested - began)
                began = time.monotonic()
            asked = [first]
            last = False
            while len(asked) < self._most and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    last = True
                    break
                asked.append(more)
            answers: Sequence[Answer] | Exception
            try:
                answers = self._work([question for question, _ in asked])
            except Exception as error:
                answers = error
            ended = time.monotonic()
            rested = ended + min(self._pauses * (ended - began), MOST_PAUSE_S)
            self._loop.call_soon_threadsafe(_tell, [answer for _, answer in asked], answers)
            if last:
                return


def _tell(futures: Sequence["asyncio.Future[Answer]"], answers: Sequence[Answer] | Exception) -> None:
    if isinstance(answers, Exception):
        for future in futures:
            if not future.done():
                future.set_exception(answers)
        return
    for future, answer in zip(futures, answers, strict=True):
        if not future.done():
            future.set_result(answer)
