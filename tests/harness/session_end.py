"""The end of a session, as an endpoint reports it within the promised time."""

from __future__ import annotations

import time

from demo.process import Process

PROMISE = 30.0


async def hears(process: Process, since: float, what: str) -> None:
    """The process reports the end of its session before the promised time is over."""
    left = PROMISE - (time.monotonic() - since)
    event = await process.expect_event("ended", session=0, seconds=max(1.0, left))
    assert not event["clean"], f"{what}: {event}"
