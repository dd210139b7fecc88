"""Transports for the tests of what is behind the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.upstream.transport import AiohttpTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    """Give a transport with timeouts that no working test comes near."""
    transport = AiohttpTransport(connect=10, idle=10)
    yield transport
    await transport.aclose()


@pytest.fixture
async def hasty() -> AsyncIterator[AiohttpTransport]:
    """Give a transport that waits for a tenth of a second."""
    transport = AiohttpTransport(connect=0.1, idle=0.1)
    yield transport
    await transport.aclose()
