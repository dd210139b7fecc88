"""Flights: identical calls share one while it is under way, and nobody harms another."""

from __future__ import annotations

import asyncio

import pytest

from proxy.flights import Flights


class Call:
    """A call that lands when the test says so, and counts its starts."""

    def __init__(self) -> None:
        self.starts = 0
        self.cancelled = 0
        self.land: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.under_way = asyncio.Event()

    async def __call__(self) -> str:
        """Wait for the landing."""
        self.starts += 1
        self.under_way.set()
        try:
            return await asyncio.shield(self.land)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def boarded(
    flights: Flights[str], call: Call, count: int, key: str = "a"
) -> list[asyncio.Task[str]]:
    """Return that many tasks that wait for the call."""
    return [asyncio.create_task(flights.join(key, call)) for _ in range(count)]


async def test_join__one_call_for_all_that_wait() -> None:
    """Whoever joins while the call is under way is given its result; it runs once."""
    flights, call = Flights[str](), Call()
    waiting = boarded(flights, call, 10)
    await call.under_way.wait()
    waiting += boarded(flights, call, 10)
    await turns()
    call.land.set_result("here")

    assert await asyncio.gather(*waiting) == ["here"] * 20
    assert call.starts == 1


async def test_join__another_key_is_another_call() -> None:
    """Calls with different keys do not share."""
    flights, first, second = Flights[str](), Call(), Call()
    waiting = boarded(flights, first, 1, "a") + boarded(flights, second, 1, "b")
    first.land.set_result("first")
    second.land.set_result("second")

    assert await asyncio.gather(*waiting) == ["first", "second"]


async def test_join__nothing_is_kept() -> None:
    """Who comes after the landing starts anew."""
    flights = Flights[str]()
    for word in ("one", "two"):
        call = Call()
        call.land.set_result(word)

        assert await flights.join("a", call) == word
        assert call.starts == 1
    assert flights._flights == {}


async def test_join__an_error_is_everyone_s() -> None:
    """All that wait are told the same error; the next one starts anew."""
    flights, call = Flights[str](), Call()
    waiting = boarded(flights, call, 3)
    await call.under_way.wait()
    call.land.set_exception(OSError("down"))
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [str(result) for result in results] == ["down"] * 3
    again = Call()
    again.land.set_result("up")
    assert await flights.join("a", again) == "up"


async def test_join__one_that_leaves_lets_the_others_fly() -> None:
    """A waiter that is cancelled, even the one that started the call, ends only its own wait."""
    flights, call = Flights[str](), Call()
    first, second, third = boarded(flights, call, 3)
    await call.under_way.wait()
    await turns()
    first.cancel()
    second.cancel()
    await turns()
    call.land.set_result("here")

    assert await third == "here"
    assert (first.cancelled(), second.cancelled(), call.cancelled) == (True, True, 0)


async def test_join__the_last_that_leaves_takes_the_call_along() -> None:
    """A call that nobody waits for any more is cancelled."""
    flights, call = Flights[str](), Call()
    waiting = boarded(flights, call, 2)
    await call.under_way.wait()
    await turns()
    for task in waiting:
        task.cancel()
    await turns()

    assert call.cancelled == 1
    assert flights._flights == {}


async def test_join__does_not_board_a_flight_that_goes_down() -> None:
    """Who comes while a forsaken call is being cancelled starts one of its own."""
    flights, forsaken, fresh = Flights[str](), Call(), Call()
    (leaver,) = boarded(flights, forsaken, 1)
    await forsaken.under_way.wait()
    leaver.cancel()
    (newcomer,) = boarded(flights, fresh, 1)
    await turns()
    fresh.land.set_result("here")

    assert await newcomer == "here"
    assert (forsaken.cancelled, fresh.starts) == (1, 1)
    assert flights._flights == {}


async def test_join__a_forsaken_flight_leaves_the_next_alone() -> None:
    """A flight that has gone down does not take the records of the one after it along."""
    flights, forsaken, fresh = Flights[str](), Call(), Call()
    (leaver,) = boarded(flights, forsaken, 1)
    await forsaken.under_way.wait()
    leaver.cancel()
    (first,) = boarded(flights, fresh, 1)
    await turns()
    assert forsaken.cancelled == 1
    (second,) = boarded(flights, fresh, 1)
    await turns()
    assert fresh.starts == 1
    first.cancel()
    second.cancel()
    await turns()

    assert fresh.cancelled == 1
    assert (first.cancelled(), second.cancelled()) == (True, True)
    assert flights._flights == {}


@pytest.mark.parametrize("later", range(3))
async def test_join__leaving_at_the_landing(later: int) -> None:
    """A waiter that is cancelled when the result is there leaves the others their result.

    Nor does it matter how far the result has come by then.
    """
    flights, call = Flights[str](), Call()
    leaver, stayer = boarded(flights, call, 2)
    await call.under_way.wait()
    await turns()
    call.land.set_result("here")
    await turns(later)
    leaver.cancel()

    assert await stayer == "here"
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert flights._flights == {}


async def test_join__a_call_that_is_cancelled_from_elsewhere() -> None:
    """Whoever waits for a call that somebody else has cancelled waits no longer."""

    async def give_up() -> str:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    flights = Flights[str]()
    waiting = [asyncio.create_task(flights.join("a", give_up)) for _ in range(2)]
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    assert flights._flights == {}


async def test_join__an_error_that_nobody_waits_for() -> None:
    """A call that fails while it is being cancelled disturbs nobody."""
    flights = Flights[str]()
    under_way = asyncio.Event()

    async def fail() -> str:
        under_way.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise OSError("while being cancelled") from None
        return "never"

    task = asyncio.create_task(flights.join("a", fail))
    await under_way.wait()
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()

    assert flights._flights == {}


async def test_join__a_call_that_ends_at_once() -> None:
    """A call that never waits is a call like any other."""

    async def at_once() -> str:
        return "here"

    flights = Flights[str]()

    assert await asyncio.gather(*(flights.join("a", at_once) for _ in range(3))) == ["here"] * 3
    assert flights._flights == {}
