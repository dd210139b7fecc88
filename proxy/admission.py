"""Who may begin now, who waits, and who is sent away: places with a bounded queue before them.

A place that becomes free goes to the waiting address that holds the fewest, of those to the one
whose turn is longest ago. Where the queue is full, who has fewer waiting takes the turn of the
youngest of whoever has the most: nobody can be kept out by a queue that another one filled.
Nobody waits who could have a place.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.errors import Overloaded
from proxy.places import Places


class Admission:
    """`places` for those under way, and a queue of at most `queue` that wait `wait` seconds.

    `waiting` is told 1 of every one that begins to wait, and -1 when it ends.
    """

    def __init__(
        self,
        places: int,
        *,
        queue: int,
        wait: float,
        waiting: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.places: Final = Places(places)
        self._queue, self._wait = queue, wait
        # Of each address that waits its turns, the oldest first. A turn is True when it has
        # come, and False when somebody else was given the room in the queue.
        self._lines: dict[str, deque[asyncio.Future[bool]]] = {}
        self.waiting = 0
        self._told_waiting = waiting

    async def enter(self, address: str) -> None:
        """Return when the address has a place, which it must `leave`; Overloaded if it gets none.

        Who is cancelled while waiting holds nothing.
        """
        if not self.places.take(address):
            await self._turn(address)

    def leave(self, address: str) -> None:
        """Give a place back, and on to whoever waits for one."""
        self.places.give_back(address)
        while self._lines:
            first = min(self._lines, key=self.places.held)
            if not self.places.take(first):
                return  # who holds more may have none either
            turn = self._lines[first][0]
            self._remove(first, turn)
            if turn.done():
                self.places.give_back(first)  # cancelled; it is on its way out
                continue
            turn.set_result(True)
            if first in self._lines:
                self._lines[first] = self._lines.pop(first)  # behind its equals

    async def _turn(self, address: str) -> None:
        if self.waiting >= self._queue:
            self._displace(address)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(address, deque()).append(turn)
        self.waiting += 1
        self._told_waiting(1)
        try:
            async with asyncio.timeout(self._wait):
                came = await turn
        except BaseException as error:
            if turn in self._lines.get(address, ()):
                self._remove(address, turn)
            elif turn.done() and not turn.cancelled() and turn.result():
                self.leave(address)  # it came at the same moment
            if isinstance(error, TimeoutError):
                raise _busy(f"no place became free within {self._wait:g} s") from None
            raise
        if not came:
            raise _busy("too many requests wait already")

    def _displace(self, address: str) -> None:
        """Make room in the queue at the cost of whoever has the most there, or Overloaded."""
        most = max(self._lines, key=lambda name: len(self._lines[name]), default=address)
        if len(self._lines.get(most, ())) <= len(self._lines.get(address, ())) + 1:
            raise _busy("too many requests wait already")
        youngest = self._lines[most][-1]
        self._remove(most, youngest)
        if not youngest.done():
            youngest.set_result(False)

    def _remove(self, address: str, turn: asyncio.Future[bool]) -> None:
        line = self._lines[address]
        line.remove(turn)
        if not line:
            del self._lines[address]
        self.waiting -= 1
        self._told_waiting(-1)


def _busy(why: str) -> Overloaded:
    return Overloaded(f"the proxy has as much to do as it may: {why}; try again")
