"""Asking a device to leave the network, and its answer; one that sleeps gets the request when a frame of it comes."""

from __future__ import annotations

import asyncio

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.transaction import Answer, NoReply
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import zdo
from gateway.api.errors import PeerError


async def leave(transactions: ZclTransactions, device: ZigbeeDevice) -> None:
    """PeerError: it refuses. A device that says nothing has to be given up by the caller."""
    said: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    transaction = transactions.leave(device, lambda answer: None if said.done() else said.set_result(answer))
    try:
        answer = await said
    finally:
        if transaction is not None:
            transactions.unsent(device, transaction)
    if isinstance(answer, NoReply):
        raise PeerError("it doesn't answer")
    if status := zdo.leave_response(answer.payload):
        raise PeerError(f"it refuses to leave: {zdo.status_name(status)}")
