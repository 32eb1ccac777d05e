"""The handshakes of a DTLS listener: from a hello with a good cookie until a client has proved a key, or is refused.

The states of an address are in ``listener``; which handshake a full table gives up, in ``half_open``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from layer.admission import Admission
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.connected import ConnectedPeer
from layer.cookie import CookieJar, FragmentedHelloError, Hello, hello_verify_request, read_hello
from layer.credentials import Credentials
from layer.errors import PeerError
from layer.events import AssociationInfo, Failed, HandshakeCompleted
from layer.half_open import HalfOpen, Handshake
from layer.hosts import Address, host_of, ip_of
from layer.listener_events import HandshakeRefused, ListenerEvent
from layer.openssl import alert_text
from layer.sift import sift

#: Seconds that a handshake still has after an alert in clear, which may come from its client or from an attacker.
AFTER_ALERT: Final = 3.0
#: Protected records that wait in a handshake for its keys: a repeated Finished, or the last words of an association
#: that the client had before.
MAX_EARLY: Final = 32
#: Octets that are reported of a PSK identity which a refused client named, without proof.
MAX_NAMED: Final = 64


class Handshakes:
    """All handshakes under way.

    ``first_answer``    seconds until a client has answered our first flight
    ``out``, ``events``, ``count``  the listener's own datagrams to send, events and counters, which both add to
    ``established``     called once for each handshake whose client proved a key; it is no longer here then
    """

    def __init__(
        self,
        credentials: Credentials,
        config: AssociationConfig,
        *,
        half_open: HalfOpen,
        admission: Admission,
        cookies: CookieJar,
        first_answer: float,
        out: list[tuple[bytes, Address]],
        events: deque[ListenerEvent],
        count: dict[str, int],
        established: Callable[[Handshake, AssociationInfo, float], None],
    ) -> None:
        self.credentials = credentials
        self.config = config
        self._half_open = half_open
        self._admission = admission
        self._cookies = cookies
        self._first_answer = first_answer
        self._out = out
        self._events = events
        self._count = count
        self._established = established
        self.deadline: float | None = None
        """When ``tick`` has something to do, unless ``changed``: then ``next_deadline`` says it."""
        self.changed = False

    def receive_hello(self, data: bytes, addr: Address, connected: ConnectedPeer | None, now: float) -> None:
        """Take a datagram that begins like a ClientHello. ``connected``: the peer that has this address now."""
        try:
            hello = read_hello(data)
        except FragmentedHelloError:
            # The rest of a hello of which the first fragment has shown its cookie, or state for an unknown address.
            handshake = self._half_open.by_addr.get(addr)
            if handshake is not None:
                self.feed(handshake, data, now)
            else:
                self._count["fragmented_hellos"] += 1
            return
        except PeerError:
            self._count["malformed"] += 1
            return
        name = repr(addr).encode()
        if not hello.cookie or not self._cookies.good(name, hello, now):
            if hello.cookie:
                self._count["bad_cookies"] += 1
            self._count["hello_verify_requests"] += 1
            self._out.append((hello_verify_request(self._cookies.make(name, hello, now), hello.sequence), addr))
            return
        known = self._half_open.by_addr.get(addr)
        if known is not None and known.hello_random == hello.random:
            self.feed(known, data, now)  # a repeated hello
            return
        if connected is not None and connected.hello_random == hello.random:
            return  # a late copy of the hello that this very association began with
        self._begin(data, addr, hello, now)

    def _begin(self, data: bytes, addr: Address, hello: Hello, now: float) -> None:
        ip = ip_of(addr)
        known = self._half_open.known(ip)
        group = ip if known else host_of(ip)
        if not self._admission.admit(addr, group, hello.random, now):
            self._count["refused_over_rate"] += 1
            self._events.append(HandshakeRefused(addr, "its host begins too many handshakes"))
            return
        replaced = self._half_open.by_addr.get(addr)
        if replaced is not None:
            self._drop(replaced)
        victim = self._half_open.victim(group, known)
        if victim is not None:
            self._count["evicted_half_open"] += 1
            self.cancel(victim, now)
            self._events.append(HandshakeRefused(victim.addr, "put out for a newer one, as the longest silent"))
        number = int.from_bytes(hello.sequence, "big")
        association = Association(Role.SERVER, self.credentials, self.config, cookie_verified=number)
        handshake = Handshake(addr, group, known, association, hello, now + self._first_answer)
        self._half_open.add(handshake)
        self._count["handshakes_started"] += 1
        association.start(now)
        self.feed(handshake, data, now)

    def feed_protected(self, handshake: Handshake, data: bytes, now: float) -> None:
        """Take a datagram of epoch 1: whose keys these are only decryption shows, so only some may wait for them."""
        if handshake.early < MAX_EARLY:
            handshake.early += 1
            self.feed(handshake, data, now)
        else:
            self._count["unexpected_records"] += 1

    def feed(self, handshake: Handshake, data: bytes, now: float) -> None:
        """Take a datagram of a handshake's address."""
        kept, alert = sift(data, handshake.hello_seq)
        if len(kept) != len(data):
            self._count["unexpected_records"] += 1
        if kept:
            handshake.association.receive(kept, now)
        if not handshake.keyed and handshake.association.keyed:
            handshake.keyed = True
            handshake.give_up_at = float("inf")
            handshake.hint = None
            self._half_open.progress(handshake)
        if alert is not None:
            said = alert_text(alert) if alert else "close_notify"
            handshake.hint = f"{said} (in clear: nothing proves that it was the client's)"
            handshake.give_up_at = min(handshake.give_up_at, now + AFTER_ALERT)
        self._collect(handshake, now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        if self.changed:
            self.changed = False
            self.deadline = min(map(_due, self._half_open), default=None)
        return self.deadline

    def tick(self, now: float) -> None:
        """Do what is due: retransmissions, and the end of those that took too long."""
        for handshake in self._half_open:
            if handshake.give_up_at <= now:
                self._refuse(handshake, handshake.hint or f"no answer to our first flight in {self._first_answer:g} s")
            elif _due(handshake) <= now:
                handshake.association.tick(now)
                self._collect(handshake, now)

    def cancel(self, handshake: Handshake, now: float) -> None:
        """Give a handshake up and send its client an alert."""
        handshake.association.cancel(now)
        self._carry(handshake)
        self._drop(handshake)

    def _collect(self, handshake: Handshake, now: float) -> None:
        """Carry away what a handshake produced, and see whether it ended."""
        self.changed = True
        self._carry(handshake)
        event = handshake.association.next_event()
        if event is None:
            return
        if not isinstance(event, HandshakeCompleted):
            self._refuse(handshake, event.reason if isinstance(event, Failed) else "closed during the handshake")
        elif event.info.peer.psk_identity in handshake.shut_out:
            handshake.association.close(now)
            self._carry(handshake)
            self._refuse(handshake, "its key was taken away meanwhile")
        else:
            self._drop(handshake)
            self._half_open.remember(ip_of(handshake.addr))
            self._established(handshake, event.info, now)

    def _carry(self, handshake: Handshake) -> None:
        for datagram in handshake.association.records_to_send():
            self._out.append((datagram, handshake.addr))

    def _drop(self, handshake: Handshake) -> None:
        self._half_open.drop(handshake)
        self.changed = True

    def _refuse(self, handshake: Handshake, reason: str) -> None:
        self._count["handshakes_failed"] += 1
        self._drop(handshake)
        named = handshake.association.named_psk
        if named is not None:
            reason = f"{reason}; it named the PSK identity {named[:MAX_NAMED].decode('utf-8', 'backslashreplace')!r}"
        self._events.append(HandshakeRefused(handshake.addr, reason))


def _due(handshake: Handshake) -> float:
    """When a handshake has something to do: its association is never without a deadline."""
    at = handshake.association.next_deadline()
    return handshake.give_up_at if at is None else min(at, handshake.give_up_at)
