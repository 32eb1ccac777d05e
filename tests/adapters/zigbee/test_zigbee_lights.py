"""Lamps over the virtual dongle, table-driven: what they report, what a write sends, what an action sends."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.families.colours import hue_and_saturation_of, xy_of
from gateway.api.model import InvokeAction, Join, Outcome, Reading, ReadProperties, Reason, WriteProperties
from gateway.api.schema import fits
from simulator.network.datatypes import BITMAP8, BITMAP16, ENUM8, UINT8, UINT16
from simulator.network.device_kinds import temperature
from simulator.network.foundation import Attribute, ClusterServer, make_cluster
from tests.adapters.zigbee.device_commands import IDENTITY
from tests.harness.zcl_asked import EUI64, Asked
from tests.harness.zcl_device import ZclDevice, settled

ON_OFF, LEVEL, COLOR, IDENTIFY = 0x0006, 0x0008, 0x0300, 0x0003
ALL = 0x1F
"""Capabilities: hue and saturation, enhanced hue, colour loop, x and y, temperature."""


def taking(*commands: int) -> dict[int, Any]:
    """Commands that a lamp takes, and that change nothing here: their frames are what the tests look at."""
    return dict.fromkeys(commands, lambda server, payload: None)


def switch() -> ClusterServer:
    return make_cluster(
        ON_OFF,
        [
            Attribute(0x0000, UINT8, 0, reportable=True),
            Attribute(0x4001, UINT16, 0, writable=True),
            Attribute(0x4002, UINT16, 0, writable=True),
            Attribute(0x4003, ENUM8, 0xFF, writable=True),
        ],
        taking(0x00, 0x01, 0x02, 0x42),
    )


def level() -> ClusterServer:
    return make_cluster(LEVEL, [Attribute(0x0000, UINT8, 100, reportable=True)], taking(*range(8)))


def color(capabilities: int | None, *, options: bool = False, limits: tuple[int, int] | None = (158, 495)) -> Any:
    """A lamp's colour. Of those without capabilities some have one way and some another: this one has x and y."""
    has = ALL if capabilities is None else capabilities
    rows = [Attribute(0x0008, ENUM8, 1)]
    if has & 1 and capabilities is not None:
        rows += [Attribute(0x0000, UINT8, 127, reportable=True), Attribute(0x0001, UINT8, 254, reportable=True)]
    if has & 2 and capabilities is not None:
        rows += [Attribute(0x4000, UINT16, 0x8000, reportable=True)]
    if has & 8:
        rows += [Attribute(0x0003, UINT16, 0x8000, reportable=True), Attribute(0x0004, UINT16, 0x4000, reportable=True)]
    if has & 16:
        rows += [Attribute(0x0007, UINT16, 250, reportable=True)]
        if limits is not None:
            rows += [Attribute(0x400B, UINT16, limits[0]), Attribute(0x400C, UINT16, limits[1])]
    if capabilities is not None:
        rows.append(Attribute(0x400A, BITMAP16, capabilities))
    if options:
        rows.append(Attribute(0x000F, BITMAP8, 0, writable=True))
    return make_cluster(COLOR, rows, taking(*range(8), 0x0A, *range(0x40, 0x4D)))


async def lamp(world: Any, gateway: Any, *clusters: ClusterServer) -> tuple[ZclDevice, Asked]:
    clusters = (make_cluster(IDENTIFY, [], taking(0x00, 0x40)), make_cluster(0x0004, []), *clusters)
    device = ZclDevice(EUI64 + len(world.devices), *clusters)
    await device.attach(world.socket)
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    device.asked.clear()
    asked = Asked(gateway, device)
    asked._next = 1000 * len(world.devices)
    return device, asked


def frames(device: ZclDevice) -> list[tuple[int, int, str]]:
    return [(cluster, frame.command, frame.payload.hex()) for cluster, frame in device.asked if frame.cluster_specific]


async def wrote(asked: Asked, device: ZclDevice, values: dict[str, Any]) -> tuple[Any, list[tuple[int, int, str]], Any]:
    """The receipt of a write, its frames, and what is known of the lamp then."""
    device.asked.clear()
    asked.heard = len(asked.gateway.context.of(Reading))
    receipt = await asked.does(WriteProperties, values=values)
    return receipt, frames(device), asked.reported()


XY = {"x": 0.5, "y": 0.25}
XY_HS = dict(zip(("hue", "saturation"), hue_and_saturation_of(0.5, 0.25), strict=True))
BLUE = dict(zip(("x", "y"), xy_of(240, 100), strict=True))
BLUE_XY = "".join(round(each * 0x10000).to_bytes(2, "little").hex() for each in xy_of(240, 100))
XY_ON_HS = bytes((round(XY_HS["hue"] * 254 / 360), round(XY_HS["saturation"] * 2.54))).hex()

WRITES: list[tuple[dict[str, Any], list[tuple[int, int, str]], dict[str, Any]]] = [
    # x and y, which this lamp shows as a hue too
    ({"color": XY}, [(COLOR, 0x07, "008000400000")], {"color": XY | XY_HS, "color_mode": "xy"}),
    ({"color": XY, "transition": 2}, [(COLOR, 0x07, "008000401400")], {"color": XY | XY_HS, "color_mode": "xy"}),
    ({"color": {"x": 1, "y": 0}}, [(COLOR, 0x07, "fffe00000000")], {"color_mode": "xy"}),
    # hue and saturation, with the enhanced hue; one of them alone leaves the other
    (
        {"color": {"hue": 240, "saturation": 100}, "transition": 0.5},
        [(COLOR, 0x43, "abaafe0500")],
        {"color": {"hue": 240, "saturation": 100} | BLUE, "color_mode": "hs"},
    ),
    (
        {"color": {"hue": 360}},
        [(COLOR, 0x40, "ffff000000")],
        {"color": {"hue": 360, "saturation": 100} | BLUE, "color_mode": "hs"},
    ),
    (
        {"color": {"saturation": 50}},
        [(COLOR, 0x03, "7f0000")],
        {"color": {"hue": 360, "saturation": 50} | BLUE, "color_mode": "hs"},
    ),
    # temperature; beyond the lamp's limits it is the nearest
    ({"color_temp": 250}, [(COLOR, 0x0A, "fa000000")], {"color_temp": 250, "color_mode": "color_temp"}),
    (
        {"color_temp": 111, "transition": 1},
        [(COLOR, 0x0A, "9e000a00")],
        {"color_temp": 158, "color_mode": "color_temp"},
    ),
    ({"color_temp": 900}, [(COLOR, 0x0A, "ef010000")], {"color_temp": 495, "color_mode": "color_temp"}),
    # on first, then the colour; the colour first, then off
    (
        {"color": XY, "brightness": 200, "state": True, "transition": 3},
        [(LEVEL, 0x04, "c81e00"), (COLOR, 0x07, "008000401e00")],
        {"state": True, "brightness": 200, "color": XY | XY_HS, "color_mode": "xy"},
    ),
    (
        {"color_temp": 300, "state": True},
        [(ON_OFF, 0x01, ""), (COLOR, 0x0A, "2c010000")],
        {"state": True, "color_temp": 300, "color_mode": "color_temp"},
    ),
    (
        {"state": False, "color_temp": 300},
        [(COLOR, 0x0A, "2c010000"), (ON_OFF, 0x00, "")],
        {"state": False, "color_temp": 300, "color_mode": "color_temp"},
    ),
    (
        {"state": False, "color_temp": 300, "transition": 1},
        [(COLOR, 0x0A, "2c010a00"), (LEVEL, 0x04, "000a00")],
        {"state": False, "color_temp": 300, "color_mode": "color_temp"},
    ),
    # on for a time
    ({"state": True, "on_time": 5}, [(ON_OFF, 0x42, "0032000000")], {"state": True}),
    ({"state": True, "on_time": 5, "off_wait_time": 0.3}, [(ON_OFF, 0x42, "0032000300")], {"state": True}),
    ({"state": False, "on_time": 5}, [(ON_OFF, 0x00, "")], {"state": False}),
    (
        {"state": True, "brightness": 9, "on_time": 5},
        [(ON_OFF, 0x42, "0032000000"), (LEVEL, 0x04, "09ffff")],
        {"state": True, "brightness": 9},
    ),
]  # fmt: skip
REFUSED: list[dict[str, Any]] = [
    {"color": {}},
    {"color": {"x": 0.5}},
    {"color": {"x": 0.5, "y": 1.5}},
    {"color": {"x": 0.5, "y": -0.1}},
    {"color": {"x": True, "y": 0.1}},
    {"color": {"x": "red", "y": 0.1}},
    {"color": {"hue": 361}},
    {"color": {"red": 1}},
    {"color": "red"},
    {"color_temp": "warm"},
    {"color_mode": "xy"},
    {"power_on_behavior": "maybe"},
]


async def test_what_a_write_sends_and_what_the_lamp_is_then(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await lamp(world, gateway, switch(), level(), color(ALL))
        for values, sent, became in WRITES:
            receipt, found, known = await wrote(asked, device, values)
            assert (receipt.outcome, found) == (Outcome.DELIVERED, sent), values
            assert {name: known[name] for name in became} == became and known.keys() - {"color"} <= became.keys(), (
                values
            )
        for values in REFUSED:
            receipt, found, known = await wrote(asked, device, values)
            assert (receipt.reason, found, known) == (Reason.CONTENT, [], {}), values
        assert (await asked.does(WriteProperties, values={"power_on_behavior": "toggle"})).outcome is Outcome.DELIVERED
        assert device.clusters[ON_OFF].attributes[0x4003].value == 2
        assert asked.reported() == {"power_on_behavior": "toggle"}


@pytest.mark.parametrize(("had", "then"), [(77, 77), (1, 1), (0, 254), (None, 254)])
async def test_a_lamp_comes_on_slowly_to_the_level_that_it_had(world: Any, had: int | None, then: int) -> None:
    """Move to Level needs a level: the lamp is asked, and if it has none to say it is the highest."""
    async with world.gateway() as gateway:
        device, asked = await lamp(world, gateway, switch(), level())
        if had is None:
            del device.clusters[LEVEL].attributes[0x0000]
        else:
            device.clusters[LEVEL].attributes[0x0000].value = had
        receipt, found, known = await wrote(asked, device, {"state": True, "transition": 2})
        assert [(each.name, each.outcome) for each in receipt.properties] == [
            ("state", Outcome.DELIVERED), ("transition", Outcome.DELIVERED),
        ]  # fmt: skip
        assert found == [(LEVEL, 0x04, f"{then:02x}1400")]
        assert known == {"state": True, "brightness": then}
        receipt, found, _ = await wrote(asked, device, {"state": False, "transition": 2})
        assert (receipt.outcome, found) == (Outcome.DELIVERED, [(LEVEL, 0x04, "001400")])


async def test_a_lamp_that_says_nothing_when_it_is_asked_is_not_switched(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await lamp(world, gateway, switch(), level())
        device.answer = lambda at, frame, own: None
        receipt, found, _ = await wrote(asked, device, {"state": True, "transition": 2})
        assert (receipt.outcome, receipt.reason, found) == (Outcome.DROPPED, Reason.UNREACHABLE, [])


OTHERS: list[tuple[Any, dict[str, Any], list[tuple[int, int, str]], dict[str, Any]]] = [
    # hue and saturation of the older kind, x and y not at all: they are made a hue
    (color(1), {"color": {"hue": 120, "saturation": 50}}, [(COLOR, 0x06, "557f0000")], {"hue": 120, "saturation": 50}),
    (color(1), {"color": {"hue": 120}}, [(COLOR, 0x00, "55000000")], {"hue": 120, "saturation": 100.0}),
    (color(1), {"color": XY}, [(COLOR, 0x06, f"{XY_ON_HS}0000")], XY_HS),
    # x and y only: a hue is made a point
    (color(8), {"color": {"hue": 240, "saturation": 100}}, [(COLOR, 0x07, f"{BLUE_XY}0000")], BLUE),
    (color(8), {"color": {"hue": 240}}, [], {}),
    # no word of capabilities: x and y
    (color(None), {"color": XY}, [(COLOR, 0x07, "008000400000")], XY),
    # a lamp with Options takes a colour while it is off
    (color(8, options=True), {"color": XY}, [(COLOR, 0x07, "0080004000000101")], XY),
]


async def test_a_lamp_is_set_by_what_it_has(world: Any) -> None:
    async with world.gateway() as gateway:
        for server, values, sent, became in OTHERS:
            device, asked = await lamp(world, gateway, server)
            receipt, found, known = await wrote(asked, device, values)
            assert (found, known.get("color", {})) == (sent, became), values
            assert (receipt.outcome is Outcome.DELIVERED) is bool(sent), values


POINT = {"x": 0.5, "y": 0.25}
HUE = {"hue": 180.0, "saturation": 100.0}
PROPERTIES: list[tuple[Any, dict[str, Any], tuple[float, float] | None]] = [
    (color(ALL), {"color": POINT | HUE, "color_temp": 250, "color_mode": "xy"}, (158, 495)),
    (color(1), {"color": HUE, "color_mode": "xy"}, None),
    (color(8), {"color": POINT, "color_mode": "xy"}, None),
    (color(16, limits=(0, 0xFFFF)), {"color_temp": 250, "color_mode": "xy"}, (153, 500)),
    (color(16, limits=None), {"color_temp": 250, "color_mode": "xy"}, (153, 500)),
    (color(16, limits=(400, 200)), {"color_temp": 250, "color_mode": "xy"}, (153, 500)),
    (color(None), {"color": POINT, "color_temp": 250, "color_mode": "xy"}, (158, 495)),
]


async def test_a_lamp_has_the_properties_of_its_capabilities(world: Any) -> None:
    async with world.gateway() as gateway:
        for server, values, limits in PROPERTIES:
            before = len(gateway.context.of(Reading))
            device, asked = await lamp(world, gateway, server)
            properties = gateway.context.of(Join)[-1].properties
            assert [each.name for each in properties] == [*values, "transition"]
            assert {each.entity for each in properties} == {"light"}
            (bounds,) = [(one.minimum, one.maximum) for one in properties if one.name == "color_temp"] or [None]
            assert bounds == limits
            assert {
                name: value for each in gateway.context.of(Reading)[before:] for name, value in each.values
            } == values
            receipt = await asked.does(ReadProperties, names=tuple(values))
            assert [each.value for each in receipt.properties] == list(values.values())
            assert len([frame for at, frame in device.asked if at == COLOR]) == 1  # one frame for all of it


def up_down(name: str, of: str, size: int, command: int, up: int, down: int, tail: str = "") -> list[Any]:
    """A step or a move by 20, up and down."""
    number = (20).to_bytes(size, "little").hex()
    return [
        (name, {of: amount}, (COLOR, command, f"{way:02x}{number}{tail}")) for amount, way in ((20, up), (-20, down))
    ]


ACTIONS: list[tuple[str, Any, tuple[int, int, str]]] = [
    ("toggle", None, (ON_OFF, 0x02, "")),
    ("brightness_step", {"step": 20}, (LEVEL, 0x02, "0014ffff")),
    ("brightness_step", {"step": -20, "transition": 1}, (LEVEL, 0x02, "01140a00")),
    ("brightness_step_onoff", {"step": -254}, (LEVEL, 0x06, "01feffff")),
    ("brightness_move", {"rate": 40}, (LEVEL, 0x01, "0028")),
    ("brightness_move", {"rate": -40}, (LEVEL, 0x01, "0128")),
    ("brightness_move", {"rate": 0}, (LEVEL, 0x03, "")),
    ("brightness_move_onoff", {"rate": 40}, (LEVEL, 0x05, "0028")),
    ("brightness_move_onoff", {"rate": 0}, (LEVEL, 0x07, "")),
    *up_down("hue_step", "step", 1, 0x02, 1, 3, "00"),
    ("hue_step", {"step": 20, "transition": 1000}, (COLOR, 0x02, "0114ff")),
    *up_down("hue_move", "rate", 1, 0x01, 1, 3),
    ("hue_move", {"rate": 0}, (COLOR, 0x01, "0000")),
    *up_down("saturation_step", "step", 1, 0x05, 1, 3, "00"),
    *up_down("saturation_move", "rate", 1, 0x04, 1, 3),
    *up_down("color_temp_step", "step", 2, 0x4C, 1, 3, "000000000000"),
    ("color_temp_step", {"step": 5, "transition": 2}, (COLOR, 0x4C, "010500140000000000")),
    *up_down("color_temp_move", "rate", 2, 0x4B, 1, 3, "00000000"),
    ("color_temp_move", {"rate": 0}, (COLOR, 0x4B, "00000000000000")),
    ("color_loop", {"active": True}, (COLOR, 0x44, "03020100000000")),
    ("color_loop", {"active": True, "direction": "down", "time": 30}, (COLOR, 0x44, "0702001e000000")),
    ("color_loop", {"active": False}, (COLOR, 0x44, "01000000000000")),
    ("identify", {"duration": 5}, (IDENTIFY, 0x00, "0500")),
    *(
        ("effect", {"effect": word}, (IDENTIFY, 0x40, f"{number:02x}00"))
        for word, number in (
            ("blink", 0), ("breathe", 1), ("okay", 2), ("channel_change", 11), ("finish_effect", 254),
            ("stop_effect", 255),
        )
    ),
]  # fmt: skip


async def test_what_an_action_sends(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await lamp(world, gateway, switch(), level(), color(ALL))
        offered = {each.name: each for each in gateway.context.of(Join)[-1].actions}
        assert offered.keys() == {name for name, _, _ in ACTIONS}
        for name, given, frame in ACTIONS:
            schema = offered[name].input
            assert given is None if schema is None else fits(schema, given), name
            device.asked.clear()
            receipt = await asked.does(InvokeAction, name=name, input=given)
            assert (receipt.outcome, frames(device)) == (Outcome.DELIVERED, [frame]), (name, given)
        for name, schema in ((each.name, each.input) for each in offered.values()):
            if schema is not None:
                (bare,) = schema.required  # a bare value stands for it
                assert not fits(schema, {}) and not fits(schema, {bare: [1]}), name
                for given in (None, {}, {bare: "x"}, {bare: 10**9}):
                    device.asked.clear()
                    if name != "color_loop":
                        receipt = await asked.does(InvokeAction, name=name, input=given)
                        assert (receipt.reason, device.asked) == (Reason.CONTENT, []), (name, given)


async def test_an_action_is_offered_by_what_can_do_it(world: Any) -> None:
    async with world.gateway() as gateway:
        for clusters, names in (
            ((temperature(IDENTITY),), {"identify"}),
            ((color(8),), {"identify", "effect"}),
            ((color(0),), {"identify", "effect"}),
            ((color(16),), {"identify", "effect", "color_temp_step", "color_temp_move"}),
        ):
            await lamp(world, gateway, *clusters)
            assert {each.name for each in gateway.context.of(Join)[-1].actions} == names


REPORTS: list[tuple[int, str, dict[str, Any]]] = [
    (COLOR, "0300 21 00c0  0400 21 0020", {"color": {"x": 0.75, "y": 0.125} | HUE}),
    (COLOR, "0300 21 0040", {"color": {"x": 0.25, "y": 0.125} | HUE}),
    (COLOR, "0300 21 ffff", {"color": {"y": 0.125} | HUE}),  # invalid
    (COLOR, "0300 21 00ff", {"color": {"y": 0.125} | HUE}),  # out of range
    (COLOR, "0300 29 0040", {"color": {"x": 0.25, "y": 0.125} | HUE}),  # another type that can carry it
    (COLOR, "0300 42 0161", {}),  # one that can't
    (COLOR, "0040 21 0040  0100 20 00", {"color": {"x": 0.25, "y": 0.125, "hue": 90.0, "saturation": 0.0}}),
    (COLOR, "0700 21 2c01", {"color_temp": 300}),
    (COLOR, "0700 21 0000", {"color_temp": None}),
    (COLOR, "0700 21 ffff", {"color_temp": None}),
    (COLOR, "0800 30 00", {"color_mode": "hs"}),
    (COLOR, "0800 30 02", {"color_mode": "color_temp"}),
    (COLOR, "0800 30 07", {"color_mode": None}),
    (LEVEL, "0000 20 ff", {"brightness": None}),
    (LEVEL, "0000 20 07", {"brightness": 7}),
    (ON_OFF, "0340 30 01", {"power_on_behavior": "on"}),
    (ON_OFF, "0340 30 05", {"power_on_behavior": None}),
]


async def test_what_a_report_is(world: Any) -> None:
    """A transition's values in between among them: each report is one reading, in its order, and none is made up."""
    async with world.gateway() as gateway:
        device, asked = await lamp(world, gateway, switch(), level(), color(ALL))
        for cluster, payload, values in REPORTS:
            asked.heard = len(gateway.context.of(Reading))
            device.report(cluster, payload)
            device.report(LEVEL, "0000 20 63")
            await gateway.until(lambda: asked.reported().get("brightness") == 99)
            found = [dict(each.values) for each in gateway.context.of(Reading)[asked.heard :]]
            assert found == [*([values] if values else []), {"brightness": 99}], payload


async def test_reports_of_a_transition_come_one_by_one_behind_what_was_set(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await lamp(world, gateway, switch(), level(), color(ALL))
        await asked.does(WriteProperties, values={"brightness": 200, "transition": 2})
        for step in (120, 160, 200):
            device.report(LEVEL, bytes((0, 0, 0x20, step)))
        await gateway.until(lambda: len(gateway.context.of(Reading)) >= asked.heard + 4)
        levels = [
            value
            for each in gateway.context.of(Reading)[asked.heard :]
            for name, value in each.values
            if name == "brightness"
        ]
        assert levels == [200, 120, 160, 200]


async def test_a_lamp_has_the_same_properties_after_a_restart_from_the_first_join_on(world: Any) -> None:
    """Its optional attributes, capabilities and limits are in the first Join already: nothing comes and goes."""
    async with world.gateway() as gateway:
        device, _ = await lamp(world, gateway, switch(), level(), color(ALL))
        names = [each.name for each in gateway.context.of(Join)[-1].properties]
        assert {"power_on_behavior", "on_time", "color", "color_temp"} <= set(names)
        told = {name for each in gateway.context.of(Reading) for name, _ in each.values}
        assert told == set(names) - {"on_time", "off_wait_time", "transition"}  # which are only set
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        await settled(gateway, device)
        assert [[each.name for each in join.properties] for join in gateway.context.of(Join)] == [names]


def test_colours_of_one_way_are_those_of_the_other() -> None:
    assert xy_of(0, 100) == pytest.approx((0.7006, 0.2993), abs=1e-4)  # the red primary
    assert xy_of(0, 0) == pytest.approx((0.3227, 0.3290), abs=1e-4)  # D65
    for hue in range(0, 360, 7):
        for saturation in (20, 55, 100):
            back = hue_and_saturation_of(*xy_of(hue, saturation))
            assert abs((back[0] - hue + 180) % 360 - 180) < 1.5 and abs(back[1] - saturation) < 1, (hue, saturation)
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1), (0.3, 0.6)):
        hue, saturation = hue_and_saturation_of(x, y)
        assert 0 <= hue < 360 and 0 <= saturation <= 100
