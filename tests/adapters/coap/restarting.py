"""A restart of the gateway with its CoAP adapter, between two steps of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.harness.coap_gateway import Home
from tests.harness.gateway_in_loop import until


@asynccontextmanager
async def restarted(home: Home) -> AsyncIterator[None]:
    """The old instance is gone without a word to anybody, as after a kill; a new one serves."""
    for client in home.clients:
        client.close()
    home.clients.clear()
    home.tasks["coap"].cancel()
    await until(lambda: home.state.adapter is None)
    home.adapter = home.configure()
    async with asyncio.TaskGroup() as tasks:
        home.run(tasks, "coap", home.adapter)
        await until(lambda: home.state.ready)
        yield
        home.tasks["coap"].cancel()
