import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.serving.batching import Batcher, Overloaded


def doubled(contents: list[Any]) -> list[Any]:
    return [2 * content for content in contents]


def run(use: Callable[[Batcher], Awaitable[None]], answer: Callable = doubled, threads: int = 1, batch: int = 4, queue: int = 64) -> None:
    async def whole() -> None:
        batcher = Batcher(answer, threads, batch, queue, 60.0)
        batcher.start()
        try:
            await use(batcher)
        finally:
            batcher.close()
            await joined(batcher)

    asyncio.run(whole())


async def joined(batcher: Batcher) -> None:
    for thread in batcher._threads:
        await asyncio.to_thread(thread.join, 60)
        assert not thread.is_alive()


class Held:
    """Answers once it is let."""

    def __init__(self) -> None:
        self.batches: list[list] = []
        self.begun, self.let = threading.Semaphore(0), threading.Event()

    def __call__(self, contents: list[Any]) -> list[Any]:
        self.batches.append(contents)
        self.begun.release()
        assert self.let.wait(60)
        return doubled(contents)

    async def begins(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=60)


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    pauses=st.sets(st.integers(0, 40)),
    threads=st.integers(1, 4),
    batch=st.integers(1, 8),
    cancelled=st.sets(st.integers(0, 40)),
)
def test_every_request_gets_its_own_answer(sizes: list[int], pauses: set[int], threads: int, batch: int, cancelled: set[int]) -> None:
    seen: list[list[int]] = []

    def answer(contents: list[int]) -> list[Any]:
        seen.append(contents)
        return [ValueError(content) if content % 7 == 3 else 2 * content for content in contents]

    async def use(batcher: Batcher) -> None:
        futures = []
        for number, size in enumerate(sizes):
            futures.append(batcher.submit(number, size))
            if number in cancelled:
                futures[-1].cancel()
            if number in pauses:
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            if number in cancelled:
                assert isinstance(outcome, asyncio.CancelledError)
            elif number % 7 == 3:
                assert isinstance(outcome, ValueError)
                assert outcome.args == (number,)
            else:
                assert outcome == 2 * number

    run(use, answer, threads, batch, queue=1_000)
    assert all(1 <= len(contents) <= batch for contents in seen)
    answered = sorted(content for contents in seen for content in contents)
    assert sorted(set(answered)) == answered


def test_what_gathers_while_one_is_answered_is_answered_together() -> None:
    held = Held()

    async def use(batcher: Batcher) -> None:
        futures = [batcher.submit(0)]
        await held.begins()
        futures += [batcher.submit(number) for number in range(1, 7)]
        held.let.set()
        assert await asyncio.gather(*futures) == [0, 2, 4, 6, 8, 10, 12]

    run(use, held, batch=4)
    assert held.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_beyond_the_bound_a_request_is_refused_and_taken_again_later() -> None:
    held = Held()

    async def use(batcher: Batcher) -> None:
        futures = [batcher.submit(number, 2) for number in range(4)]
        assert batcher.waiting == 8
        with pytest.raises(Overloaded):
            batcher.submit(4, 1)
        held.let.set()
        assert await asyncio.gather(*futures) == [0, 2, 4, 6]
        assert batcher.waiting == 0
        assert await batcher.submit(5, 8) == 10

    run(use, held, queue=8)


def test_a_request_larger_than_the_bound_is_taken_when_nothing_else_is_there() -> None:
    held = Held()

    async def use(batcher: Batcher) -> None:
        large = batcher.submit(1, 100)
        with pytest.raises(Overloaded):
            batcher.submit(2)
        held.let.set()
        assert await large == 2

    run(use, held, queue=8)


def test_a_request_whose_turn_comes_too_late_is_refused_and_not_answered() -> None:
    held = Held()

    async def use(batcher: Batcher) -> None:
        first = batcher.submit(0)
        await held.begins()
        batcher._timeout = -1.0
        late = batcher.submit(1)
        batcher._timeout = 60.0
        following = batcher.submit(2)
        held.let.set()
        assert await first == 0
        with pytest.raises(Overloaded):
            await late
        assert await following == 4
        assert batcher.waiting == 0

    run(use, held)
    assert held.batches == [[0], [2]]


def test_a_request_that_was_given_up_takes_no_time() -> None:
    held = Held()

    async def use(batcher: Batcher) -> None:
        first, second, third = (batcher.submit(number) for number in range(3))
        await held.begins()
        second.cancel()
        held.let.set()
        assert await first == 0
        assert await third == 4
        assert batcher.waiting == 0

    run(use, held, batch=1)
    assert held.batches == [[0], [2]]


@pytest.mark.parametrize("wrong", ["raises", "too few", "too many"])
def test_a_batch_that_fails_fails_alone(wrong: str) -> None:
    held = Held()

    def answer(contents: list[Any]) -> list[Any]:
        given = held(contents)
        if 1 in contents:
            if wrong == "raises":
                raise ValueError("a fault")
            return given[1:] if wrong == "too few" else given + given
        return given

    async def use(batcher: Batcher) -> None:
        futures = [batcher.submit(0)]
        await held.begins()
        futures += [batcher.submit(number) for number in range(1, 7)]
        held.let.set()
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert [isinstance(outcome, ValueError | RuntimeError) for outcome in outcomes] == [False] + 4 * [True] + 2 * [False]
        assert await batcher.submit(7) == 14
        assert batcher.waiting == 0

    run(use, answer, batch=4)


@pytest.mark.parametrize("threads", [1, 3])
def test_closing_answers_what_waits_and_takes_nothing_more(threads: int) -> None:
    held = Held()

    async def use(batcher: Batcher) -> None:
        futures = [batcher.submit(number) for number in range(30)]
        await held.begins()
        batcher.close()
        with pytest.raises(Overloaded):
            batcher.submit(30)
        held.let.set()
        assert await asyncio.gather(*futures) == [2 * number for number in range(30)]
        await joined(batcher)

    run(use, held, threads)
