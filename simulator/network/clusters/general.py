"""Clusters of devices in general: Basic, Power Configuration, Identify, Poll Control (ZCL8, chapter 3)."""

from __future__ import annotations

import struct
from typing import Final

from simulator.network.cluster_server import (
    INVALID_VALUE,
    Attribute,
    ClusterReply,
    ClusterServer,
    CommandRefusedError,
    make_cluster,
)
from simulator.network.clusters.ids import BASIC, HUE_BUTTONS, IDENTIFY, POLL_CONTROL, POWER, Identity
from simulator.network.datatypes import BITMAP8, BITMAP16, ENUM8, STRING, UINT8, UINT16, UINT32

#: Basic power source (ZCL8, 3.2.2.2.8)
_MAINS, _BATTERY = 0x01, 0x03
#: Signify's manufacturer code, its names, and its attribute of Basic by which a switch reports presses
SIGNIFY: Final = 0x100B
HUE: Final = ("Philips", "Signify Netherlands B.V.")
HUE_NOTIFIES: Final = 0x0031


def basic(identity: Identity) -> ClusterServer:
    """Basic, 0x0000 (ZCL8, 3.2)."""
    return make_cluster(
        BASIC,
        [
            Attribute(0x0000, UINT8, 8),  # ZCL version
            Attribute(0x0001, UINT8, 1),  # application version
            Attribute(0x0003, UINT8, 1),  # hardware version
            Attribute(0x0004, STRING, identity.manufacturer),
            Attribute(0x0005, STRING, identity.model),
            Attribute(0x0007, ENUM8, _MAINS if identity.mains else _BATTERY),
            Attribute(0x0010, STRING, "", writable=True),  # location description
            Attribute(0x4000, STRING, identity.software),  # software build
        ],
        revision=3,
        makers=_makers(identity),
    )


def _makers(identity: Identity) -> dict[int, list[Attribute]]:
    """What a maker added to Basic."""
    return {SIGNIFY: [Attribute(HUE_NOTIFIES, BITMAP16, 0, writable=True)]} if identity.manufacturer in HUE else {}


def hue_buttons(_identity: Identity) -> ClusterServer:
    """Signify's cluster for presses: it has nothing to be read."""
    return make_cluster(HUE_BUTTONS, [], makers={SIGNIFY: []})


def notifies(server: ClusterServer) -> bool:
    """Whether Basic was set so that a Hue switch reports its presses."""
    return bool(server.makers[SIGNIFY].whole(HUE_NOTIFIES))


def power(identity: Identity) -> ClusterServer:
    """Power configuration, 0x0001 (ZCL8, 3.3): battery voltage in 100 mV, what remains in half percents."""
    return make_cluster(
        POWER,
        [
            Attribute(0x0020, UINT8, 30, reportable=True),
            Attribute(0x0021, UINT8, identity.full, reportable=True),
            Attribute(0x0035, BITMAP8, 0, writable=True),  # battery alarm mask
        ],
        revision=2,
    )


_IDENTIFY_TIME: Final = 0x0000


def identify(_identity: Identity) -> ClusterServer:
    """Identify, 0x0003 (ZCL8, 3.5): the seconds that are left count down."""
    server = make_cluster(
        IDENTIFY,
        [Attribute(_IDENTIFY_TIME, UINT16, 0, writable=True)],
        {0x00: _identify, 0x01: _identify_query, 0x40: _trigger_effect},
        revision=2,
    )
    server.react = _count_down
    server.factory = {_IDENTIFY_TIME: 0}
    return server


def _identify(server: ClusterServer, payload: bytes) -> None:
    server.set(_IDENTIFY_TIME, struct.unpack_from("<H", payload)[0])


def _identify_query(server: ClusterServer, _payload: bytes) -> ClusterReply | None:
    left = server.whole(_IDENTIFY_TIME)
    return ClusterReply(0x00, struct.pack("<H", left)) if left else None


def _trigger_effect(_server: ClusterServer, payload: bytes) -> None:
    struct.unpack_from("<BB", payload)


def _count_down(server: ClusterServer, _attribute: int) -> None:
    server.end("identify")
    if server.host is not None and server.whole(_IDENTIFY_TIME):
        server.begin("identify", 1.0, _second_over, server)


def _second_over(server: ClusterServer) -> None:
    server.set(_IDENTIFY_TIME, server.whole(_IDENTIFY_TIME) - 1)


CHECK_IN_INTERVAL, _LONG_POLL, _SHORT_POLL, _FAST_TIMEOUT = 0x0000, 0x0001, 0x0002, 0x0003
_CHECK_IN: Final = 0x00


def poll_control(_identity: Identity) -> ClusterServer:
    """Poll Control, 0x0020 (ZCL8, 3.16), in quarters of a second: each interval the sleeper checks in, and stays awake
    as long as the answer asks for. An interval of 0 ends that."""
    server = make_cluster(
        POLL_CONTROL,
        [
            Attribute(CHECK_IN_INTERVAL, UINT32, 14400, writable=True, limits=(0, 0x6E0000)),
            Attribute(_LONG_POLL, UINT32, 20),
            Attribute(_SHORT_POLL, UINT16, 2),
            Attribute(_FAST_TIMEOUT, UINT16, 40, writable=True, limits=(1, 0xFFFF)),
        ],
        {0x00: _check_in_response, 0x01: _fast_poll_stop, 0x02: _set_long_poll, 0x03: _set_short_poll},
    )
    server.react = _next_check_in
    server.on_begun = _next_check_in
    server.factory = {CHECK_IN_INTERVAL: 14400, _LONG_POLL: 20, _SHORT_POLL: 2, _FAST_TIMEOUT: 40}
    return server


def _next_check_in(server: ClusterServer, attribute: int = CHECK_IN_INTERVAL) -> None:
    if attribute != CHECK_IN_INTERVAL or server.host is None:
        return
    server.end("check-in")
    if server.whole(CHECK_IN_INTERVAL):
        server.begin("check-in", server.whole(CHECK_IN_INTERVAL) / 4, check_in, server)


def check_in(server: ClusterServer) -> None:
    """The sleeper checks in now, and again an interval later."""
    if server.host is not None:
        server.host.notify(server, _CHECK_IN, b"")
    _next_check_in(server)


def _check_in_response(server: ClusterServer, payload: bytes) -> None:
    fast, quarters = struct.unpack_from("<?H", payload)
    if fast and server.host is not None:
        server.host.stay_awake((quarters or server.whole(_FAST_TIMEOUT)) / 4)


def _fast_poll_stop(server: ClusterServer, _payload: bytes) -> None:
    if server.host is not None:
        server.host.stay_awake(0)


def _set_long_poll(server: ClusterServer, payload: bytes) -> None:
    (quarters,) = struct.unpack_from("<L", payload)
    if not server.whole(_SHORT_POLL) <= quarters <= 0x6E0000:
        raise CommandRefusedError(INVALID_VALUE)
    server.set(_LONG_POLL, quarters)


def _set_short_poll(server: ClusterServer, payload: bytes) -> None:
    (quarters,) = struct.unpack_from("<H", payload)
    if not 1 <= quarters <= server.whole(_LONG_POLL):
        raise CommandRefusedError(INVALID_VALUE)
    server.set(_SHORT_POLL, quarters)
