"""Plugs, relays and wall switches of LUMI: Mijia and Aqara.

Power comes by itself as the present value of an Analog Input, on another endpoint; all else that is metered comes
in the list of Basic or of cluster 0xFCC0, about every five minutes. The presses of a wall switch are Multistate Inputs
on further endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from adapters.zigbee.cluster_mappings import AttributeMapping
from adapters.zigbee.families import energy
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.aqara import MAKER, device_temperature, own, setting, shown
from adapters.zigbee.makers.aqara_buttons import EVENTS_MODE, PRESSES, presses
from adapters.zigbee.makers.lumi_tags import BASIC, CODE, OWN, OWN_LIST, TagList
from carriage.zigbee.datatypes import BOOL, SINGLE, UINT8
from gateway.api.model import DataType, PropertyAffordance

_POWER: Final = shown(energy.ROWS, "power")
_MOST_WATTS: Final = 10_000


def _by_itself(endpoint: int) -> AttributeMapping:
    """The power as it changes. It is read once, for the first report may be long in coming."""
    return AttributeMapping(
        cluster=0x000C,
        attribute=0x0055,
        type=SINGLE,
        range=(0, _MOST_WATTS),
        digits=2,
        property=_POWER,
        endpoints=(endpoint,),
    )


def _metered(tags: TagList, *, counts: bool = True) -> tuple[AttributeMapping, ...]:
    """What the list has; not each model has all of it. ``counts``: energy and current are in kWh and mA."""
    found = [
        tags.row(0x98, _POWER, range=(0, _MOST_WATTS), digits=2, optional=True, endpoints=(1,)),
        tags.row(
            0x96,
            shown(energy.ROWS, "voltage"),
            range=(500, 5000),
            scale=Fraction(1, 10),
            digits=1,
            optional=True,
            endpoints=(1,),
        ),
        replace(device_temperature(tags), optional=True, endpoints=(1,)),
    ]
    if counts:
        found += [
            tags.row(
                0x95, shown(energy.ROWS, "energy"), range=(0, 1_000_000_000), digits=3, optional=True, endpoints=(1,)
            ),
            tags.row(
                0x97,
                shown(energy.ROWS, "current"),
                range=(0, 100_000),
                scale=Fraction(1, 1000),
                digits=3,
                optional=True,
                endpoints=(1,),
            ),
        ]
    return tuple(found)


def _switched(attribute: int, name: str, *, boolean: bool = True) -> AttributeMapping:
    """A setting that is on or off, of the whole device."""
    return own(
        attribute,
        BOOL if boolean else UINT8,
        PropertyAffordance(
            name=name, type=DataType.BOOLEAN, resource_type=ipso(3342), writable=True, category="config"
        ),
        optional=True,
        endpoints=(1,),
    )


_MEMORY: Final = _switched(0x0201, "power_outage_memory")
"""After a power cut it is as it was before."""
_FLIPPED: Final = _switched(0x00F0, "flip_indicator_light", boolean=False)
"""The light is on while the switch is off."""
_TYPE: Final = setting(0x000A, "switch_type", {1: "toggle", 2: "momentary"}, resource=3342)
_MODE: Final = setting(0x0200, "operation_mode", {0: "decoupled", 1: "control_relay"}, resource=3342)
"""Of each button: whether it switches its relay too."""
_PRESSES: Final = {1: "single", 2: "double"}
_SIDES: Final = {41: "_left", 42: "_right", 51: "_both"}
_HEIGHTS: Final = {41: "_top", 42: "_bottom", 51: "_both"}
_ITS_OWN_METERS: Final = (0x0702, 0x0B04)


def _metering(
    *models: str,
    rows: tuple[AttributeMapping, ...],
    without: tuple[int, ...] = (),
    buttons: Iterable[int] = (),
    **more: Any,
) -> MakerDevices:
    """A plug or relay. Some list a battery."""
    return MakerDevices(
        maker=MAKER,
        models=models,
        rows=rows,
        without=frozenset((0x0001, 0x000C, PRESSES, *without)),
        codes=frozenset((CODE,)),
        unlisted={1: (OWN,), **dict.fromkeys(buttons, (PRESSES,))},
        **more,
    )


def _wall_switch(*models: str, power: bool, buttons: dict[int, str], without: tuple[int, ...] = ()) -> MakerDevices:
    metered = (*_metered(OWN_LIST), _by_itself(21)) if power else (device_temperature(OWN_LIST),)
    return _metering(
        *models,
        rows=(*metered, _MODE, _MEMORY, _FLIPPED),
        reported_events=(presses(_PRESSES, buttons),),
        settings=(EVENTS_MODE,),
        buttons=buttons,
        without=without,
    )


DEVICES: Final = (
    _metering("lumi.plug", rows=(*_metered(BASIC), _by_itself(2)), without=_ITS_OWN_METERS),
    _metering(
        "lumi.plug.mitw01",
        "lumi.plug.maus01",
        rows=(*_metered(OWN_LIST), *_metered(BASIC), _by_itself(2)),
        without=_ITS_OWN_METERS,
    ),
    # Their newer firmware has the standard's meters and no Analog Input.
    _metering(
        "lumi.plug.mmeu01",
        "lumi.plug.maeu01",
        rows=(*_metered(OWN_LIST), _by_itself(21), _MEMORY),
        settings=(EVENTS_MODE,),
    ),
    _metering(  # the units of its energy and current are disputed
        "lumi.relay.c2acn01", rows=(*_metered(BASIC, counts=False), _by_itself(1)), without=_ITS_OWN_METERS
    ),
    _metering(
        "lumi.switch.n0agl1",
        "lumi.switch.n0acn2",
        rows=(*_metered(OWN_LIST), _by_itself(21), _MEMORY, _TYPE),
        without=_ITS_OWN_METERS,
    ),
    _wall_switch("lumi.switch.n1aeu1", power=True, buttons={41: ""}),
    _wall_switch("lumi.switch.n2aeu1", power=True, buttons=_SIDES),
    _wall_switch("lumi.switch.l1aeu1", power=False, buttons={41: ""}),
    _wall_switch("lumi.switch.l2aeu1", power=False, buttons=_SIDES),
    _wall_switch("lumi.switch.b1naus01", power=True, buttons={41: ""}, without=_ITS_OWN_METERS),
    _wall_switch("lumi.switch.b2naus01", power=True, buttons=_HEIGHTS, without=_ITS_OWN_METERS),
)
