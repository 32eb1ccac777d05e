"""Requests to a running simulator and what its devices answer."""

from __future__ import annotations

import asyncio
from typing import Any

from demo.stack import Stack
from simulator.ctl import ask


async def simulate(stack: Stack, do: str, **arguments: object) -> Any:
    """One command to the simulator, and its answer."""
    return await asyncio.to_thread(ask, stack.attach_socket, {"do": do, **arguments})


async def commands(stack: Stack, device: str) -> int:
    """How many commands a device itself has got since the beginning."""
    return next(int(each["commands"]) for each in await simulate(stack, "devices") if each["name"] == device)
