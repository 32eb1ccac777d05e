"""The network file and the state file: strict reading, atomic private writing, a second run like the first."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer.errors import PeerError
from simulator.network import config, store
from simulator.network.device import COUNTER_BLOCK, Binding, Device, Membership
from simulator.network.device_kinds import ON_OFF
from simulator.network.foundation import Reporting
from simulator.network.radio import Conditions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    World = Any
    MakeWorld = Callable[..., Any]

LAMP, THERMOMETER, ATTACHED = 0x000D6F0000000001, 0x000D6F0000000002, 0x000D6F0000000010


def test_the_example_of_the_docstring_is_right() -> None:
    assert config.__doc__ is not None
    example = config.__doc__.split("::\n", 1)[1]
    file = config.load(example)
    assert [row.kind for row in file.devices] == ["lamp", "thermometer"]
    base = file.radio.over(Conditions())
    assert base == Conditions(loss=0.05, delay_min=0.002, delay_max=0.02)
    assert file.devices[1].radio.over(base).loss == 0.2
    assert file.devices[0].address == LAMP


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("devices: [", "YAML"),
        ("- lamp", "the file"),
        ("device: []", "device"),
        ("devices: [{kind: lamp}]", r"devices\.0\.eui64"),
        ('devices: [{eui64: "00:01", kind: lamp}]', r"devices\.0\.eui64"),
        ('devices: [{eui64: "00:0d:6f:00:00:00:00:01", kind: fridge}]', "lamp"),
        ('devices: [{eui64: "00:0d:6f:00:00:00:00:01", kind: lamp, color: red}]', "color"),
        ("radio: {loss: 2}", r"radio\.loss"),
        ("radio: {loss: 0.1, loss: 0.2}", "YAML"),
        (
            'devices: [{eui64: "00:0d:6f:00:00:00:00:aA", kind: lamp}, {eui64: "00:0D:6F:00:00:00:00:AA", kind: lamp}]',
            "same eui64",
        ),
        (
            'devices: [{eui64: "00:0d:6f:00:00:00:00:01", kind: lamp, name: a}, '
            '{eui64: "00:0d:6f:00:00:00:00:02", kind: lamp, name: a}]',
            "same name",
        ),
    ],
)
def test_wrong_network_files(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(text)
    with pytest.raises(PeerError, match=what) as caught:
        config.read(path)
    assert str(path) in str(caught.value)


def test_network_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(PeerError):
            config.read(path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(PeerError, match="UTF-8"):
        config.read(binary)
    assert config.load("") == config.NetworkFile()


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    try:
        config.load(text)
    except PeerError:
        pass
    with pytest.raises(PeerError):
        store.load(text)


def test_one_end_of_the_delay_moves_the_other() -> None:
    base = Conditions(delay_min=0.01, delay_max=0.02)
    assert config.RadioRow(delay_min=0.05).over(base) == Conditions(delay_min=0.05, delay_max=0.05)
    assert config.RadioRow(delay_max=0.005).over(base) == Conditions(delay_min=0.005, delay_max=0.005)
    assert config.RadioRow(delay_max=0.03).over(base) == Conditions(delay_min=0.01, delay_max=0.03)


def test_a_second_run_is_like_the_first(make_world: MakeWorld, tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    world = make_world(path=path)
    attached = world.network.add(
        Device(eui64=ATTACHED, kind="atls", router=False, mains=False, sleepy=True, poll_interval=3.0)
    )
    attached.device.endpoints[1] = world.station(LAMP).device.endpoints[1]  # anybody, so that it is powered
    world.network.seek(attached)
    world.form()
    attached.device.endpoints.clear()
    lamp = world.station(LAMP)
    world.send(LAMP, bytes.fromhex("11 01 01"))
    world.send(LAMP, bytes.fromhex("10 02 06 00 0000 10 0000 3c00"))
    world.run(1)
    lamp.device.bindings.append(Binding(1, ON_OFF, 0x000D6F0000000000, 1))
    world.population.save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bytes(range(16)).hex() not in path.read_text()  # the network key stays with the dongle

    again = make_world(path=path)
    again.network.start(again.coordinator, _parameters())
    again.run(1)
    assert again.coordinator.updates == []  # no device joins again
    for eui64 in (LAMP, THERMOMETER, ATTACHED):
        assert again.network.nwk_of(eui64) == world.network.nwk_of(eui64) is not None
    assert sorted(again.network.children()) == sorted(world.network.children())
    kept = again.station(LAMP).device
    assert kept.bindings == lamp.device.bindings
    assert kept.frame_counter >= lamp.device.frame_counter and kept.frame_counter % COUNTER_BLOCK == 0
    cluster = kept.endpoints[1].clusters[ON_OFF]
    assert cluster.attributes[0].value == 1
    row = cluster.reporting[0]
    assert (row.minimum, row.maximum, row.change) == (0, 60, 0) and isinstance(row, Reporting)
    assert again.station(ATTACHED).device.poll_interval == 3.0
    assert not again.network.on_air(again.station(ATTACHED).device)
    fate = again.send(LAMP, bytes.fromhex("11 01 00"))
    again.run(61)
    assert fate == [True]
    assert [aps.cluster for aps in again.coordinator.take()].count(ON_OFF) >= 2  # the change, and the period


def test_changes_are_written_soon(make_world: MakeWorld, tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    world = make_world(path=path)
    assert not path.exists()
    world.form()
    joined = {entry["eui64"]: entry["membership"] for entry in json.loads(path.read_text())["devices"]}
    assert joined == {LAMP: "joined", THERMOMETER: "joined"}
    world.network.leave(world.station(LAMP))
    world.run(0.3)
    assert store.read(path).devices[0].membership == "left"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_that_left_does_not_come_back_by_itself(make_world: MakeWorld, tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    world = make_world(path=path).form()
    world.network.leave(world.station(LAMP))
    world.population.save()
    again = make_world(path=path).form()
    assert again.station(LAMP).device.membership is Membership.LEFT


def test_the_network_file_rules(make_world: MakeWorld, tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    make_world(path=path).form().population.save()
    other = make_world('devices: [{eui64: "00:0d:6f:00:00:00:00:01", kind: thermometer}]', path=path)
    assert list(other.network.stations) == [LAMP]
    assert other.station(LAMP).device.membership is Membership.BLANK


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 2, "devices": []}',
        '{"format": 1, "devices": [{}]}',
        '{"format": 1, "devices": [], "more": 1}',
        "[" * 100_000,
    ],
)
def test_a_state_file_that_is_not_ours_is_left_alone(make_world: MakeWorld, tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.json"
    path.write_text(text)
    with pytest.raises(PeerError, match=r"devices\.json"):
        make_world(path=path)
    assert path.read_text() == text


def test_state_that_contradicts_itself(make_world: MakeWorld, tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    make_world(path=path).form().population.save()
    good = json.loads(path.read_text())
    for change in (
        {"nwk": None},
        {"nwk": good["devices"][1]["nwk"]},
        {"eui64": good["devices"][1]["eui64"]},
        {"membership": "left"},
    ):
        bad = json.loads(json.dumps(good))
        bad["devices"][0].update(change)
        with pytest.raises(PeerError):
            store.load(json.dumps(bad))


def test_a_full_disk_is_reported_and_survived(
    make_world: MakeWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gone" / "devices.json"
    world = make_world(path=path).form()
    world.population.save()
    assert "could not be written" in caplog.text and world.network.nwk_of(LAMP) is not None


def _parameters() -> Any:
    from simulator.air import NetworkParameters

    return NetworkParameters(
        pan_id=0x1A62,
        extended_pan_id=0x1122334455667788,
        channel=15,
        tx_power=8,
        nwk_update_id=0,
        coordinator_eui64=0x000D6F0000000000,
        network_key=bytes(range(16)),
    )
