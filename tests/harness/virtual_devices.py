"""Requests to a running simulator and what its devices answer."""

from __future__ import annotations

import asyncio
from typing import Any

from demo.stack import Stack
from simulator import cli as simulator


async def simulate(stack: Stack, do: str, **arguments: object) -> Any:
    """One order to the simulator."""
    return await asyncio.to_thread(simulator.ask, stack.attach_socket, {"do": do, **arguments})


async def commands(stack: Stack, device: str) -> int:
    """How many commands a device itself has got since the beginning."""
    return next(int(each["commands"]) for each in await simulate(stack, "devices") if each["name"] == device)
