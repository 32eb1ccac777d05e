"""The dongle's state over a restart, and its file."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.errors import PeerError
from simulator.ezsp import v13
from simulator.ncp.dongle import HANDLERS, Ncp
from simulator.ncp.options import NcpOptions
from simulator.ncp.store import LinkKey, Store, StoredNetwork, StoredSecurity, dump, load, write_file

u8, u16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
u32, u64 = st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFFFFFFFFFF)
key = st.binary(min_size=16, max_size=16)
stores = st.builds(
    Store,
    eui64=u64,
    ezsp=u8,
    restored_eui64=st.none() | u64,
    boot_counter=u32,
    nwk_frame_counter=u32,
    aps_frame_counter=u32,
    network=st.none() | st.builds(StoredNetwork, u16, u64, u8, st.integers(-43, 20), u8, u16, u32),
    security=st.none() | st.builds(StoredSecurity, u16, key, u8, key, u64),
    key_table=st.dictionaries(u8, st.builds(LinkKey, u64, key, u32, u32), max_size=4),
    tokens=st.dictionaries(st.integers(0, 7), st.binary(min_size=8, max_size=8)),
    manufacturing=st.fixed_dictionaries({}, optional={1: key, 12: st.binary(min_size=8, max_size=8)}),
)


@settings(max_examples=40)
@given(stores)
def test_a_store_reads_back(store: Store) -> None:
    assert load(dump(store)) == store


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_a_spoilt_store_is_refused_or_read(data: st.DataObject) -> None:
    source = json.loads(dump(data.draw(stores)))
    source[data.draw(st.sampled_from(sorted(source)))] = data.draw(json_values)
    try:
        loaded = load(json.dumps(source))
    except PeerError:
        return
    assert load(dump(loaded)) == loaded


@settings(max_examples=40)
@given(stores)
def test_any_store_is_one_to_start_from(store: Store) -> None:
    """Whatever a file may hold, the stack makes octets of it without complaint."""
    ncp = Ncp(Silence())  # type: ignore[arg-type]
    node = ncp._node
    node.stack.store = store
    node.stack.reset()
    for command in ("networkInit", "getNetworkParameters", "getEui64", "getCurrentSecurityState", "getRadioParameters"):
        layout = v13.protocol().row(command).response
        layout.write(HANDLERS[command](node, {"bitmask": 0, "phy": 0}))
    for token in (0x1EE64, 0x1E124, 0x1E125, 0x1E12A, 0x1E263):
        HANDLERS["getTokenData"](node, {"token": token, "index": 0})


class Silence:
    """A network that takes every call and says nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused(text: str) -> None:
    with pytest.raises(PeerError):
        load(text)


def restart(
    make_host: Callable[[Ncp], Any], network: Any, clock: Any, path: Path, options: NcpOptions | None = None
) -> Any:
    host = make_host(Ncp(network, options, path, clock=clock))
    host.start()
    return host


def test_the_network_is_there_after_a_restart(
    tmp_path: Path, network: Any, clock: Any, make_host: Callable[[Ncp], Any]
) -> None:
    path = tmp_path / "dongle.json"
    first = restart(make_host, network, clock, path)
    first.form()
    first.command(0x010E, "00" + "11" * 8 + "22" * 16)
    identity, parameters = first.command(0x0026), first.command(0x0028)
    started = network.parameters
    first.ncp.close()
    assert network.stops == 1

    second = restart(make_host, network, clock, path)
    assert second.command(0x0017, "0000") == b"\x00"
    assert network.parameters == started
    assert second.command(0x0026) == identity
    assert second.command(0x0028) == parameters
    assert second.command(0x0075, "11" * 8 + "01") == b"\x00"
    assert second.command(0x0069).hex()[:6] == "009400"


def test_new_firmware_keeps_the_network(
    tmp_path: Path, network: Any, clock: Any, make_host: Callable[[Ncp], Any]
) -> None:
    """A protocol version asked for is kept in the file, and everything else outlives the change."""
    path = tmp_path / "dongle.json"
    first = restart(make_host, network, clock, path)
    first.form()
    identity = first.command(0x0026)
    first.ncp.close()
    for options in (NcpOptions(ezsp=18), None):
        host = make_host(Ncp(network, options, path, clock=clock))
        host.reset()
        assert host.legacy("00 00 00 04").hex() == "00800012020082"
        assert host.command(0x0000, "12")[:1].hex() == "12"
        assert host.command(0x0017, "0000").hex() == "00000000"
        assert host.callbacks == [(0x0019, bytes.fromhex("15000000"))]
        assert host.command(0x0026) == identity
        host.ncp.close()
    source = json.loads(path.read_text())
    del source["ezsp"]  # a file from before there were two
    path.write_text(json.dumps(source))
    restart(make_host, network, clock, path)


def test_a_version_that_there_is_not(tmp_path: Path, network: Any) -> None:
    path = tmp_path / "dongle.json"
    write_file(path, Store(eui64=1, ezsp=14))
    with pytest.raises(PeerError, match=r"dongle\.json: no EZSP version 14: there are 13, 18"):
        Ncp(network, None, path)
    assert Ncp(network, NcpOptions(ezsp=13), path).eui64 == 1


def test_frame_counters_never_repeat(tmp_path: Path, network: Any, clock: Any, make_host: Callable[[Ncp], Any]) -> None:
    """A dongle that is killed has no time to save: the next one starts past everything that was used."""
    path = tmp_path / "dongle.json"
    options = NcpOptions(counter_step=10, unicast_messages=255)
    host = restart(make_host, network, clock, path, options)
    host.form()
    for _ in range(25):
        host.command(0x0034, "00341204010600010220000000000101aa")
    assert host.command(0x00AA, "23").hex() == "000419000000"
    assert host.command(0x00AA, "24").hex() == "000419000000"

    again = restart(make_host, network, clock, path, options)
    again.command(0x0017, "0000")
    for value in ("23", "24"):
        counter = int.from_bytes(again.command(0x00AA, value)[2:], "little")
        assert 25 <= counter <= 25 + 10


def test_the_file_is_private_and_whole(
    tmp_path: Path, network: Any, clock: Any, make_host: Callable[[Ncp], Any]
) -> None:
    path = tmp_path / "dongle.json"
    restart(make_host, network, clock, path).form()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["dongle.json"]
    load(path.read_text())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "dongle.json"
    write_file(path, Store(eui64=1))
    old = path.read_text()
    with pytest.raises(OSError):
        write_file(tmp_path / "missing" / "dongle.json", Store(eui64=2))
    assert path.read_text() == old


def test_a_disk_that_fails_does_not_stop_the_dongle(
    tmp_path: Path, network: Any, clock: Any, make_host: Callable[[Ncp], Any], caplog: pytest.LogCaptureFixture
) -> None:
    host = restart(make_host, network, clock, tmp_path / "missing" / "dongle.json")
    host.form()
    assert "could not be written" in caplog.text


def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path: Path, network: Any) -> None:
    path = tmp_path / "dongle.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(PeerError, match=r"dongle\.json"):
        Ncp(network, None, path)
    assert path.read_bytes() == b"\xff\xfe{"


def test_no_key_is_shown() -> None:
    secret = bytes(range(0x60, 0x70))
    store = Store(eui64=1, security=StoredSecurity(0, secret, 0, secret, 0), key_table={0: LinkKey(5, secret)})
    assert repr(secret)[2:-1] not in repr(store)
    assert secret.hex() not in repr(store)


def test_each_blank_dongle_has_its_own_address(network: Any) -> None:
    assert Ncp(network).eui64 != Ncp(network).eui64
    assert Ncp(network).eui64 >> 40 == 0x000D6F
    assert Ncp(network, NcpOptions(seed=5)).eui64 == Ncp(network, NcpOptions(seed=5)).eui64
