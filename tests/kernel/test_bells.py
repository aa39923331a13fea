"""A bell wakes whoever waits, from any thread, and everyone when the process ends."""

import asyncio
import threading

from headrace.kernel.bells import Bell


def test_a_ring_from_another_thread_wakes_those_who_wait_for_its_topic() -> None:
    async def scenario() -> None:
        bell = Bell()
        mine = asyncio.create_task(bell.wait("mine", 10))
        other = asyncio.create_task(bell.wait("other", 0.2))
        await asyncio.sleep(0)
        threading.Thread(target=bell.ring, args=("mine",)).start()
        assert await mine
        assert not await other

    asyncio.run(scenario())


def test_closing_wakes_everyone() -> None:
    async def scenario() -> None:
        bell = Bell()
        waiting = [asyncio.create_task(bell.wait(topic, 10)) for topic in ("a", "a", "b")]
        await asyncio.sleep(0)
        bell.close()
        assert await asyncio.gather(*waiting) == [True, True, True]
        assert bell.closed

    asyncio.run(scenario())


def test_a_ring_while_one_looked_is_not_missed() -> None:
    async def scenario() -> None:
        bell = Bell()
        heard = bell.rung("mine")
        bell.ring("mine")
        assert await bell.wait("mine", 0.01, after=heard)
        assert not await bell.wait("mine", 0.01, after=bell.rung("mine"))

    asyncio.run(scenario())
