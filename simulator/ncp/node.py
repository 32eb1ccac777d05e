"""The parts of the NCP that a command's handler works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.ezsp.layout import Values
from simulator.ncp.memory import Memory
from simulator.ncp.messaging import Messaging
from simulator.ncp.scan import Scanner
from simulator.ncp.stack import Stack
from simulator.ncp.trust_center import TrustCenter


@dataclass(slots=True)
class Node:
    """The NCP's parts. ``restart`` resets it spontaneously, soon."""

    stack: Stack
    messaging: Messaging
    trust_center: TrustCenter
    scanner: Scanner
    restart: Callable[[], None]

    @property
    def memory(self) -> Memory:
        return self.stack.memory


#: A command's handler: from the parameters of its request to those of its response, by the names in the table.
Handler = Callable[[Node, Values], Values]
