"""Acknowledgements of what the broker sent with QoS 1, in the order of arrival (MQTT 5 section 4.6). Pure.

A message is *open* from ``came`` on, *done* when its owner says so, and acknowledged when nothing before it is open.
``begin_again`` forgets all of them at the end of a connection: the broker sends again what was not acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable


class Acknowledgements:
    """``acknowledge`` sends the PUBACK for a packet id."""

    __slots__ = ("_acknowledge", "_messages", "connection")

    def __init__(self, acknowledge: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        self._messages: dict[int, bool] = {}
        """Packet id to whether it is done, by arrival."""
        self.connection = 0
        """Counts the connections: packet ids belong to one."""

    def __len__(self) -> int:
        return len(self._messages)

    def came(self, packet_id: int) -> None:
        self._messages[packet_id] = False

    def done(self, connection: int, packet_id: int) -> bool:
        """A message is safe. False: it is of an earlier connection, or acknowledged."""
        if connection != self.connection or packet_id not in self._messages:
            return False
        self.settle(packet_id)
        return True

    def settle(self, packet_id: int) -> None:
        """A message is done, though it may not have been handed to anybody."""
        messages = self._messages
        messages[packet_id] = True
        while messages:
            first = next(iter(messages))
            if not messages[first]:
                break
            del messages[first]
            self._acknowledge(first)

    def begin_again(self) -> None:
        self.connection += 1
        self._messages.clear()
