"""Answering what waits together: a bounded queue, and threads that take from it as much as there is.

Nothing waits for others to come: an idle thread takes the first request alone, and while it works the next ones gather.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any


class Overloaded(Exception):
    """The queue is full, or a request waited in it for too long."""


@dataclass(slots=True)
class Job:
    """A request that waits.

    Attributes
    ----------
    content
        What is asked.
    size
        How much of the queue it takes, in sessions.
    deadline
        When it is too late to begin, on `time.monotonic`'s clock.
    future
        Its answer.
    """

    content: Any
    size: int
    deadline: float
    future: asyncio.Future = field(repr=False)


class Batcher:
    """Takes requests of an event loop and answers them in threads, several at once.

    Parameters
    ----------
    answer
        Gives an answer, or the exception to raise, for each of several requests' contents.
    threads
        How many batches are worked on at a time.
    batch
        Most requests a batch.
    queue
        Most sessions waiting or worked on; a request larger than this is taken when nothing else is there.
    timeout
        Seconds that a request may wait.
    """

    def __init__(self, answer: Callable[[list[Any]], list[Any]], threads: int, batch: int, queue: int, timeout: float) -> None:
        self._answer = answer
        self._batch, self._bound, self._timeout = batch, queue, timeout
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"inference-{number}", daemon=True) for number in range(threads)]
        self._closed = False
        self.waiting = 0
        """Sessions waiting or worked on; the event loop's own."""

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, content: Any, size: int = 1) -> asyncio.Future:
        """Have a request answered.

        Raises
        ------
        Overloaded
            If too many sessions wait already, or the threads were told to end.
        """
        if self._closed or (self.waiting and self.waiting + size > self._bound):
            raise Overloaded
        self.waiting += size
        job = Job(content, size, time.monotonic() + self._timeout, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        return job.future

    def _work(self) -> None:
        jobs, most = self._jobs, self._batch
        while (first := jobs.get()) is not None:
            batch = [first]
            with suppress(Empty):
                while len(batch) < most:
                    following = jobs.get_nowait()
                    if following is None:  # for another thread
                        jobs.put(None)
                        break
                    batch.append(following)
            self._finish(batch)

    def _finish(self, batch: list[Job]) -> None:
        now = time.monotonic()
        late = [job.future.cancelled() or job.deadline < now for job in batch]
        asked = [job.content for job, too_late in zip(batch, late, strict=True) if not too_late]
        try:
            answers = self._answer(asked) if asked else []
            if len(answers) != len(asked):
                raise RuntimeError(f"{len(asked)} requests were given {len(answers)} answers")
        except Exception as error:
            answers = [error] * len(asked)
        following = iter(answers)
        outcomes = [Overloaded() if too_late else next(following) for too_late in late]
        with suppress(RuntimeError):  # the loop was closed before it had its answers
            batch[0].future.get_loop().call_soon_threadsafe(self._settle, batch, outcomes)

    def _settle(self, batch: list[Job], outcomes: list[Any]) -> None:
        for job, outcome in zip(batch, outcomes, strict=True):
            self.waiting -= job.size
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def close(self) -> None:
        """Let the threads end once the queue is empty; nothing more is taken."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
