"""An httpx transport that asks again where asking once more is safe and may help.

Only GET and HEAD without a body, and only while there is no reply: nothing has reached the
client yet, and the upstream has changed nothing. Every other request is sent once; aiohttp's own
second attempt, which would include PUT and DELETE, is switched off (transport.py).

What is asked again: no connection, a connection that ended before the reply (most often one that
was kept open and that the upstream has just closed), and the replies 502, 503, 504, and 429 if it
says when to come again. A silent upstream is not: whoever waits has waited long enough.
Certificates and addresses that are refused are decisions, no accidents, and stand.
"""

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final, NamedTuple

import httpx
import stamina
import structlog
from stamina.instrumentation import set_on_retry_hooks

from proxy.upstream.bodies import has_body

Count = Callable[[str, str], None]
"""Told (kind, reason) of every request that is about to be sent again."""

HEALTH: Final = "health"
_SAFE: Final = frozenset({"GET", "HEAD"})
_AGAIN: Final = frozenset({429, 502, 503, 504})
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_BACKOFF_BASE: Final = 4.0
log: Final = structlog.get_logger()


class RetryingTransport(httpx.AsyncBaseTransport):
    """Sends requests through `transport`, each at most `attempts` times.

    No attempt starts later than `within` seconds after the first; a reply that asks for more
    patience than is left is passed on as it is, and so is the last failure. The first wait is
    `first_wait` seconds, a fortieth of `within` where it is not given; each is four times the one
    before, and each is lengthened by a random part of twice the first. The extension `kind` is how
    a request is counted; `health` is asked once, for it is about this very moment.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        attempts: int,
        within: float,
        first_wait: float | None = None,
        count: Count = lambda _kind, _reason: None,
    ) -> None:
        self._transport = transport
        self._attempts, self._within = attempts, within
        self._first_wait = within / 40 if first_wait is None else first_wait
        self._jitter = 2 * self._first_wait
        self._count = count
        # stamina would log and count every attempt by itself, for the whole process.
        set_on_retry_hooks(())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first reply that is not worth another attempt, or the last there is."""
        kind = request.extensions.get("kind", "token")
        if self._attempts == 1 or kind == HEALTH or not _is_safe(request):
            return await self._transport.handle_async_request(request)
        began = monotonic()
        # The loop below costs more than a call that succeeds, and most do.
        outcome = await self._send(request)
        if isinstance(outcome, httpx.Response):
            return outcome
        async for attempt in stamina.retry_context(
            _wait,
            attempts=self._attempts,
            timeout=None,  # looked after here: stamina's would not count the wait to come
            wait_initial=self._first_wait,
            wait_max=self._within / 2,
            wait_jitter=self._jitter,
            wait_exp_base=_BACKOFF_BASE,
        ):
            with attempt:
                if attempt.num > 1:
                    outcome = await self._send(request)
                    if isinstance(outcome, httpx.Response):
                        return outcome
                left = began + self._within - monotonic()
                wait, longest = self._patience(outcome, attempt.num, attempt.next_wait, left)
                if attempt.num == self._attempts or longest > left:
                    return outcome.passed_on()
                await outcome.close()
                self._count(kind, outcome.reason)
                log.debug("retry", kind=kind, reason=outcome.reason, attempt=attempt.num)
                raise _AgainError(wait)
        raise AssertionError(kind)  # the last attempt returns or raises

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _send(self, request: httpx.Request) -> "httpx.Response | _Failure":
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            reason = _reason(error)
            if reason is None:
                raise
            return _Failure(reason, error)
        if response.status_code not in _AGAIN:
            return response
        told = told_wait(response.headers, datetime.now(UTC))
        if response.status_code == 429 and told is None:
            return response
        return _Failure(str(response.status_code), response, told)

    def _patience(
        self, failure: "_Failure", number: int, backoff: float, left: float
    ) -> tuple[float | None, float]:
        """Return how long to wait, None for stamina's backoff, and how long that can be."""
        if failure.told is not None:
            most = min(self._jitter, max(left - failure.told, 0.0))
            return failure.told + random.uniform(0, most), failure.told  # noqa: S311  no secret
        if failure.reason == "reset" and number == 1:
            return 0.0, 0.0
        return None, backoff + self._jitter


class _Failure(NamedTuple):
    """An outcome that is worth another attempt; `told` are the seconds of a Retry-After."""

    reason: str
    what: httpx.Response | httpx.TransportError
    told: float | None = None

    def passed_on(self) -> httpx.Response:
        """Return or raise it as it came."""
        if isinstance(self.what, httpx.Response):
            return self.what
        raise self.what

    async def close(self) -> None:
        """End the connection of a reply that nobody will read: another may end elsewhere."""
        if isinstance(self.what, httpx.Response):
            await self.what.aclose()


class _AgainError(Exception):
    """Tells stamina to go on, after `wait` seconds or those of its backoff."""

    def __init__(self, wait: float | None) -> None:
        super().__init__(wait)
        self.wait = wait


def told_wait(headers: httpx.Headers, now: datetime) -> float | None:
    """Return the seconds that Retry-After (RFC 9110 10.2.3) asks for; None if it asks nothing.

    A date is compared with the upstream's own Date where it tells one: clocks differ.
    """
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    date = _date(value)
    if date is None:
        return None
    return max((date - (_date(headers.get("Date", "")) or now)).total_seconds(), 0.0)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _is_safe(request: httpx.Request) -> bool:
    return request.method in _SAFE and not has_body(request)


def _reason(error: httpx.TransportError) -> str | None:
    """Return why a request may be sent again after this error; None if it may not."""
    # Exactly these: subclasses of ConnectError say why nobody connects there.
    if type(error) in {httpx.ConnectError, httpx.ConnectTimeout}:
        return "connect"
    return "reset" if isinstance(error, httpx.ReadError) else None


def _wait(error: Exception) -> bool | float:
    """Tell stamina whether to go on, and after how long; True leaves that to its backoff."""
    if not isinstance(error, _AgainError):
        return False
    return True if error.wait is None else error.wait
