"""The NCP's stack: the network it is the coordinator of, its keys and counters, and the reports to the host.

The part that owns state; the handlers of the EZSP commands are in the modules beside this one, messages in
``messaging``, joining in ``trust_center``. Lifecycle: reset -> networkInit or formNetwork -> up -> leave or reset.
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Callable
from pathlib import Path

from layer.errors import PeerError
from simulator.air import Coordinator, Network, NetworkParameters
from simulator.ezsp.codes import CurrentSecurity, EmberStatus, InitialSecurity, MfgTokenId
from simulator.ezsp.layout import Values
from simulator.ncp.memory import Memory, fresh
from simulator.ncp.options import NcpOptions
from simulator.ncp.store import Store, StoredNetwork, StoredSecurity, read_file, write_file
from simulator.ncp.timers import NcpTimers, Timer

_LOG = logging.getLogger(__name__)

FIRST_CHANNEL, LAST_CHANNEL = 11, 26
MIN_TX_POWER, MAX_TX_POWER = -43, 20
JOINING_STAYS_OPEN = 0xFF
_STACK_VERSIONS = {13: 0x7440, 18: 0x8200}
_COUNTER_LIMIT = 0xFFFFFFFF
#: an address of Silicon Labs' block, with the rest drawn at random
_EUI64_BLOCK = 0x000D6F << 40


class Stack:
    """State of the stack, and the operations that more than one command needs."""

    def __init__(
        self,
        network: Network,
        options: NcpOptions,
        state_path: Path | None,
        clock: Callable[[], float],
        emit: Callable[[str, Values], None],
    ) -> None:
        self.network = network
        self.options = options
        self.clock = clock
        self.emit = emit
        self.timers = NcpTimers(clock)
        self.random = random.Random(options.seed) if options.seed is not None else random.SystemRandom()
        self.memory: Memory = fresh(options.unicast_messages)
        #: grows at every reset and departure: what was started before does not report after
        self.generation = 0
        self.coordinator: Coordinator | None = None
        self._path = state_path
        self._joining: Timer | None = None
        loaded = None if state_path is None else read_file(state_path)
        self.store = loaded or Store(eui64=options.eui64 or _EUI64_BLOCK | self.random.getrandbits(40))
        self.store.ezsp = options.ezsp or self.store.ezsp
        if self.store.ezsp not in _STACK_VERSIONS:
            known = ", ".join(map(str, _STACK_VERSIONS))
            raise PeerError(f"{state_path or 'options'}: no EZSP version {self.store.ezsp}: there are {known}")
        self._nwk_counter = self.store.nwk_frame_counter
        self._aps_counter = self.store.aps_frame_counter
        self.eui64 = 0
        self.reset()

    @property
    def version(self) -> int:
        """EmberZNet's version, of four digits."""
        return _STACK_VERSIONS[self.store.ezsp]

    # ---- persistence

    def save(self) -> None:
        """Write the tokens; a disk that fails is reported and the dongle goes on."""
        if self._path is None:
            return
        try:
            write_file(self._path, self.store)
        except OSError as error:
            _LOG.error("the dongle's state could not be written to %s: %s", self._path, os.strerror(error.errno or 0))

    def _next_ceiling(self, counter: int) -> int:
        return min(counter + self.options.counter_step, _COUNTER_LIMIT)

    @property
    def nwk_frame_counter(self) -> int:
        return self._nwk_counter

    @property
    def aps_frame_counter(self) -> int:
        return self._aps_counter

    def set_nwk_frame_counter(self, value: int) -> None:
        self._nwk_counter = value
        self.store.nwk_frame_counter = value
        self.save()

    def set_aps_frame_counter(self, value: int) -> None:
        self._aps_counter = value
        self.store.aps_frame_counter = value
        self.save()

    def count_frame(self, *, link_key: bool) -> None:
        """One more frame is secured: move the counters, and their ceilings on disk when they are reached."""
        self._nwk_counter = min(self._nwk_counter + 1, _COUNTER_LIMIT)
        if link_key:
            self._aps_counter = min(self._aps_counter + 1, _COUNTER_LIMIT)
        behind = False
        if self._nwk_counter > self.store.nwk_frame_counter:
            self.store.nwk_frame_counter = self._next_ceiling(self._nwk_counter)
            behind = True
        if self._aps_counter > self.store.aps_frame_counter:
            self.store.aps_frame_counter = self._next_ceiling(self._aps_counter)
            behind = True
        if behind:
            self.save()

    # ---- lifecycle

    def reset(self) -> None:
        """Forget all that is not a token; the radio is off until networkInit or formNetwork."""
        self._stop()
        self.timers.clear()
        self.memory = fresh(self.options.unicast_messages)
        self.store.boot_counter = (self.store.boot_counter + 1) & 0xFFFFFFFF
        self._nwk_counter = self.store.nwk_frame_counter
        self._aps_counter = self.store.aps_frame_counter
        self.eui64 = self._identity()
        self.save()

    def _identity(self) -> int:
        """The address in use: restored by a host, else written once by its maker, else the factory's."""
        if self.store.restored_eui64 is not None:
            return self.store.restored_eui64
        custom = self.store.manufacturing.get(MfgTokenId.CUSTOM_EUI_64, b"\xff" * 8)
        return self.store.eui64 if custom == b"\xff" * 8 else int.from_bytes(custom, "little")

    def _stop(self) -> None:
        self.generation += 1
        self._joining = None
        if self.memory.up:
            self.memory.up = False
            self.network.stop()

    def close(self) -> None:
        """The dongle is unplugged: switch the radio off and keep the tokens."""
        self._stop()
        self.timers.clear()
        self.save()

    def _start(self) -> None:
        assert self.coordinator is not None
        parameters = self.parameters()
        assert parameters is not None
        self.memory.up = True
        _LOG.info("network 0x%04x is up on channel %d", parameters.pan_id, parameters.channel)
        # the host learns of the network before a message of it comes
        self.status(EmberStatus.NETWORK_UP)
        self.network.start(self.coordinator, parameters)

    def parameters(self) -> NetworkParameters | None:
        """What the stored network looks like to the air; None without one."""
        network, security = self.store.network, self.store.security
        if network is None or security is None:
            return None
        return NetworkParameters(
            pan_id=network.pan_id,
            extended_pan_id=network.extended_pan_id,
            channel=network.channel,
            tx_power=network.tx_power,
            nwk_update_id=network.update_id,
            coordinator_eui64=self.eui64,
            network_key=security.network_key,
        )

    def status(self, status: EmberStatus) -> None:
        self.emit("stackStatusHandler", {"status": status})

    def init(self) -> EmberStatus:
        """networkInit: take up the stored network."""
        if self.memory.up:
            return EmberStatus.INVALID_CALL
        if self.store.network is None or self.store.security is None:
            return EmberStatus.NOT_JOINED
        self._start()
        return EmberStatus.SUCCESS

    def form(self, network: StoredNetwork) -> EmberStatus:
        """formNetwork: become the coordinator of a new network, under the initial security state set before."""
        if self.memory.up:
            return EmberStatus.INVALID_CALL
        if not FIRST_CHANNEL <= network.channel <= LAST_CHANNEL:
            return EmberStatus.PHY_INVALID_CHANNEL
        if not MIN_TX_POWER <= network.tx_power <= MAX_TX_POWER:
            return EmberStatus.PHY_INVALID_POWER
        initial = self.memory.initial_security
        if initial is None:
            return EmberStatus.SECURITY_STATE_NOT_SET
        if not network.extended_pan_id:
            network.extended_pan_id = self.random.getrandbits(64)
        if network.pan_id == 0xFFFF:
            network.pan_id = self.random.randrange(0xFFFE)
        bitmask = initial["state_bitmask"]
        self.store.network = network
        self.store.security = StoredSecurity(
            bitmask,
            initial["state_network_key"] if bitmask & InitialSecurity.HAVE_NETWORK_KEY else self.random.randbytes(16),
            initial["state_sequence"],
            initial["state_preconfigured_key"],
            self.eui64,
        )
        if not bitmask & InitialSecurity.NO_FRAME_COUNTER_RESET:
            self._nwk_counter = self._aps_counter = 0
            self.store.nwk_frame_counter = self.store.aps_frame_counter = 0
        self.save()
        self._start()
        return EmberStatus.SUCCESS

    def leave(self) -> EmberStatus:
        """leaveNetwork: off the air, and the network forgotten; the counters stay."""
        if not self.memory.up:
            return EmberStatus.INVALID_CALL
        self._stop()
        self.forget_network()
        _LOG.info("left the network")
        self.status(EmberStatus.NETWORK_DOWN)
        return EmberStatus.SUCCESS

    def forget_network(self) -> None:
        self.store.network = None
        self.store.security = None
        self.store.key_table.clear()
        self.save()

    def current_security(self) -> tuple[int, int] | None:
        """Bit mask (EmberCurrentSecurityBitmask) and trust centre; None without a network."""
        security = self.store.security
        if security is None:
            return None
        shared = CurrentSecurity.GLOBAL_LINK_KEY | CurrentSecurity.HASHED_LINK_KEY
        return security.bitmask & shared | CurrentSecurity.HAVE_TRUST_CENTER_LINK_KEY, security.trust_center

    # ---- joining window

    def permit_joining(self, seconds: int) -> EmberStatus:
        """permitJoining: 0 closes, 255 stays open."""
        if not self.memory.up:
            return EmberStatus.NETWORK_DOWN
        was_open = self.memory.joining_until is not None
        if self._joining is not None:
            self._joining.cancel()
            self._joining = None
        if not seconds:
            self.memory.joining_until = None
        elif seconds == JOINING_STAYS_OPEN:
            self.memory.joining_until = math.inf
        else:
            self.memory.joining_until = self.clock() + seconds
            self._joining = self.timers.after(seconds, self._close_joining)
        if was_open is not bool(seconds):
            self.status(EmberStatus.NETWORK_OPENED if seconds else EmberStatus.NETWORK_CLOSED)
        self.network.permit_joining(seconds)
        return EmberStatus.SUCCESS

    def _close_joining(self) -> None:
        self._joining = None
        self.memory.joining_until = None
        self.status(EmberStatus.NETWORK_CLOSED)

    # ---- addresses

    def eui64_of(self, nwk: int) -> int | None:
        """The EUI64 behind a network address, if the NCP knows it."""
        if nwk == 0 and self.memory.up:
            return self.eui64
        return self.network.eui64_of(nwk)

    def nwk_of(self, eui64: int) -> int | None:
        if eui64 == self.eui64:
            return 0 if self.memory.up else None
        return self.network.nwk_of(eui64)
