"""Handshakes under way: one table for all addresses, and who has to go when it is full. Pure; no OpenSSL calls.

A full table takes the newcomer and gives up the handshake that has been silent for the longest time, so that an
attacker who fills it has to win a race against each client's answer instead of holding his places:

- No host has more than its share, at most half the table: above it, it loses its own handshake.
- In a full table the newcomer's own host loses one; if it has none, the host with the most does.
- Of the handshakes that may have to go, those that have passed ClientKeyExchange go last, as long as they are not more
  than half: nothing in ClientKeyExchange proves a key, so it must not be a way to hold places either.
- An eighth of the table is for addresses that have finished a handshake recently. Each of them counts as a host apart
  from the rest of its /64.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from common.latest import Latest
from layer.association import Association
from layer.cookie import Hello
from layer.hosts import Address

#: Addresses that finished a handshake, the latest ones.
MAX_KNOWN: Final = 1024


class Handshake:
    """A handshake under way. ``give_up_at``: without progress it ends then, whatever its association thinks."""

    __slots__ = (
        "addr",
        "association",
        "early",
        "give_up_at",
        "group",
        "hello_random",
        "hello_seq",
        "hint",
        "keyed",
        "known",
        "shut_out",
    )

    def __init__(
        self, addr: Address, group: Hashable, known: bool, association: Association, hello: Hello, give_up_at: float
    ) -> None:
        self.addr = addr
        self.group = group
        self.known = known
        self.association = association
        self.hello_random = hello.random
        self.hello_seq = hello.message_seq
        self.give_up_at = give_up_at
        self.keyed = False
        self.hint: str | None = None  # what an attacker may have said in the peer's name, without proof
        self.early = 0  # protected records fed so far
        self.shut_out: frozenset[bytes] = frozenset()  # PSK identities whose key is no longer good


class HalfOpen:
    """The table. ``capacity`` handshakes, of which one host has at most ``per_host``.

    ``by_addr``: the longest silent one first.
    """

    def __init__(self, capacity: int, per_host: int) -> None:
        self._capacity = capacity
        self._share = max(1, min(per_host, capacity // 2))
        self._for_strangers = capacity - capacity // 8
        self.by_addr: OrderedDict[Address, Handshake] = OrderedDict()
        self._known: Latest[Hashable] = Latest(MAX_KNOWN)

    def __len__(self) -> int:
        return len(self.by_addr)

    def __iter__(self) -> Iterator[Handshake]:
        return iter(tuple(self.by_addr.values()))

    def known(self, ip: Hashable) -> bool:
        """Whether a handshake with this IP address was finished recently."""
        return ip in self._known

    def remember(self, ip: Hashable) -> None:
        """A handshake with this IP address was finished."""
        self._known.add(ip)

    def add(self, handshake: Handshake) -> None:
        """Enter one whose address has none; ``victim`` says who has to go before."""
        self.by_addr[handshake.addr] = handshake

    def progress(self, handshake: Handshake) -> None:
        """Its client has answered: of all it is now the one that was silent for the shortest time."""
        self.by_addr.move_to_end(handshake.addr)

    def drop(self, handshake: Handshake) -> None:
        """Take it out. Without effect if it is out already."""
        if self.by_addr.get(handshake.addr) is handshake:
            del self.by_addr[handshake.addr]

    def victim(self, group: Hashable, known: bool) -> Handshake | None:
        """The handshake that must go for a newcomer of this group; None while there is room."""
        handshakes = tuple(self.by_addr.values())
        own = [each for each in handshakes if each.group == group]
        if len(own) >= self._share:
            return _first_to_go(own)
        strangers = [each for each in handshakes if not each.known]
        if not known and len(strangers) >= self._for_strangers:
            handshakes = tuple(strangers)
        elif len(handshakes) < self._capacity:
            return None
        if own:
            return _first_to_go(own)
        sizes = Counter(each.group for each in handshakes)
        largest = max(sizes.values())
        return _first_to_go([each for each in handshakes if sizes[each.group] == largest])


def _first_to_go(handshakes: Sequence[Handshake]) -> Handshake:
    """Of these, which are in order of silence."""
    keyed = [each for each in handshakes if each.keyed]
    if 2 * len(keyed) > len(handshakes):
        return keyed[0]
    return next(each for each in handshakes if not each.keyed)
