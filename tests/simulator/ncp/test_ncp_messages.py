"""Messages through the NCP, seen by a host that speaks raw EZSP: limits, reports, filters, back pressure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator.air import ApsFrame, Reach
from simulator.ash.frame import Data, Error, encode
from simulator.ncp.dongle import Ncp
from simulator.ncp.options import NcpOptions

DEVICE = 0xA4C1380011223344
LITTLE_DEVICE = "443322110038c1a4"
INCOMING, SENT, SENDER_EUI64 = 0x0045, 0x003F, 0x0062


def aps(options: str = "4000", group: str = "0000") -> str:
    return "040106000102" + options + group + "00"


def unicast(
    host: Any, size: int = 3, options: str = "4000", destination: str = "3412", tag: int = 42
) -> tuple[int, int]:
    contents = f"{size:02x}" + "aa" * size
    status, sequence = host.command(0x0034, "00" + destination + aps(options) + f"{tag:02x}" + contents)
    return status, sequence


def frame(**changes: Any) -> ApsFrame:
    values: dict[str, Any] = {
        "profile": 0x0104,
        "cluster": 0x0006,
        "source_endpoint": 2,
        "destination_endpoint": 1,
        "payload": b"\x18\x01\x0a",
        "sequence": 5,
    }
    return ApsFrame(**{**values, **changes})


@pytest.fixture
def ready(host: Any) -> Any:
    """A network up, with endpoint 1 registered and group 0x1001 joined."""
    host.command(0x0002, "010401050000020000000600")
    host.command(0x0064, "0001100100")
    host.form()
    return host


# ---- out


def test_the_most_messages_at_once_are_remembered(ready: Any, network: Any) -> None:
    for _ in range(3):
        assert unicast(ready)[0] == 0
    assert ready.ncp.most_in_flight == 3
    for _, _, on_sent in network.unicasts:
        on_sent(True)
    for _ in range(2):
        unicast(ready)
    assert ready.ncp.most_in_flight == 3
    unicast(ready)
    ready.command(0x0036, "fcff" + aps("0000") + "1e0100")  # a broadcast counts until its report, which comes at once
    unicast(ready)
    assert ready.ncp.most_in_flight == 4


@pytest.mark.parametrize(("delivered", "status"), [(True, "00"), (False, "66")])
def test_unicast_and_its_report(ready: Any, network: Any, delivered: bool, status: str) -> None:
    code, sequence = unicast(ready)
    assert code == 0
    ((destination, sent, on_sent),) = network.unicasts
    assert destination == 0x1234
    assert sent == ApsFrame(
        profile=0x0104,
        cluster=0x0006,
        source_endpoint=1,
        destination_endpoint=2,
        payload=b"\xaa" * 3,
        sequence=sequence,
        ack_request=True,
    )
    assert ready.callbacks == []
    on_sent(delivered)
    on_sent(not delivered)  # the air must call once; a second call changes nothing
    ready.pump()
    report = "00341204010600010240000000" + f"{sequence:02x}" + "2a" + status + "00"
    assert [(number, octets.hex()) for number, octets in ready.callbacks] == [(SENT, report)]


def test_options_reach_the_air(ready: Any, network: Any) -> None:
    unicast(ready, options="0000")
    unicast(ready, options="2000")
    assert [(sent.ack_request, sent.link_key) for _, sent, _ in network.unicasts] == [(False, False), (False, True)]
    assert network.unicasts[1][1].sequence == network.unicasts[0][1].sequence + 1


def test_contents_are_reported_when_the_policy_asks(ready: Any, network: Any) -> None:
    ready.command(0x0055, "0441")
    unicast(ready)
    network.unicasts[0][2](True)
    ready.pump()
    assert ready.callbacks[0][1][-4:].hex() == "03aaaaaa"


@pytest.mark.parametrize(
    ("options", "limit"),
    [("4000", 82), ("6000", 73), ("0004", 74), ("000c", 66), ("200c", 57)],
)
def test_message_too_long(ready: Any, network: Any, options: str, limit: int) -> None:
    assert unicast(ready, limit + 1, options) == (0x74, 0)
    assert unicast(ready, limit, options)[0] == 0
    assert len(network.unicasts) == 1


def test_a_source_route_takes_room(ready: Any) -> None:
    ready.command(0x00AE, "341203111122223333")
    assert unicast(ready, 75) == (0x74, 0)
    assert unicast(ready, 74)[0] == 0


def test_messages_in_flight_are_limited(ready: Any, network: Any) -> None:
    assert [unicast(ready, tag=tag)[0] for tag in range(10)] == [0] * 10
    assert unicast(ready) == (0x72, 0)
    network.unicasts[4][2](False)
    assert unicast(ready)[0] == 0
    assert unicast(ready) == (0x72, 0)
    # broadcasts have a table of their own
    assert ready.command(0x0036, "fcff" + aps("0000") + "1e0100")[:1] == b"\x00"


def test_the_limit_is_a_configuration_value(host: Any) -> None:
    host.command(0x0053, "030200")
    host.form()
    assert [unicast(host)[0] for _ in range(3)] == [0, 0, 0x72]


def test_a_reset_forgets_what_is_in_flight(ready: Any, network: Any) -> None:
    for _ in range(10):
        unicast(ready)
    ready.start()
    ready.command(0x0017, "0000")
    ready.callbacks.clear()
    for _, _, on_sent in network.unicasts:
        on_sent(False)
    ready.pump()
    assert ready.callbacks == []
    assert [unicast(ready)[0] for _ in range(11)] == [0] * 10 + [0x72]


def test_leaving_forgets_what_is_in_flight(ready: Any, network: Any) -> None:
    for _ in range(10):
        unicast(ready)
    ready.command(0x0020)
    ready.callbacks.clear()
    ready.form()
    network.unicasts[0][2](True)
    ready.pump()
    assert ready.callbacks == []
    assert [unicast(ready)[0] for _ in range(11)] == [0] * 10 + [0x72]


def test_broadcasts_ask_for_no_acknowledgement(ready: Any, network: Any) -> None:
    ready.command(0x0036, "fcff" + aps("4000") + "1e0100")
    assert not network.broadcasts[0][2].ack_request


def test_no_network_no_message(host: Any) -> None:
    assert unicast(host) == (0x91, 0)
    assert host.command(0x0036, "fcff" + aps("0000") + "1e0100").hex() == "9100"


def test_unicast_by_address_table(ready: Any, network: Any) -> None:
    ready.command(0x0082, "03" + LITTLE_DEVICE + "214300")
    assert ready.command(0x0034, "010300" + aps() + "0701aa")[:1] == b"\x00"
    assert network.unicasts[0][0] == 0x4321
    network.unicasts[0][2](True)
    ready.pump()
    assert ready.callbacks[0][1][:3].hex() == "010300"
    assert ready.command(0x0034, "010400" + aps() + "0701aa") == b"\x70\x00"
    assert ready.command(0x0034, "030400" + aps() + "0701aa") == b"\x70\x00"
    assert ready.command(0x0034, "00fdff" + aps() + "0701aa") == b"\x70\x00"


def test_broadcast_and_multicast(ready: Any, network: Any) -> None:
    assert ready.command(0x0036, "fcff" + aps("0000") + "1e0101aa")[:1] == b"\x00"
    assert ready.command(0x0038, aps("0000", "0110") + "05030201bb")[:1] == b"\x00"
    assert [(to, radius, sent.payload, sent.group) for to, radius, sent, _ in network.broadcasts] == [
        (0xFFFC, 30, b"\xaa", 0),
        (0xFFFD, 5, b"\xbb", 0x1001),
    ]
    assert [(number, octets[:3].hex()) for number, octets in ready.callbacks] == [(SENT, "06fcff"), (SENT, "030110")]


def test_frame_counters_move(ready: Any) -> None:
    unicast(ready)
    unicast(ready, options="2000")
    assert ready.command(0x00AA, "23").hex() == "000402000000"
    assert ready.command(0x00AA, "24").hex() == "000401000000"


def test_sent_messages_are_counted(ready: Any, network: Any) -> None:
    unicast(ready)
    unicast(ready)
    network.unicasts[0][2](True)
    network.unicasts[1][2](False)
    ready.pump()
    counters = ready.command(0x00F1)
    assert (counters[9 * 2], counters[11 * 2]) == (1, 1)
    assert ready.command(0x0065) == counters
    assert ready.command(0x00F1) == bytes(82)


# ---- in


def test_incoming_unicast(ready: Any, network: Any) -> None:
    network.say(0x4321, frame(ack_request=True))
    ready.pump()
    expected = "000401060002014000000005c8ce2143ffff0318010a"
    assert [(number, octets.hex()) for number, octets in ready.callbacks] == [(INCOMING, expected)]


def test_the_senders_eui64_is_sent_once(ready: Any, network: Any) -> None:
    for eui64 in (DEVICE, DEVICE, DEVICE + 1):
        network.say(0x4321, frame(), eui64=eui64)
    ready.pump()
    assert [number for number, _ in ready.callbacks] == [SENDER_EUI64, INCOMING, INCOMING, SENDER_EUI64, INCOMING]
    assert ready.callbacks[0][1].hex() == LITTLE_DEVICE


def test_address_table_index_of_the_sender(ready: Any, network: Any) -> None:
    ready.command(0x0082, "03" + LITTLE_DEVICE + "214300")
    network.say(0x4321, frame())
    ready.pump()
    assert ready.callbacks[0][1][17] == 3


def test_endpoints_nobody_registered_are_not_delivered(ready: Any, network: Any) -> None:
    network.say(0x4321, frame(destination_endpoint=9))
    network.say(0x4321, frame(destination_endpoint=0xFF), reach=Reach.BROADCAST)
    ready.pump()
    assert [octets[0] for _, octets in ready.callbacks] == [4]


def test_multicasts_reach_members_only(ready: Any, network: Any) -> None:
    network.say(0x4321, frame(group=0x1001), reach=Reach.MULTICAST)
    network.say(0x4321, frame(group=0x1002), reach=Reach.MULTICAST)
    ready.pump()
    assert [(octets[0], octets[9:11].hex()) for _, octets in ready.callbacks] == [(2, "0110")]


def test_nothing_comes_in_without_a_network(ready: Any, network: Any) -> None:
    coordinator = network.coordinator
    ready.command(0x0020)
    ready.callbacks.clear()
    coordinator.incoming(0x4321, None, frame(), reach=Reach.UNICAST, lqi=1, rssi=-1)
    ready.pump()
    assert ready.callbacks == []


# ---- the NCP's own ZDO


def zdo(cluster: int, payload: str) -> ApsFrame:
    return frame(profile=0, cluster=cluster, source_endpoint=0, destination_endpoint=0, payload=bytes.fromhex(payload))


@pytest.mark.parametrize(
    ("cluster", "request_", "answer"),
    [
        (0x0000, "0704030201006f0d000000", "070004030201006f0d000000"),
        (0x0001, "0700000000", "070004030201006f0d000000"),
        (0x0001, "0721430000", "078100000000000000002143"),
        (0x0002, "070000", "0700000000408f5f11525200412c520000"),
        (0x0004, "07000001", "070000000c010401050000020000060000"),
        (0x0004, "07000009", "0783000000"),
        (0x0004, "07000000", "0782000000"),
        (0x0005, "070000", "070000000101"),
        (0x0006, "070000040101060000", "070000000101"),
        (0x0031, "0700", "0700000000"),
        (0x0032, "0700", "0700000000"),
        (0x0036, "073c01", "0700"),
        (0x0002, "07", "0780"),
        (0x0099, "07", "0784"),
    ],
)
def test_zdo_answers(ready: Any, network: Any, cluster: int, request_: str, answer: str) -> None:
    ready.command(0x0015, "5f11")
    network.say(0x4321, zdo(cluster, request_))
    ready.pump()
    ((destination, sent, _),) = network.unicasts
    assert (destination, sent.cluster, sent.source_endpoint) == (0x4321, cluster | 0x8000, 0)
    assert sent.payload.hex() == answer
    assert [number for number, _ in ready.callbacks if number == INCOMING] == []


def test_zdo_neighbours_come_in_pages(ready: Any, network: Any) -> None:
    network.devices.update({0x1000 + n: DEVICE + n for n in range(5)})
    network.say(0x4321, zdo(0x0031, "0703"))
    ((_, sent, _),) = network.unicasts
    assert sent.payload[:5].hex() == "0700050302"
    assert len(sent.payload) == 5 + 2 * 22


def test_hosts_hear_zdo_as_configured(host: Any, network: Any) -> None:
    """APPLICATION_ZDO_FLAGS: both hear, the NCP answers what it knows, the host the rest."""
    host.command(0x0053, "2a0300")
    host.form()
    network.say(0x4321, zdo(0x0005, "070000"))
    network.say(0x4321, zdo(0x0099, "07"))
    network.say(0x4321, zdo(0x8005, "0700000000"))
    network.say(0x4321, zdo(0x0013, "072143" + LITTLE_DEVICE + "8e"), reach=Reach.BROADCAST)
    host.pump()
    clusters = [octets[3:5].hex() for number, octets in host.callbacks if number == INCOMING]
    assert clusters == ["0500", "9900", "0580", "1300"]
    assert [sent.cluster for _, sent, _ in network.unicasts] == [0x8005]


def test_a_unicast_to_ourselves(ready: Any, network: Any) -> None:
    request = "0000050000000000000000"
    ready.command(0x0034, "000000" + request + "0103070000")
    assert network.unicasts == []
    incoming = [octets for number, octets in ready.callbacks if number == INCOMING]
    assert [(octets[3:5].hex(), octets[-6:].hex()) for octets in incoming] == [("0580", "070000000101")]
    assert [number for number, _ in ready.callbacks].count(SENT) == 1


# ---- back pressure


def test_callbacks_wait_while_the_host_is_not_ready(ready: Any, network: Any) -> None:
    ready.not_ready(True)
    network.say(0x4321, frame())
    ready.acknowledge = False  # an ACK would say that the host is ready again
    ready.pump()
    assert ready.callbacks == []
    assert ready.command(0x0005) == b""  # responses are not held
    assert ready.flags[-1] & 0x04  # and say that callbacks wait
    ready.clock.now += 1.0
    ready.ncp.tick()
    ready.pump()
    assert [number for number, _ in ready.callbacks] == [INCOMING]


def test_lost_callbacks_are_counted_and_signalled(network: Any, clock: Any, make_host: Callable[[Ncp], Any]) -> None:
    ncp = Ncp(network, NcpOptions(callback_queue=8), clock=clock)
    host = make_host(ncp)
    host.start()
    host.command(0x0002, "0104010500000000")
    host.form()
    host.acknowledge = False
    assert ncp.room()
    for number in range(20):
        network.say(0x4321, frame(sequence=number))
    # the window takes five, the queue eight
    assert ncp.lost_callbacks == 7
    assert not ncp.room()
    host.acknowledge = True
    host.flags.clear()
    host.wait(5.0)
    assert [octets[11] for _, octets in host.callbacks] == list(range(13))
    assert [flags & 1 for flags in host.flags] == [0] * 5 + [1] + [0] * 7
    assert ncp.room()
    assert host.command(0x00F1)[27 * 2] == 8


def test_commands_wait_for_room_for_their_answers(ready: Any, ncp: Ncp) -> None:
    """A host that sends and never acknowledges is held by NAK; nothing grows, nothing is answered twice."""
    ready.acknowledge = False
    for number in range(40):
        ready.post(bytes((number, 0x00, 0x01, 0x05, 0x00)))
    assert len(ready.responses) <= 5
    assert len(ncp._ash._events) <= ncp.options.ash.max_received


def test_a_host_that_is_gone_makes_the_link_fail(ready: Any, ncp: Ncp, network: Any) -> None:
    ready.acknowledge = False
    network.say(0x4321, frame())
    ready.wait(30.0)
    assert ready.link[-1] == Error(0x51)
    network.say(0x4321, frame())
    ready.acknowledge = True
    ready.start()
    assert ready.callbacks == []


def test_a_truncated_command_on_the_line_is_answered(ready: Any, ncp: Ncp) -> None:
    ncp.receive_bytes(encode(Data(ready._next, ready._expected, False, b"\x01\x00\x01")))
    ready._next = (ready._next + 1) % 8
    ready.pump()
    assert [response.hex() for response in ready.responses] == ["01805833"]
