"""Options of a virtual dongle: identity, limits, pace. Every bound of ``simulator.ncp`` is named here."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.ash.ncp import AshConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class NcpOptions:
    """Defaults are those of an EmberZNet 7.4 NCP with 255 packet buffers.

    ``ezsp``             the protocol's version: 13 (EmberZNet 7.4) or 18 (8.2); None takes the state file's, or 13
    ``eui64``            the factory address; None draws one, which the state file keeps
    ``seed``             of the NCP's random numbers; None draws from the system
    ``unicast_messages`` APS unicasts in flight until the host sets another number
    ``callback_queue``   callbacks that wait for the line; more are lost, counted and signalled as overflow
    ``scan_pace``        1.0 scans in real time, 0.0 at once
    ``rewritable``       whether the EUI64 can be written any number of times (firmware with a token for it in NVM3)
    ``counter_step``     frame counters are written to disk once per so many frames, and leap by it at a restart
    """

    ezsp: int | None = None
    eui64: int | None = None
    seed: int | None = None
    unicast_messages: int = 10
    callback_queue: int = 64
    scan_pace: float = 1.0
    rewritable: bool = True
    counter_step: int = 4096
    transient_keys: int = 32
    known_senders: int = 512
    extended_timeouts: int = 512
    endpoints: int = 16
    clusters_per_endpoint: int = 64
    build: int = 0
    manufacturer: str = "ATLS"
    board: str = "virtual dongle"
    ash: AshConfig = field(default_factory=AshConfig)
