"""Frames between the coordinator and one device: tries, acknowledgements, duplicates, the sleeper's queue.

Pure: time comes from the agenda. ZigBee r21: acknowledged APS transmissions 2.2.8.4.2-3 (apscMaxFrameRetries 3),
duplicate rejection 2.2.8.4.2, indirect transmission at the parent IEEE 802.15.4 5.1.1.6.3 (7.68 s).

What is simplified: an APS ACK matches by its counter alone; a frame without APS ACK counts as sent as soon as the
next hop took it (for a sleeper: as soon as it polled), whatever the radio then does to it; a frame that waited for
a sleeper until it expired is given up at once, since more tries in the same sleep can't help.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from simulator.air import ApsFrame
from simulator.network.radio import Link
from simulator.network.scheduler import Agenda, Alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class AirOptions:
    """The times and limits of the stacks on both sides. Seconds.

    The defaults of ``ack_wait`` and ``awake`` are much shorter than a real radio's (1.6 s and a few seconds), so that
    tests are quick; ``indirect_expiry`` is the real one.
    """

    #: the wait for an APS ACK, beyond the longest time that the link itself takes for both ways
    ack_wait: float = 0.05
    retries: int = 3
    #: whether receivers drop what they have by (source, APS counter); real tables are small, too
    aps_dedup: bool = True
    dedup_size: int = 64
    #: how long they know it, for the counter comes round; longer than any repetition takes, a sleeper's included
    dedup_age: float = 8.0
    #: how long a parent keeps a frame for a sleeper, and how many
    indirect_expiry: float = 7.68
    indirect_queue: int = 16
    #: a sleeper that expects an answer, or has just joined, stays up this long and polls this often
    awake: float = 0.5
    short_poll: float = 0.02
    #: acknowledged frames under way at once, per direction and device
    max_transfers: int = 64
    #: repetitions of a broadcast that a neighbour was not heard to repeat (nwkMaxBroadcastRetries)
    broadcast_retries: int = 2
    #: how often a device that looks for a network tries while joining is open
    join_retry: float = 0.25
    #: devices that get in at one time, so that a full house doesn't drown the dongle
    join_burst: int = 5
    max_devices: int = 250


class PeerFrame(ApsFrame):
    """A frame that another device sent, whose EUI64 is ``origin``: not the coordinator's, whose counter is another."""

    __slots__ = ("origin",)
    origin: int


def as_peer(frame: ApsFrame, origin: int) -> PeerFrame:
    """The frame marked as that of another device; it asks for no APS ACK."""
    marked = PeerFrame(
        profile=frame.profile,
        cluster=frame.cluster,
        source_endpoint=frame.source_endpoint,
        destination_endpoint=frame.destination_endpoint,
        payload=frame.payload,
        sequence=frame.sequence,
        group=frame.group,
    )
    marked.origin = origin
    return marked


@dataclass(frozen=True, slots=True)
class Ack:
    """An APS acknowledgement."""

    sequence: int


@dataclass(frozen=True, slots=True)
class NwkLeave:
    """The network layer's leave command: the trust centre removes the device."""


Frame = ApsFrame | Ack | NwkLeave


class Taken(Enum):
    """What the next hop did with a frame."""

    AIRED = auto()
    UNHEARD = auto()
    EXPIRED = auto()


OnTaken = Callable[[Taken], None]


def ignore(_taken: Taken) -> None:
    """For senders that don't ask."""


class Carrier(Protocol):
    """One way to the other side. ``on_taken`` is called exactly once."""

    def carry(self, frame: Frame, on_taken: OnTaken) -> None: ...


class AirCarrier:
    """Straight over a link. ``listening`` says whether the receiver has its radio on; asked at arrival, too."""

    __slots__ = ("_agenda", "_listening", "_receive", "link")

    def __init__(
        self, agenda: Agenda, link: Link, listening: Callable[[], bool], receive: Callable[[Frame], None]
    ) -> None:
        self._agenda = agenda
        self.link = link
        self._listening = listening
        self._receive = receive

    def carry(self, frame: Frame, on_taken: OnTaken) -> None:
        if not self._listening():
            self.link.lose()
            on_taken(Taken.UNHEARD)
            return
        self.transmit(frame)
        on_taken(Taken.AIRED)

    def transmit(self, frame: Frame) -> bool:
        """One transmission; whether it will arrive."""
        number, arrivals = self.link.transmit(self._agenda.now())
        for due in arrivals:
            self._agenda.at(due, self._arrive, number, frame)
        return bool(arrivals)

    def _arrive(self, number: int, frame: Frame) -> None:
        heard = self._listening()
        self.link.arrive(number, heard=heard)
        if heard:
            self._receive(frame)


class IndirectQueue:
    """The parent's indirect queue for one sleeper; frames leave when it polls."""

    __slots__ = ("_agenda", "_air", "_on_waiting", "_options", "_waiting")

    def __init__(self, agenda: Agenda, air: AirCarrier, options: AirOptions, on_waiting: Callable[[], None]) -> None:
        self._agenda = agenda
        self._air = air
        self._options = options
        self._on_waiting = on_waiting
        self._waiting: deque[tuple[Alarm, Frame, OnTaken]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def carry(self, frame: Frame, on_taken: OnTaken) -> None:
        if len(self._waiting) >= self._options.indirect_queue:
            on_taken(Taken.EXPIRED)
            return
        # one expiry for all, so frames expire in the order in which they came
        alarm = self._agenda.after(self._options.indirect_expiry, self._expire)
        self._waiting.append((alarm, frame, on_taken))
        self._on_waiting()

    def _expire(self) -> None:
        _, _, on_taken = self._waiting.popleft()
        on_taken(Taken.EXPIRED)

    def poll(self) -> None:
        """The sleeper asks: everything that waits goes out (it polls on while the pending bit is set)."""
        for _ in range(len(self._waiting)):
            alarm, frame, on_taken = self._waiting.popleft()
            alarm.cancel()
            self._air.carry(frame, on_taken)

    def clear(self) -> None:
        """The parent is gone, or the child is no longer its child."""
        while self._waiting:
            alarm, _, on_taken = self._waiting.popleft()
            alarm.cancel()
            on_taken(Taken.EXPIRED)


class _Transfer:
    __slots__ = ("alarm", "frame", "on_sent", "tries")

    def __init__(self, frame: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        self.frame = frame
        self.on_sent = on_sent
        self.tries = 0
        self.alarm: Alarm | None = None


class Sender:
    """Sends APS frames one way; repeats those that want an APS ACK until it comes or the tries are used up."""

    __slots__ = ("_agenda", "_back", "_carrier", "_link", "_options", "_pending")

    def __init__(self, agenda: Agenda, carrier: Carrier, link: Link, back: Link, options: AirOptions) -> None:
        self._agenda = agenda
        self._carrier = carrier
        self._link = link
        self._back = back
        self._options = options
        self._pending: dict[int, _Transfer] = {}

    @property
    def pending(self) -> int:
        """Acknowledged frames under way."""
        return len(self._pending)

    def send(self, frame: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        """``on_sent`` is called exactly once, possibly before this returns."""
        if not frame.ack_request:
            self._carrier.carry(frame, lambda taken: on_sent(taken is Taken.AIRED))
            return
        pending = self._pending
        if len(pending) >= self._options.max_transfers or frame.sequence in pending:
            self._link.counters.given_up += 1
            on_sent(False)
            return
        transfer = pending[frame.sequence] = _Transfer(frame, on_sent)
        self._try(transfer)

    def _try(self, transfer: _Transfer) -> None:
        if transfer.tries > self._options.retries:
            self._finish(transfer, delivered=False)
            return
        if transfer.tries:
            self._link.counters.retries += 1
        transfer.tries += 1
        self._carrier.carry(transfer.frame, lambda taken: self._taken(transfer, taken))

    def _taken(self, transfer: _Transfer, taken: Taken) -> None:
        if self._pending.get(transfer.frame.sequence) is not transfer:
            return
        if taken is Taken.EXPIRED:
            self._finish(transfer, delivered=False)
            return
        wait = self._options.ack_wait + self._link.conditions.worst_delay + self._back.conditions.worst_delay
        transfer.alarm = self._agenda.after(wait, self._try, transfer)

    def _finish(self, transfer: _Transfer, *, delivered: bool) -> None:
        del self._pending[transfer.frame.sequence]
        if transfer.alarm is not None:
            transfer.alarm.cancel()
        if not delivered:
            self._link.counters.given_up += 1
        transfer.on_sent(delivered)

    def acknowledged(self, ack: Ack) -> None:
        """An APS ACK came in; one for nothing that is under way is a late double."""
        transfer = self._pending.get(ack.sequence)
        if transfer is not None:
            self._finish(transfer, delivered=True)

    def abandon(self) -> None:
        """Give up everything that is under way."""
        for transfer in list(self._pending.values()):
            self._finish(transfer, delivered=False)


class Receiver:
    """Takes APS frames in: acknowledges those that want it and drops repeats.

    ``seen`` is the stack's duplicate table; the coordinator's one is shared by all its links.
    """

    __slots__ = ("_accepts", "_acks", "_deliver", "_link", "_seen", "_source")

    def __init__(
        self,
        acks: Carrier,
        link: Link,
        seen: DuplicateTable | None,
        source: int,
        accepts: Callable[[ApsFrame], bool],
        deliver: Callable[[ApsFrame], None],
    ) -> None:
        self._acks = acks
        self._link = link
        self._seen = seen
        self._source = source
        self._accepts = accepts
        self._deliver = deliver

    def receive(self, frame: ApsFrame) -> None:
        if not self._accepts(frame):
            return
        if frame.ack_request:
            self._acks.carry(Ack(frame.sequence), ignore)
        source = frame.origin if isinstance(frame, PeerFrame) else self._source
        if self._seen is not None and self._seen.holds(source, _counter(frame), frame):
            self._link.counters.repeats += 1
            return
        self._deliver(frame)


def _counter(frame: ApsFrame) -> int:
    """What distinguishes a frame from others of its sender: fragments of one message share its APS counter."""
    return frame.sequence if frame.fragment is None else frame.sequence | frame.fragment[1] + 1 << 8


class DuplicateTable:
    """The frames that a stack took in by ``age`` seconds ago, by (source, APS counter). Bounded; the oldest goes first.

    The source's counter comes round after 256 frames to whomever it sends. A real radio doesn't carry as many within
    ``age``, this one does: so another frame with the counter of one that is remembered is new.
    """

    __slots__ = ("_age", "_entries", "_now", "_size")

    def __init__(self, size: int, age: float, now: Callable[[], float]) -> None:
        self._entries: OrderedDict[tuple[int, int], tuple[float, ApsFrame]] = OrderedDict()
        self._size, self._age, self._now = size, age, now

    def holds(self, source: int, sequence: int, frame: ApsFrame) -> bool:
        """Whether the frame was there before; if not, it's now."""
        key, now = (source, sequence), self._now()
        came = self._entries.get(key)
        if came is not None and came[1] is frame and now - came[0] <= self._age:
            return True
        self._entries[key] = now, frame
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return False

    def clear(self) -> None:
        self._entries.clear()


def duplicate_table(options: AirOptions, now: Callable[[], float]) -> DuplicateTable | None:
    """The one that a stack with these options has; ``now`` is the network's clock."""
    return DuplicateTable(options.dedup_size, options.dedup_age, now) if options.aps_dedup else None
