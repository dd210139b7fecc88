"""Admission: who gets a place, who waits, who is sent away, and that the account is exact."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission import Admission
from proxy.errors import Overloaded

LONG = 3600.0


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def entering(admission: Admission, *addresses: str) -> list[asyncio.Task[None]]:
    """Let each address ask for a place, one after the other."""
    tasks = []
    for address in addresses:
        tasks.append(asyncio.create_task(admission.enter(address)))
        await turns(1)
    await turns()
    return tasks


def came(tasks: list[asyncio.Task[None]]) -> list[bool]:
    """Tell which have a place."""
    return [task.done() and not task.cancelled() and task.exception() is None for task in tasks]


async def end(*tasks: asyncio.Task[None]) -> None:
    """Let waiting ones leave."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_enter__while_there_are_places() -> None:
    """Different addresses enter at once until every place is taken; the next waits."""
    admission = Admission(3, queue=1, wait=LONG)
    tasks = await entering(admission, "a", "b", "c", "d")

    assert [True, True, True, False] == came(tasks)
    assert (0, 1) == (admission.places.free, admission.waiting)
    await end(*tasks)


async def test_enter__queue_is_full() -> None:
    """Past the queue's bound Overloaded comes at once; nothing is held by who gets it."""
    admission = Admission(1, queue=1, wait=LONG)
    tasks = await entering(admission, "a", "b")
    with pytest.raises(Overloaded, match="too many requests wait"):
        await admission.enter("c")

    assert (0, 1) == (admission.places.free, admission.waiting)
    await end(*tasks)


async def test_enter__no_queue() -> None:
    """With a queue of nothing who finds no place is sent away."""
    admission = Admission(1, queue=0, wait=LONG)
    await admission.enter("a")

    with pytest.raises(Overloaded):
        await admission.enter("b")


async def test_enter__waits_no_longer_than_told() -> None:
    """Who has waited long enough is sent away and waits no more."""
    admission = Admission(1, queue=5, wait=0.01)
    await admission.enter("a")

    with pytest.raises(Overloaded, match=r"no place became free within 0\.01 s"):
        await admission.enter("b")
    assert (0, 0) == (admission.places.free, admission.waiting)


async def test_leave__hands_the_place_on() -> None:
    """A place goes to the waiter, not to who comes in the moment in which it becomes free."""
    admission = Admission(1, queue=5, wait=LONG)
    _, waiter = await entering(admission, "a", "b")
    admission.leave("a")
    (late,) = await entering(admission, "c")

    assert [True, False] == came([waiter, late])
    assert (0, 1) == (admission.places.free, admission.waiting)
    await end(late)


async def test_leave__fewest_first() -> None:
    """The next place is for the waiting address that holds the fewest, however late it came."""
    admission = Admission(4, queue=9, wait=LONG)
    await entering(admission, "a", "a", "b", "c")
    greedy, modest = await entering(admission, "a", "d")
    admission.leave("b")
    await turns()

    assert [False, True] == came([greedy, modest])
    await end(greedy)


async def test_leave__equals_in_turn() -> None:
    """Addresses that hold as many get a place in turn, not the first one all."""
    admission = Admission(2, queue=9, wait=LONG)
    await entering(admission, "x", "y")
    first, second, other = await entering(admission, "a", "a", "b")
    admission.leave("x")
    await turns()
    assert [True, False, False] == came([first, second, other])
    admission.leave("a")
    await turns()

    assert [True, False, True] == came([first, second, other])
    await end(second)


async def test_queue__cannot_be_filled_by_one() -> None:
    """Where one address fills the queue another takes the room of its youngest."""
    admission = Admission(1, queue=3, wait=LONG)
    await admission.enter("a")
    greedy = await entering(admission, "b", "b", "b")
    (modest,) = await entering(admission, "c")

    assert [False, False, True] == [task.done() for task in greedy]
    assert isinstance(greedy[2].exception(), Overloaded)
    assert not modest.done()
    assert 3 == admission.waiting
    with pytest.raises(Overloaded):
        await admission.enter("b")
    await end(*greedy, modest)


async def test_enter__cancelled_as_its_turn_comes() -> None:
    """Who leaves in the moment in which its turn comes leaves the place for the next one."""
    admission = Admission(1, queue=9, wait=LONG)
    await admission.enter("a")
    leaving, next_one = await entering(admission, "b", "c")
    admission.leave("a")
    leaving.cancel()
    await turns()

    assert leaving.cancelled()
    assert [True] == came([next_one])
    assert (0, 0) == (admission.places.free, admission.waiting)


async def test_leave__passes_over_who_is_leaving() -> None:
    """A turn that comes to somebody already on the way out goes to the next one."""
    admission = Admission(1, queue=9, wait=LONG)
    await admission.enter("a")
    leaving, next_one = await entering(admission, "b", "c")
    leaving.cancel()
    admission.leave("a")
    await turns()

    assert [True] == came([next_one])
    assert (0, 0) == (admission.places.free, admission.waiting)
    await asyncio.gather(leaving, return_exceptions=True)


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "cancel", "turn"]), st.sampled_from("abcd")),
    max_size=60,
)


@given(steps=STEPS, places=st.integers(1, 5), queue=st.integers(0, 4))
def test_account__is_exact_after_any_history(
    steps: list[tuple[str, str]], places: int, queue: int
) -> None:
    """Whatever comes, leaves and is cancelled: bounds hold, nobody waits who could have a place.

    When all are gone, nothing is taken and nobody waits.
    """

    async def history() -> None:
        admission = Admission(places, queue=queue, wait=LONG)
        asked: list[tuple[str, asyncio.Task[None]]] = []

        def inside(address: str) -> list[asyncio.Task[None]]:
            return [task for name, task in asked if name == address and came([task]) == [True]]

        def leave(address: str, task: asyncio.Task[None]) -> None:
            asked.remove((address, task))
            admission.leave(address)

        for step, address in steps:
            if step == "enter":
                asked.append((address, asyncio.create_task(admission.enter(address))))
            elif step == "leave" and (tasks := inside(address)):
                leave(address, tasks[0])
            elif step == "cancel":
                for name, task in asked:
                    if name == address and not task.done():
                        task.cancel()
                        break
            else:
                await turns()

            assert 0 <= admission.places.free <= places
            assert 0 <= admission.waiting <= queue
        await turns()
        held = {name: len(inside(name)) for name in "abcd"}
        waiting = {name for name, task in asked if not task.done()}
        free = admission.places.free
        assert places == sum(held.values()) + free
        assert len([task for _, task in asked if not task.done()]) == admission.waiting
        assert not [name for name in waiting if held[name] < free]

        await end(*(task for _, task in asked if not task.done()))
        for name in "abcd":
            for task in inside(name):
                leave(name, task)
        for _, task in asked:  # none of them unseen
            assert task.cancelled() or isinstance(task.exception(), Overloaded)
        assert (places, 0) == (admission.places.free, admission.waiting)

    asyncio.run(history())
