"""The NCP's behaviour seen by a host that speaks raw EZSP: version, networks, keys, values, tables, scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.air import JoinKind, NetworkParameters
from simulator.ash.frame import Error, RstAck
from simulator.ncp.dongle import PROTOCOLS, Ncp
from simulator.ncp.options import NcpOptions

EUI64 = 0x000D6F0001020304
LITTLE = "04030201006f0d00"
DEVICE = 0xA4C1380011223344
LITTLE_DEVICE = "443322110038c1a4"
WILDCARD = "ff" * 8
KEY = "5a6967426565416c6c69616e63653039"
TABLES = {version: make() for version, make in PROTOCOLS.items()}


# ---- version and refusals


def test_nothing_before_version(ncp: Ncp, make_host: Callable[[Ncp], Any]) -> None:
    host = make_host(ncp)
    host.reset()
    assert host.link == [RstAck(0x0B)]
    assert host.refused(0x0026) == 0x30
    assert host.legacy("05 00 26").hex() == "05805830"
    assert host.legacy("00 00 00 08").hex() == "0080000d024074"
    assert host.refused(0x0026) == 0x30  # the versions did not agree yet
    assert host.command(0x0000, "0d").hex() == "0d024074"
    assert host.command(0x0026).hex() == LITTLE


def test_a_reset_asks_for_the_version_again(host: Any) -> None:
    host.reset()
    assert host.refused(0x0005) == 0x30


def test_unknown_and_short_frames_are_invalid_commands(host: Any) -> None:
    assert host.refused(0x0083) == 0x31
    assert host.refused(0xFFFF) == 0x31
    assert host.refused(0x0058, "00") == 0x31
    assert host.refused(0x0034, "00") == 0x33
    assert host.command(0x0005) == b""


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.binary(max_size=120))
def test_any_parameters_get_exactly_one_answer(either: Any, data: st.DataObject, parameters: bytes) -> None:
    """Every command with arbitrary parameters, on one running NCP: its own answer or invalidCommand."""
    formed, table = either, TABLES[either.version]
    name = data.draw(st.sampled_from(table.commands()))
    frame_id = table.row(name).id
    frame = bytes((formed.sequence, 0, 1)) + frame_id.to_bytes(2, "little") + parameters
    formed.post(frame)
    (response,) = formed.responses
    formed.responses.clear()
    assert response[0] == formed.sequence
    assert int.from_bytes(response[3:5], "little") in (frame_id, 0x0058)
    formed.wait(60.0)
    if not formed.ncp.network_up or formed.link:
        formed.link.clear()
        formed.start()
        formed.command(0x0017, "0000")
    formed.callbacks.clear()


def test_every_command_has_its_own_answer(either: Any) -> None:
    """With nought for all parameters: nothing raises for want of a value that the version's answer has."""
    table = TABLES[either.version]
    for name in table.commands():
        either.command(table.row(name).id, "00" * 60)
        if name == "version":
            either.start()  # nought is no version


# ---- networks


def test_a_blank_dongle_has_no_network(host: Any, network: Any) -> None:
    assert host.command(0x0018) == b"\x00"
    assert host.command(0x0017, "0000") == b"\x93"
    assert host.command(0x0028)[:2] == b"\x93\x00"
    assert host.command(0x0020) == b"\x70"
    assert host.command(0x0022, "3c") == b"\x91"
    assert host.command(0x0027) == b"\xfe\xff"
    assert network.starts == 0


def test_forming(formed: Any, network: Any) -> None:
    assert network.parameters == NetworkParameters(
        pan_id=0x1234,
        extended_pan_id=0x1122334455667788,
        channel=15,
        tx_power=8,
        nwk_update_id=0,
        coordinator_eui64=EUI64,
        network_key=b"\x01" * 16,
    )
    assert formed.command(0x0018) == b"\x02"
    assert formed.command(0x0027) == b"\x00\x00"
    assert formed.command(0x0028).hex() == "000188776655443322113412080f0000000000f8ff07"
    assert formed.command(0x0069).hex() == "009400" + LITTLE
    assert formed.command(0x0116).hex() == "000000000100070000000000"
    assert formed.command(0x0017, "0000") == b"\x70"
    assert formed.command(0x001E, "00" * 20) == b"\x70"


def test_forming_needs_security_channel_and_power(host: Any) -> None:
    good = "88776655443322113412080f0000000000f8ff07"
    assert host.command(0x001E, good) == b"\xa8"
    host.command(0x0068, "8403" + KEY + "01" * 16 + "07" + "00" * 8)
    assert host.command(0x001E, good.replace("0f00", "1b00")) == b"\x8a"
    assert host.command(0x001E, good.replace("341208", "341263")) == b"\x8b"
    assert host.command(0x001E, good) == b"\x00"


def test_forming_draws_what_is_left_open(host: Any, network: Any) -> None:
    host.command(0x0068, "8401" + KEY + "00" * 16 + "00" + "00" * 8)
    assert host.command(0x001E, "0000000000000000ffff080f0000000000f8ff07") == b"\x00"
    assert network.parameters.extended_pan_id != 0
    assert network.parameters.pan_id != 0xFFFF
    assert network.parameters.network_key != bytes(16)


def test_leaving(formed: Any, network: Any) -> None:
    assert formed.command(0x0020) == b"\x00"
    assert formed.callbacks == [(0x0019, b"\x91")]
    assert network.stops == 1
    assert formed.command(0x0018) == b"\x00"
    assert formed.command(0x0017, "0000") == b"\x93"


def test_reset_takes_the_network_off_the_air_until_init(formed: Any, network: Any) -> None:
    formed.start()
    assert network.stops == 1
    assert formed.command(0x0018) == b"\x00"
    assert formed.command(0x0017, "0000") == b"\x00"
    assert formed.callbacks == [(0x0019, b"\x90")]
    assert network.parameters.pan_id == 0x1234


def test_joining_window(formed: Any, network: Any) -> None:
    assert formed.command(0x0022, "3c") == b"\x00"
    assert formed.callbacks == [(0x0019, b"\x9c")]
    formed.command(0x0022, "3c")
    formed.wait(59.0)
    assert formed.callbacks == [(0x0019, b"\x9c")]
    formed.wait(1.5)
    assert formed.callbacks == [(0x0019, b"\x9c"), (0x0019, b"\x9d")]
    formed.command(0x0022, "ff")
    formed.wait(10000.0)
    formed.command(0x0022, "00")
    assert formed.callbacks[2:] == [(0x0019, b"\x9c"), (0x0019, b"\x9d")]
    assert network.permits == [60, 60, 255, 0]


# ---- trust centre


def open_door(host: Any, policy: str = "03") -> None:
    host.command(0x0055, "00" + policy)
    host.command(0x0022, "3c")


def import_key(host: Any, eui64: str) -> None:
    assert host.command(0x0111, eui64 + KEY + "00") == b"\x00\x00\x00\x00"


def test_admission_needs_window_policy_and_key(formed: Any, ncp: Ncp) -> None:
    assert not ncp.admits(DEVICE)
    open_door(formed)
    assert not ncp.admits(DEVICE)
    import_key(formed, WILDCARD)
    assert ncp.admits(DEVICE)
    formed.command(0x0055, "0002")  # rejoins only
    assert not ncp.admits(DEVICE)
    formed.command(0x0055, "0001")
    assert ncp.admits(DEVICE)
    formed.command(0x0022, "00")
    assert not ncp.admits(DEVICE)


def test_install_codes_need_the_devices_own_key(formed: Any, ncp: Ncp) -> None:
    open_door(formed, "11")
    import_key(formed, WILDCARD)
    assert not ncp.admits(DEVICE)
    import_key(formed, LITTLE_DEVICE)
    assert ncp.admits(DEVICE)
    assert not ncp.admits(DEVICE + 1)


def test_transient_keys_expire(formed: Any, ncp: Ncp, clock: Any) -> None:
    assert formed.command(0x0053, "360a00") == b"\x00"  # TRANSIENT_KEY_TIMEOUT_S
    open_door(formed)
    import_key(formed, WILDCARD)
    exported = formed.command(0x0113, WILDCARD)
    assert exported.hex() == "03000000" + WILDCARD + "000000000000" + KEY + ("080000000000000000000a0000000000")
    clock.now += 9.9
    assert ncp.admits(DEVICE)
    clock.now += 0.2
    assert not ncp.admits(DEVICE)
    assert formed.command(0x0113, WILDCARD)[-4:].hex() == "2d000000"
    import_key(formed, WILDCARD)
    formed.command(0x006B)
    assert not ncp.admits(DEVICE)


def test_transient_keys_are_bounded(network: Any, clock: Any, make_host: Callable[[Ncp], Any]) -> None:
    host = make_host(Ncp(network, NcpOptions(transient_keys=3), clock=clock))
    host.start()
    for number in range(3):
        import_key(host, f"{number:02x}" + "00" * 7)
    assert host.command(0x0111, "aa" * 8 + KEY + "00").hex() == "1c000000"
    import_key(host, "02" + "00" * 7)


def test_a_device_that_joins_and_leaves(formed: Any, network: Any, ncp: Ncp) -> None:
    network.devices[0x4321] = DEVICE
    network.sleepy.add(0x4321)
    ncp.device_update(0x4321, DEVICE, 0x0000, JoinKind.UNSECURED_JOIN)
    formed.pump()
    assert [(number, octets.hex()) for number, octets in formed.callbacks] == [
        (0x0023, "00012143" + LITTLE_DEVICE + "04"),
        (0x0024, "2143" + LITTLE_DEVICE + "01000000"),
    ]
    formed.callbacks.clear()
    assert formed.command(0x0060, LITTLE_DEVICE).hex() == "2143"
    assert formed.command(0x0061, "2143").hex() == "00" + LITTLE_DEVICE
    assert formed.command(0x004A, "00").hex() == "00" + LITTLE_DEVICE + "04214300000800000000"
    assert formed.command(0x004A, "01")[:1] == b"\x93"
    assert formed.command(0x0029).hex() == "01" + "00" * 8 + "ffff"
    assert formed.command(0x00A8, "2143" + LITTLE_DEVICE + LITTLE_DEVICE) == b"\x00"
    assert network.left == [0x4321]
    del network.devices[0x4321]
    ncp.device_update(0x4321, DEVICE, 0x0000, JoinKind.LEFT)
    formed.pump()
    assert [(number, octets.hex()) for number, octets in formed.callbacks] == [
        (0x0023, "00002143" + LITTLE_DEVICE + "03"),
        (0x0024, "2143" + LITTLE_DEVICE + "02030000"),
    ]
    assert formed.command(0x0060, LITTLE_DEVICE).hex() == "ffff"
    assert formed.command(0x0061, "2143")[:1] == b"\x01"


def test_a_device_behind_a_router_is_no_child(formed: Any, ncp: Ncp) -> None:
    ncp.device_update(0x4321, DEVICE, 0x1111, JoinKind.SECURED_REJOIN)
    formed.pump()
    assert [(number, octets.hex()) for number, octets in formed.callbacks] == [
        (0x0024, "2143" + LITTLE_DEVICE + "00031111"),
    ]


def test_nothing_is_reported_without_a_network(host: Any, ncp: Ncp) -> None:
    ncp.device_update(0x4321, DEVICE, 0x0000, JoinKind.UNSECURED_JOIN)
    host.pump()
    assert host.callbacks == []


# ---- keys


def test_keys_of_the_security_manager(formed: Any) -> None:
    context = "{:02x}{:02x}0000" + "00" * 8 + "000000000000"
    assert formed.command(0x0114, context.format(1, 0)).hex() == "01" * 16 + "00000000"
    assert formed.command(0x0114, context.format(2, 0)).hex() == KEY + "00000000"
    assert formed.command(0x0114, context.format(1, 1)).hex() == "00" * 16 + "2d000000"
    assert formed.command(0x0114, context.format(4, 0)).hex() == "00" * 16 + "2d000000"
    assert formed.command(0x010C, context.format(2, 0)).hex() == LITTLE + "0e00" + "00" * 8 + "000000000000"


def test_key_table(formed: Any) -> None:
    assert formed.command(0x0075, LITTLE_DEVICE + "01") == b"\xff"
    assert formed.command(0x0075, "00" * 8 + "01") == b"\x00"
    assert formed.command(0x010E, "00" + LITTLE_DEVICE + KEY).hex() == "00000000"
    assert formed.command(0x0075, LITTLE_DEVICE + "01") == b"\x00"
    assert formed.command(0x0075, "00" * 8 + "01") == b"\x01"
    entry = LITTLE_DEVICE + KEY + "0e00" + "00" * 8 + "0000" + "00000000"
    assert formed.command(0x010F, "00").hex() == entry
    assert formed.command(0x010D, LITTLE_DEVICE).hex() == KEY + "000e00" + "00" * 8 + "0000" + "00000000"
    assert formed.command(0x010F, "01")[-4:].hex() == "2d000000"
    assert formed.command(0x010F, "0c")[-4:].hex() == "27000000"
    assert formed.command(0x010E, "0c" + LITTLE_DEVICE + KEY).hex() == "27000000"
    assert formed.command(0x0076, "00") == b"\x00"
    assert formed.command(0x0076, "0c") == b"\xb1"
    assert formed.command(0x0075, LITTLE_DEVICE + "01") == b"\xff"
    formed.command(0x010E, "05" + LITTLE_DEVICE + KEY)
    assert formed.command(0x00B1) == b"\x00"
    assert formed.command(0x0075, LITTLE_DEVICE + "01") == b"\xff"


def test_keys_of_version_18(network: Any, clock: Any, make_host: Callable[[Ncp], Any]) -> None:
    """The status first, then the context of the key; a transient key with flags behind it and without."""
    host = make_host(Ncp(network, NcpOptions(seed=1, ezsp=18), clock=clock))
    host.start()
    host.form()
    context = "{:02x}{:02x}0000{}000000000000"
    network_key = context.format(1, 0, "00" * 8)
    assert host.command(0x0114, network_key).hex() == "00000000" + "01" * 16 + network_key
    assert host.command(0x010E, "00" + LITTLE_DEVICE + KEY).hex() == "00000000"
    entry = "00000000" + context.format(4, 0, LITTLE_DEVICE) + KEY + "0e00" + "00" * 8 + "0000"
    assert host.command(0x010F, "00").hex() == entry
    assert host.command(0x010D, LITTLE_DEVICE).hex() == entry
    assert host.command(0x010F, "01")[:4].hex() == "2d000000"
    assert host.command(0x0111, WILDCARD + KEY).hex() == "00000000"
    assert host.command(0x0111, LITTLE_DEVICE + KEY + "00").hex() == "00000000"
    assert host.command(0x0113, LITTLE_DEVICE).hex()[:8] == "00000000"
    assert host.command(0x0112, "00").hex()[:56] == "00000000" + context.format(3, 0, WILDCARD) + KEY[:12]


def test_frame_counters_are_restored_only_when_asked(host: Any) -> None:
    assert host.command(0x00AB, "230400100000") == b"\x00"
    assert host.command(0x00AB, "240400200000") == b"\x00"
    assert host.command(0x00AB, "23020010") == b"\x36"
    host.command(0x0068, "8413" + KEY + "01" * 16 + "07" + "00" * 8)  # NO_FRAME_COUNTER_RESET
    host.command(0x001E, "88776655443322113412080f0000000000f8ff07")
    assert host.command(0x00AA, "23").hex() == "000400100000"
    assert host.command(0x00AA, "24").hex() == "000400200000"
    assert host.command(0x00AB, "230400000000") == b"\x38"


def test_frame_counters_start_again_with_a_new_network(host: Any) -> None:
    host.command(0x00AB, "230400100000")
    host.command(0x00AB, "240400200000")
    host.form()  # without NO_FRAME_COUNTER_RESET
    assert host.command(0x00AA, "23").hex() == "000400000000"
    assert host.command(0x00AA, "24").hex() == "000400000000"


def test_frame_counters_leap_at_a_reset(formed: Any) -> None:
    """By what may have been used since the last write: one more message here, 4096 at most."""
    formed.command(0x0034, "00341204010600010220000000000101aa")
    formed.start()
    for value in ("23", "24"):
        assert int.from_bytes(formed.command(0x00AA, value)[2:], "little") == 1 + 4096


# ---- configuration, values, tokens


def test_configuration(host: Any) -> None:
    assert host.command(0x0052, "03").hex() == "000a00"
    assert host.command(0x0053, "031400") == b"\x00"
    assert host.command(0x0052, "03").hex() == "001400"
    assert host.command(0x0052, "fe").hex() == "370000"
    assert host.command(0x0053, "fe0000") == b"\x37"
    assert host.command(0x0053, "0d0900") == b"\x36"
    host.start()
    assert host.command(0x0052, "03").hex() == "000a00"


def test_table_sizes_are_fixed_while_the_network_is_up(formed: Any) -> None:
    assert formed.command(0x0053, "031400") == b"\x38"
    assert formed.command(0x0053, "12001e") == b"\x00"
    assert formed.command(0x0002, "0104010000000000") == b"\x38"


def test_endpoints(host: Any) -> None:
    assert host.command(0x0002, "010401050000010100000600") == b"\x00"
    assert host.command(0x0002, "0104010500000000") == b"\x38"
    assert host.command(0x0002, "0004010500000000") == b"\x36"
    assert host.command(0x0003, "0001000000").hex() == "00020100"
    assert host.command(0x0003, "0009000000").hex() == "36020000"


def test_values(host: Any) -> None:
    assert host.command(0x00AA, "11").hex() == "0007000007040400aa"
    assert host.command(0x00AA, "03").hex() == "0002ff00"
    assert host.command(0x00AA, "fe").hex() == "3700"
    assert host.command(0x00AB, "3a0101") == b"\x00"
    assert host.command(0x00AA, "3a").hex() == "000101"
    assert host.command(0x00AB, "0a020101") == b"\x00"
    assert host.command(0x00AB, "fe0101") == b"\x37"
    assert host.command(0x0055, "fe01") == b"\x37"
    assert host.command(0x0056, "04").hex() == "0040"


def test_identity_and_small_things(host: Any) -> None:
    assert host.command(0x0026).hex() == LITTLE
    assert host.command(0x0081, "03010203").hex() == "03010203"
    assert host.command(0x0013).hex() == "7000000000"
    assert host.command(0x0047, "020001").hex() == "7000"
    assert host.command(0x0049)[:1] == b"\x00"
    assert host.command(0x0001, "01") == b"\x80"
    assert host.command(0x0033) == b"\x52"
    assert len(host.command(0x00F1)) == 82


def test_manufacturing_tokens_are_written_once(host: Any) -> None:
    assert host.command(0x000B, "01").hex() == "10" + b"ATLS".hex() + "ff" * 12
    assert host.command(0x000B, "0c").hex() == "08" + "ff" * 8
    assert host.command(0x000C, "0c07" + "11" * 7) == b"\x70"
    assert host.command(0x000C, "0c081122334455667788") == b"\x00"
    assert host.command(0x000C, "0c088877665544332211") == b"\x70"
    assert host.command(0x0026).hex() == LITTLE
    host.start()
    assert host.command(0x0026).hex() == "1122334455667788"


def test_restored_eui64_token(host: Any) -> None:
    for token in ("2ae10000", "2ae10100"):
        assert host.command(0x0102, token + "00000000").hex() == "0008000000" + "ff" * 8
    assert host.command(0x0103, "2ae1000000000000080000001122334455667788") == b"\x00"
    host.start()
    assert host.command(0x0026).hex() == "1122334455667788"
    assert host.command(0x0103, "2ae100000000000008000000" + "ff" * 8) == b"\x00"
    host.start()
    assert host.command(0x0026).hex() == LITTLE


def test_stack_tokens(formed: Any) -> None:
    node_data = "3412080f020100008877665544332211"
    assert formed.command(0x0102, "64ee010000000000").hex() == "0010000000" + node_data
    assert formed.command(0x0103, "64ee01000000000010000000" + node_data.replace("08", "05", 1)) == b"\x00"
    assert formed.command(0x0028)[12:13] == b"\x05"
    assert formed.command(0x0102, "24e1010000000000").hex() == "001a0000008403" + LITTLE + KEY
    assert formed.command(0x0102, "25e1010000000000").hex() == "000800000000f8ff0700000000"
    assert formed.command(0x0102, "8005010000000000").hex() == "0300000000"
    assert formed.command(0x0103, "64ee0100000000000100000000") == b"\x02"
    (count,) = formed.command(0x0100)
    infos = [formed.command(0x0101, f"{index:02x}") for index in range(count)]
    assert all(info[:1] == b"\x00" for info in infos)
    assert formed.command(0x0101, f"{count:02x}")[:1] == b"\xb1"


def test_application_tokens(host: Any) -> None:
    assert host.command(0x000A, "07").hex() == "00" + "ff" * 8
    assert host.command(0x0009, "07" + "11" * 8) == b"\x00"
    host.start()
    assert host.command(0x000A, "07").hex() == "00" + "11" * 8
    assert host.command(0x0009, "08" + "11" * 8) == b"\x01"


def test_factory_reset(formed: Any) -> None:
    formed.command(0x010E, "00" + LITTLE_DEVICE + KEY)
    formed.command(0x0009, "07" + "11" * 8)
    assert formed.command(0x0077, "0000") == b""
    formed.start()
    assert formed.command(0x0017, "0000") == b"\x93"
    assert formed.command(0x0075, LITTLE_DEVICE + "01") == b"\xff"
    assert formed.command(0x000A, "07").hex() == "00" + "ff" * 8
    assert formed.command(0x0026).hex() == LITTLE


# ---- tables


def test_multicast_and_address_tables_have_their_configured_size(host: Any) -> None:
    assert host.command(0x0063, "07").hex() == "0000000000"
    assert host.command(0x0063, "08")[:1] == b"\xb1"
    assert host.command(0x0064, "0701100100") == b"\x00"
    assert host.command(0x0064, "0801100100") == b"\xb1"
    assert host.command(0x0063, "07").hex() == "0001100100"
    assert host.command(0x0082, "00" + LITTLE_DEVICE + "214301").hex() == "00" + "00" * 8 + "ffff00"
    assert host.command(0x0082, "00" + LITTLE + "224300").hex() == "00" + LITTLE_DEVICE + "214301"
    assert host.command(0x0082, "0c" + LITTLE + "224300")[:1] == b"\x6a"
    assert host.command(0x005E, "00").hex() == LITTLE
    assert host.command(0x005F, "00").hex() == "2243"
    assert host.command(0x005F, "01").hex() == "ffff"
    assert host.command(0x005C, "02" + LITTLE_DEVICE) == b"\x00"
    assert host.command(0x005F, "02").hex() == "fdff"
    host.command(0x005D, "022143")
    assert host.command(0x0060, LITTLE_DEVICE).hex() == "2143"
    assert host.command(0x0061, "2143").hex() == "00" + LITTLE_DEVICE


def test_extended_timeouts(host: Any) -> None:
    assert host.command(0x007F, LITTLE_DEVICE) == b"\x00"
    host.command(0x007E, LITTLE_DEVICE + "01")
    assert host.command(0x007F, LITTLE_DEVICE) == b"\x01"
    host.command(0x007E, LITTLE_DEVICE + "00")
    assert host.command(0x007F, LITTLE_DEVICE) == b"\x00"


def test_bindings(host: Any) -> None:
    entry = "0101060002" + LITTLE_DEVICE + "00"
    assert host.command(0x002B, "00" + entry) == b"\x00"
    assert host.command(0x002C, "00").hex() == "00" + entry
    assert host.command(0x002F, "00").hex() == "ffff"
    host.command(0x0030, "002143")
    assert host.command(0x002F, "00").hex() == "2143"
    assert host.command(0x002D, "00") == b"\x00"
    assert host.command(0x002C, "00").hex() == "00" + "00" * 14
    assert host.command(0x002C, "20")[:1] == b"\x69"
    assert host.command(0x002B, "20" + entry)[:1] == b"\x69"


def test_source_routes(host: Any) -> None:
    host.command(0x0053, "1a0200")
    assert host.command(0x00C3) == b"\x02"
    assert host.command(0x00AE, "1111013333") == b"\x00"
    assert host.command(0x00AE, "22220233334444") == b"\x00"
    assert host.command(0x00AE, "555500") == b"\xb4"
    assert host.command(0x00AE, "111100") == b"\x00"
    assert host.command(0x00C2) == b"\x02"
    assert host.command(0x00C1, "01").hex() == "002222ff"
    assert host.command(0x00C1, "02")[:1] == b"\x03"
    assert host.command(0x0003, "0222220000").hex() == "000106"


# ---- scans


def test_energy_scan(host: Any) -> None:
    """Two channels at duration 4: (2^4 + 1) times 15.36 ms each."""
    assert host.command(0x001A, "000018000004").hex() == "00000000"
    assert host.command(0x001A, "000018000004").hex() == "4d000000"
    host.wait(0.25)
    assert host.callbacks == []
    host.wait(0.02)
    assert host.callbacks == [(0x0048, b"\x0b\xa7")]
    host.wait(0.3)
    assert host.callbacks[1:] == [(0x0048, b"\x0c\xa8"), (0x001C, b"\x00\x00")]


def test_active_scan_and_refusals(host: Any, network: Any) -> None:
    network.heard[20] = [
        NetworkParameters(
            pan_id=0x1234,
            extended_pan_id=0x1122334455667788,
            channel=20,
            tx_power=0,
            nwk_update_id=3,
            coordinator_eui64=1,
            network_key=bytes(16),
        )
    ]
    assert host.command(0x001A, "010000100003").hex() == "00000000"
    host.wait(1.0)
    found = "1434128877665544332211000203ffd8"
    assert [(number, octets.hex()) for number, octets in host.callbacks] == [(0x001B, found), (0x001C, "0000")]
    assert host.command(0x001A, "000000000003").hex() == "4f000000"
    assert host.command(0x001A, "0700f8ff0703").hex() == "4e000000"
    assert host.command(0x001A, "0000f8ff070f").hex() == "21000000"


def test_a_scan_can_be_stopped(host: Any) -> None:
    host.command(0x001A, "0000f8ff0704")
    assert host.command(0x001D) == b"\x00"
    assert host.callbacks == [(0x001C, b"\x00\x00")]
    host.wait(10.0)
    assert len(host.callbacks) == 1


# ---- faults


def test_fatal_error_needs_a_reset(formed: Any, network: Any, ncp: Ncp) -> None:
    ncp.fail(0x06)
    formed.pump()
    assert formed.link[-1] == Error(0x06)
    assert network.stops == 1
    formed.post(bytes.fromhex("0000010500"))
    assert formed.link[-1] == Error(0x06)
    assert formed.responses == []
    formed.start()
    assert formed.command(0x0017, "0000") == b"\x00"


def test_repetition_costs_nothing(formed: Any, ncp: Ncp) -> None:
    """NcpTimers that were replaced or cancelled do not pile up."""
    for _ in range(400):
        formed.command(0x0022, "fe")
        formed.command(0x001A, "0000f8ff0704")
        formed.command(0x001D)
    for _ in range(400):
        formed.command(0x0104)
    formed.wait(0.1)
    assert len(formed.link) == 2
    assert ncp.next_deadline() is None


def test_a_host_learns_of_the_network_before_frames_come_from_it(host: Any, network: Any, ncp: Ncp) -> None:
    start = network.start

    def eager(coordinator: Any, parameters: Any) -> None:
        start(coordinator, parameters)
        coordinator.device_update(0x4321, DEVICE, 0x1111, JoinKind.SECURED_REJOIN)

    network.start = eager
    host.command(0x0068, "8403" + KEY + "01" * 16 + "07" + "00" * 8)
    host.command(0x001E, "88776655443322113412080f0000000000f8ff07")
    assert [number for number, _ in host.callbacks] == [0x0019, 0x0024]


def test_reset_node(formed: Any, network: Any) -> None:
    assert formed.command(0x0104) == b""
    formed.wait(0.1)
    assert formed.link[-1] == RstAck(0x0B)
    assert network.stops == 1
    assert not formed.ncp.network_up
