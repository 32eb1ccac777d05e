"""Amounts: the engine's own bounds, rates as a policy writes them, and the token buckets that hold senders to them.

No clock: time enters as ``now`` in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

LIMITS_RULE = "limits"
"""The rule that an audit line names if one of the engine's own bounds decided."""

_PERIODS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_MULTIPLES = (("KiB", 1024), ("MiB", 1024 * 1024), ("kB", 1000), ("MB", 1_000_000), ("B", 1))


@dataclass(frozen=True, slots=True)
class Rate:
    """``amount`` (of octets, units, handshakes) in every ``period`` seconds; a pause saves up to one ``amount``."""

    amount: int
    period: float


@dataclass(slots=True, kw_only=True)  # not frozen: ``replace`` changes what is in force, for all who hold it
class EngineLimits:
    """The bounds of the engine's tables and the life times of what is in them; octets, seconds.

    ``subject_sessions``: live sessions that one subject has opened; ``subject_opens``: how often it may open one, after
    ``subject_opens_burst`` at once (a program that starts opens all its sessions, twice if it starts again).
    ``queue_*``: units that wait or are on their way in one direction of one session; ``total_octets`` of all of them.
    ``max_unit``: octets of one unit, and of a DTLS unit, which no hop may cut, ``max_datagram``. ``recent_opens`` and
    ``recent_age`` bound how long a retransmitted open still finds its closed session. The defaults of ``open_timeout``
    and ``unreachable_after`` let both ends learn within 30 s that a session can't go on. ``unreachable_after``: a
    session whose units have been unreachable for so long, with none delivered, ends. ``hold_after``: a unit that waits
    longer is stored. ``retry_after``: the pause that a refusal for a full table asks for.

    Of devices: ``max_watches`` and ``subject_watches``, in all and of one subject; ``max_commands``, those without a
    final receipt in all, ``subject_commands`` from one subject, ``device_commands`` to one device; ``command_timeout``:
    a command that is not held must be done in this; ``command_lifetime``: one that is held; ``recent_commands``: how
    many outcomes are remembered, each for ``recent_age``.

    Of requests that are proxied: ``max_exchanges`` and ``subject_exchanges``, without an answer, in all and from one
    subject; ``exchange_timeout``: the longest that one may wait for it; ``max_body``: octets of a body.
    """

    max_sessions: int = 1024
    subject_sessions: int = 64
    subject_opens: Rate = Rate(60, 60.0)
    subject_opens_burst: int = 128
    queue_units: int = 64
    queue_octets: int = 128 * 1024
    total_octets: int = 32 * 1024 * 1024
    max_unit: int = 4096
    max_datagram: int = 1152
    max_nonce: int = 64
    recent_opens: int = 4096
    recent_age: float = 300.0
    open_timeout: float = 28.0
    close_timeout: float = 30.0
    handshake_lifetime: float = 60.0
    unit_lifetime: float = 86400.0
    hold_after: float = 0.25
    unreachable_after: float = 15.0
    idle: float = 86400.0
    retry_after: float = 2.0
    max_watches: int = 1024
    subject_watches: int = 256
    max_commands: int = 8192
    subject_commands: int = 4096
    device_commands: int = 2048
    command_timeout: float = 60.0
    command_lifetime: float = 3600.0
    recent_commands: int = 4096
    max_exchanges: int = 256
    subject_exchanges: int = 64
    exchange_timeout: float = 60.0
    max_body: int = 64 * 1024


def parse_rate(text: str) -> Rate:
    """Read ``3/min``, ``8KiB/min``, ``100/s``, ``1MB/day``. ValueError says what was expected."""
    amount, slash, period = text.replace(" ", "").partition("/")
    factor = 1
    for suffix, multiple in _MULTIPLES:
        if amount.endswith(suffix):
            amount, factor = amount.removesuffix(suffix), multiple
            break
    if not slash or period not in _PERIODS or not (amount.isascii() and amount.isdigit()) or int(amount) == 0:
        raise ValueError("expected an amount per s, min, h or day, such as 3/min or 8KiB/min")
    return Rate(int(amount) * factor, _PERIODS[period])


def has_room(share: int, free: int) -> bool:
    """Whether an owner of ``share`` places of a table may have another one of the ``free`` places.

    No subject may hold more than is still free for all, so that one that fills a table can't lock the others out of it.
    """
    return free > 0 and share <= free


class Bucket:
    """A token bucket. It starts full; a cost above its size passes when it is full and is then paid off.

    ``burst``: its size, if that isn't the amount of the rate.
    """

    __slots__ = ("_at", "_level", "_rate", "_size")

    def __init__(self, rate: Rate, now: float, burst: int | None = None) -> None:
        self._size = float(rate.amount if burst is None else burst)
        self._rate = rate.amount / rate.period
        self._level = self._size
        self._at = now

    def wait(self, cost: float, now: float) -> float:
        """Seconds until ``cost`` would pass; 0.0 if it passes now."""
        if now > self._at:
            level = self._level + (now - self._at) * self._rate
            self._level = level if level < self._size else self._size
            self._at = now
        missing = (cost if cost < self._size else self._size) - self._level
        # A billionth of a token is rounding, not a lack: a sender that waits as long as it was asked to must pass.
        return missing / self._rate if missing > 1e-9 else 0.0

    def take(self, cost: float) -> None:
        """Pay ``cost``; call it after ``wait`` gave 0.0 for it."""
        self._level -= cost


class Buckets:
    """Buckets of senders: one for each rule (or ``LIMITS_RULE``), kind of amount and sender.

    A sender has its own share of each rule: a peer that floods can't use up what others may send. The table can't
    outgrow the policy (rules times subjects).
    """

    __slots__ = ("_table",)

    def __init__(self) -> None:
        self._table: dict[tuple[str, str, str], Bucket] = {}

    def get(self, rule: str, kind: str, sender: str, rate: Rate, now: float, burst: int | None = None) -> Bucket:
        """The bucket of ``sender`` for the ``kind`` of amount of ``rule``.

        Kinds: ``bytes``, ``units``, ``handshakes``, ``opens``, ``commands``, ``exchanges``.
        """
        key = (rule, kind, sender)
        bucket = self._table.get(key)
        if bucket is None:
            bucket = self._table[key] = Bucket(rate, now, burst)
        return bucket

    def keep(self, rules: Iterable[str]) -> None:
        """Forget the buckets of all other rules. A rule that stays unchanged keeps what its senders have used."""
        kept = set(rules)
        for key in [key for key in self._table if key[0] not in kept]:
            del self._table[key]

    def keep_senders(self, senders: Container[str]) -> None:
        """Forget the buckets of all other senders."""
        for key in [key for key in self._table if key[2] not in senders]:
            del self._table[key]

    def __len__(self) -> int:
        return len(self._table)
