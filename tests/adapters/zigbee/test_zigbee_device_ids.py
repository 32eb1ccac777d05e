"""A lamp is a lamp and a plug is an outlet by the device id of their endpoint; real devices as their interview says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.zigbee import device_ids
from adapters.zigbee.clusters import TABLE
from adapters.zigbee.device_model import Notes
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.model_builder import model_of
from gateway.api.model import PropertyAffordance
from simulator.network.device_kinds import KINDS

SWITCH = TABLE.of[0x0006][0].property
LAMP = replace(SWITCH, resource_type="urn:oma:lwm2m:ext:3311", entity="light")
OUTLET = replace(SWITCH, device_class="outlet")


@pytest.mark.parametrize(
    ("profile", "device_id", "known"),
    [
        (0x0104, 0x0100, LAMP),  # on/off light
        (0x0104, 0x0101, LAMP),  # dimmable light
        (0x0104, 0x010D, LAMP),  # extended colour light
        (0xC05E, 0x0000, LAMP),  # Light Link's on/off light
        (0xC05E, 0x0220, LAMP),
        (0x0104, 0x0051, OUTLET),  # smart plug
        (0x0104, 0x0009, OUTLET),  # mains power outlet
        (0x0104, 0x010A, OUTLET),  # on/off plug-in unit
        (0xC05E, 0x0010, OUTLET),
        (0x0104, 0x0000, SWITCH),  # on/off switch
        (0x0104, 0x0002, SWITCH),  # on/off output
        (0x0109, 0x0100, SWITCH),  # another profile's 0x0100
    ],
)
def test_what_an_endpoint_is_says_what_it_switches(profile: int, device_id: int, known: PropertyAffordance) -> None:
    endpoints = (
        Endpoint(number=1, profile=profile, device_id=device_id, in_clusters=(0, 6, 0x0402), out_clusters=()),
        Endpoint(number=2, profile=0x0104, device_id=0x0002, in_clusters=(6,), out_clusters=()),
    )
    device = Device(
        eui64="00:0d:6f:00:00:00:00:01", nwk=1, manufacturer="", model="", interviewed=True, sleepy=False, lqi=None,
        rssi=None, last_seen=None, endpoints=endpoints, tunnel_endpoints=(),
    )  # fmt: skip
    state, temperature, second = model_of(device, TABLE, Notes()).properties
    assert (state, temperature) == (known, TABLE.of[0x0402][0].property)
    assert second == replace(SWITCH, name="state_2", entity="switch" if known is LAMP else "switch_2")


@pytest.mark.parametrize("cluster", [0x0008, 0x0300])
def test_what_can_be_dimmed_or_coloured_is_a_light(cluster: int) -> None:
    assert device_ids.described(SWITCH, 0x0104, 0x0002, (6, cluster)) == LAMP


def test_the_virtual_devices_are_what_they_are_called() -> None:
    """And of no product's model, unless they are like it: a hub that knows products would make else of ``plug``."""
    kinds = {name: kind for name, kind in KINDS.items() if kind.endpoints}
    found = {name: {row.device_id for row in kind.endpoints} for name, kind in kinds.items()}
    assert found["lamp"] <= device_ids.LIGHTS[0x0104] and found["plug"] <= device_ids.OUTLETS[0x0104]
    assert found["switch"] == {0x0002} and found["thermometer"] == {0x0302}
    assert all(kind.model == (kind.product or f"virtual-{name}") for name, kind in kinds.items())
