"""Device ids of endpoints: whether the On/Off property is a lamp's, an outlet's, or nothing in particular. Pure.

Source: ZigBee Home Automation profile 1.2 (05-3520-29), table 5.1, and ZigBee Light Link 1.0 (11-0037-10), table 2.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from gateway.api.model import DataType, PropertyAffordance

HOME_AUTOMATION: Final = 0x0104
LIGHT_LINK: Final = 0xC05E
LIGHT_CONTROL: Final = "urn:oma:lwm2m:ext:3311"
OUTLET: Final = "outlet"
SWITCH: Final = "switch"
LIGHT: Final = "light"
DIMMED: Final = frozenset({0x0008, 0x0300})
"""Level Control and Color Control: the switch beside them is a light's."""

LIGHTS: Final = {
    # on/off, dimmable, colour dimmable, on/off ballast, dimmable ballast, colour temperature, extended colour
    HOME_AUTOMATION: frozenset({0x0100, 0x0101, 0x0102, 0x0108, 0x0109, 0x010C, 0x010D}),
    # on/off, dimmable, colour, extended colour, colour temperature
    LIGHT_LINK: frozenset({0x0000, 0x0100, 0x0200, 0x0210, 0x0220}),
}
OUTLETS: Final = {
    # mains power outlet, smart plug, on/off plug-in unit, dimmable plug-in unit
    HOME_AUTOMATION: frozenset({0x0009, 0x0051, 0x010A, 0x010B}),
    # on/off plug-in unit, dimmable plug-in unit
    LIGHT_LINK: frozenset({0x0010, 0x0110}),
}
_NONE: Final[frozenset[int]] = frozenset()


def described(known: PropertyAffordance, profile: int, device_id: int, clusters: Collection[int]) -> PropertyAffordance:
    """A switch of an endpoint with this device id and these clusters, as what it switches says."""
    if known.entity != SWITCH:
        return known
    entity = entity_of(SWITCH, profile, device_id, clusters)
    if known.type is not DataType.BOOLEAN:
        return replace(known, entity=entity)
    if device_id in OUTLETS.get(profile, _NONE):
        return replace(known, device_class=OUTLET, entity=entity)
    return known if entity == SWITCH else replace(known, resource_type=LIGHT_CONTROL, entity=entity)


def entity_of(entity: str, profile: int, device_id: int, clusters: Collection[int]) -> str:
    """``light`` for the switch of a lamp, or of what can be dimmed; any other entity as it is."""
    if entity != SWITCH:
        return entity
    return LIGHT if device_id in LIGHTS.get(profile, _NONE) or not DIMMED.isdisjoint(clusters) else SWITCH
