"""A message from one endpoint process to another, with the digests of both compared."""

from __future__ import annotations

import hashlib

from demo.process import Process
from endpoint.control import made_octets


async def exchange(sender: Process, receiver: Process, size: int, seed: int, session: int = 0) -> None:
    """Send ``size`` octets; both ends' own digests and ours agree."""
    digest = hashlib.sha256(made_octets(size, seed)).hexdigest()
    sender.tell(do="send", session=session, size=size, seed=seed)
    sent = await sender.expect_event("sent", sha256=digest, seconds=90)
    assert sent["status"] == "delivered"
    received = await receiver.expect_event("received", sha256=digest, seconds=5)
    assert received["size"] == size
