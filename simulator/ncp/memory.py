"""The NCP's volatile memory, which a reset clears: configuration, policies, tables, counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simulator.ezsp.codes import ConfigId, PolicyId, ValueId

#: as many as the newest version reads; older ones take the first
COUNTERS = 42

#: Configuration of an EmberZNet 7.4 NCP: default and greatest value (UG100, 2.3.1).
CONFIGURATION: dict[int, tuple[int, int]] = {
    ConfigId.PACKET_BUFFER_COUNT: (255, 0xFFFF),
    ConfigId.NEIGHBOR_TABLE_SIZE: (26, 26),
    ConfigId.APS_UNICAST_MESSAGE_COUNT: (10, 255),
    ConfigId.BINDING_TABLE_SIZE: (32, 255),
    ConfigId.ADDRESS_TABLE_SIZE: (12, 255),
    ConfigId.MULTICAST_TABLE_SIZE: (8, 255),
    ConfigId.ROUTE_TABLE_SIZE: (16, 254),
    ConfigId.DISCOVERY_TABLE_SIZE: (8, 255),
    ConfigId.STACK_PROFILE: (0, 255),
    ConfigId.SECURITY_LEVEL: (5, 5),
    ConfigId.MAX_HOPS: (30, 30),
    ConfigId.MAX_END_DEVICE_CHILDREN: (32, 64),
    ConfigId.INDIRECT_TRANSMISSION_TIMEOUT: (3000, 30000),
    ConfigId.END_DEVICE_POLL_TIMEOUT: (8, 14),
    ConfigId.TX_POWER_MODE: (0, 3),
    ConfigId.DISABLE_RELAY: (0, 1),
    ConfigId.TRUST_CENTER_ADDRESS_CACHE_SIZE: (0, 255),
    ConfigId.SOURCE_ROUTE_TABLE_SIZE: (32, 255),
    ConfigId.FRAGMENT_WINDOW_SIZE: (1, 8),
    ConfigId.FRAGMENT_DELAY_MS: (0, 0xFFFF),
    ConfigId.KEY_TABLE_SIZE: (12, 255),
    ConfigId.APS_ACK_TIMEOUT: (1600, 0xFFFF),
    ConfigId.ACTIVE_SCAN_DURATION: (3, 6),
    ConfigId.PAN_ID_CONFLICT_REPORT_THRESHOLD: (1, 63),
    ConfigId.REQUEST_KEY_TIMEOUT: (0, 10),
    ConfigId.APPLICATION_ZDO_FLAGS: (0, 255),
    ConfigId.BROADCAST_TABLE_SIZE: (15, 254),
    ConfigId.MAC_FILTER_TABLE_SIZE: (0, 127),
    ConfigId.SUPPORTED_NETWORKS: (1, 2),
    ConfigId.SEND_MULTICASTS_TO_SLEEPY_ADDRESS: (0, 1),
    ConfigId.ZLL_GROUP_ADDRESSES: (0, 255),
    ConfigId.ZLL_RSSI_THRESHOLD: (0xFF80, 0xFFFF),
    ConfigId.MTORR_FLOW_CONTROL: (1, 1),
    ConfigId.RETRY_QUEUE_SIZE: (16, 255),
    ConfigId.NEW_BROADCAST_ENTRY_THRESHOLD: (11, 255),
    ConfigId.TRANSIENT_KEY_TIMEOUT_S: (300, 0xFFFF),
    ConfigId.BROADCAST_MIN_ACKS_NEEDED: (1, 255),
    ConfigId.TC_REJOINS_USING_WELL_KNOWN_KEY_TIMEOUT_S: (300, 0xFFFF),
    ConfigId.CTUNE_VALUE: (0, 0xFFFF),
    ConfigId.ASSUME_TC_CONCENTRATOR_TYPE: (0, 2),
    ConfigId.GP_PROXY_TABLE_SIZE: (5, 255),
    ConfigId.GP_SINK_TABLE_SIZE: (0, 255),
}

POLICIES: dict[int, int] = {
    PolicyId.TRUST_CENTER: 0x00,
    PolicyId.BINDING_MODIFICATION: 0x10,
    PolicyId.UNICAST_REPLIES: 0x20,
    PolicyId.POLL_HANDLER: 0x30,
    PolicyId.MESSAGE_CONTENTS_IN_CALLBACK: 0x40,
    PolicyId.TC_KEY_REQUEST: 0x51,
    PolicyId.APP_KEY_REQUEST: 0x60,
    PolicyId.PACKET_VALIDATE_LIBRARY: 0x62,
    PolicyId.ZLL: 0x00,
    PolicyId.TC_REJOINS_USING_WELL_KNOWN_KEY: 0x00,
}

#: Values that are only kept: what they start as. Those the NCP computes are in ``simulator.ncp.values``.
VALUES: dict[int, bytes] = {
    ValueId.UART_SYNCH_CALLBACKS: b"\x00",
    ValueId.STACK_TOKEN_WRITING: b"\x01",
    ValueId.EXTENDED_SECURITY_BITMASK: b"\x00\x01",
    ValueId.DESCRIPTOR_CAPABILITY: b"\x00",
    ValueId.STACK_DEVICE_REQUEST_SEQUENCE_NUMBER: b"\x00",
    ValueId.RADIO_HOLD_OFF: b"\x00",
    ValueId.NEXT_HOST_REJOIN_REASON: b"\x00",
    ValueId.CCA_THRESHOLD: b"\xb5",
    ValueId.ENABLE_R21_BEHAVIOR: b"\x00",
    ValueId.ANTENNA_MODE: b"\x00",
    ValueId.FORCE_TX_AFTER_FAILED_CCA_ATTEMPTS: b"\x00",
    ValueId.END_DEVICE_KEEP_ALIVE_SUPPORT_MODE: b"\x03",
    ValueId.TRANSIENT_DEVICE_TIMEOUT: b"\x10\x27",
    ValueId.DELAYED_JOIN_ACTIVATION: b"\x00",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    profile: int
    device: int
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(slots=True)
class AddressEntry:
    eui64: int
    id: int
    extended: bool = False


@dataclass(frozen=True, slots=True)
class TransientKey:
    key: bytes = field(repr=False)
    flags: int
    expires_at: float


@dataclass(slots=True)
class Memory:
    """Every table is bounded by its configuration value or by ``NcpOptions``."""

    config: dict[int, int]
    policies: dict[int, int] = field(default_factory=lambda: dict(POLICIES))
    values: dict[int, bytes] = field(default_factory=lambda: dict(VALUES))
    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    endpoint_flags: dict[int, int] = field(default_factory=dict)
    multicast: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    addresses: dict[int, AddressEntry] = field(default_factory=dict)
    bindings: dict[int, dict[str, Any]] = field(default_factory=dict)
    binding_ids: dict[int, int] = field(default_factory=dict)
    extended_timeouts: dict[int, bool] = field(default_factory=dict)
    transient_keys: dict[int, TransientKey] = field(default_factory=dict)
    source_routes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    senders: dict[int, int] = field(default_factory=dict)
    counters: list[int] = field(default_factory=lambda: [0] * COUNTERS)
    initial_security: dict[str, Any] | None = field(default=None, repr=False)
    up: bool = False
    joining_until: float | None = None
    manufacturer_code: int = 0
    power_descriptor: int = 0
    radio_power: int | None = None
    shortcut_threshold: int = 0xFF
    aps_sequence: int = 0
    source_route_mode: int = 0

    def count(self, counter: int) -> None:
        self.counters[counter] = (self.counters[counter] + 1) & 0xFFFF


def fresh(unicast_messages: int) -> Memory:
    """Memory as after a reset."""
    config = {number: default for number, (default, _) in CONFIGURATION.items()}
    config[ConfigId.APS_UNICAST_MESSAGE_COUNT] = unicast_messages
    return Memory(config)
