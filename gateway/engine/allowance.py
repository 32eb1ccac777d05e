"""How many units an adapter takes at once, of all flows together, if it says so; the rest stays in the flows' queues.

An adapter whose carriage has one window for all of its peers (MQTT's receive maximum) says how much that is, and none
while it has no link. A flow whose next unit has to wait for that, and for nothing else, is *starved*: what is settled
makes room for the flow that has been starved longest, one unit each in turn. ``Delivery`` moves all of this.
"""

from __future__ import annotations

from gateway.engine.sessions import Flow


class Allowance:
    """Of one adapter. ``most``: units that it takes at once. ``out``: those that it has. ``starved``: flows, by age."""

    __slots__ = ("most", "out", "starved")

    def __init__(self, most: int, out: int) -> None:
        self.most = most
        self.out = out
        self.starved: dict[Flow, None] = {}
