"""Alarms: IAS Zone, 0x0500, IAS ACE, 0x0501, and IAS WD, 0x0502 (ZCL8, 8.2 to 8.4).

A zone's kind is an attribute that never changes: by it the alarm is a contact, smoke, water. The status comes as an
attribute and, unasked, as a command. A zone tells it only to whom it is enrolled with: three requests of the setup do
that in whichever order the device needs. The address for alarms is written (some then ask to be enrolled, which is
answered), an answer is sent unasked (some wait for it), and the state is read back, which some never show and some
refuse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Happening,
    Particulars,
    SetupMapping,
    WriteMapping,
    plain,
)
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.families.payloads import first, word
from adapters.zigbee.transaction import Content
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import MAP16, TYPES, UINT16, Value
from carriage.zigbee.foundation import General
from gateway.api.errors import PeerError
from gateway.api.model import ActionAffordance, DataSchema, DataType, EventAffordance, PropertyAffordance
from gateway.api.model import Value as PropertyValue
from layer.errors import UsageError

ZONE: Final = 0x0500
ACE: Final = 0x0501
WARNING: Final = 0x0502
ZONE_ID: Final = 23
"""The number by which a zone is enrolled; any would do."""

# What a zone says ---------------------------------------------------------------------------------------------------

_ZONE_BITS: Final = (
    "alarm_1", "alarm_2", "tamper", "battery_low", "supervision", "restore", "trouble", "mains_fault", "test",
    "battery_defect",
)  # fmt: skip
"""Bits of ZoneStatus from the lowest (ZCL8, 8.2.2.2.1.3)."""
_BOOLEAN: Final = DataSchema(type=DataType.BOOLEAN)
_ZONE_TYPE: Final = 0x0001


def _zone(payload: bytes) -> Happening:
    """Zone Status Change Notification (ZCL8, 8.2.2.4.1)."""
    status = word(first(payload, 2))
    return "zone_status", {name: bool(status >> bit & 1) for bit, name in enumerate(_ZONE_BITS)}


def _zone_status(payload: bytes) -> Iterable[tuple[int, int, Value]]:
    return ((0x0002, MAP16.id, word(first(payload, 2))),)


def _enrolled(payload: bytes, waits: bool) -> tuple[int, bytes]:
    """Zone Enroll Response (ZCL8, 8.2.2.3.1) to a Zone Enroll Request (8.2.2.4.2: zone type, manufacturer)."""
    first(payload, 4)
    return 0x00, _ENROLL_RESPONSE


_ENROLL_RESPONSE: Final = bytes((0x00, ZONE_ID))


def _status(
    name: str, mask: int, device_class: str, resource: int, *, category: str = "", inverted: bool = False
) -> AttributeMapping:
    """Some bits of the zone's status as a property."""
    return AttributeMapping(
        cluster=ZONE,
        attribute=0x0002,
        type=MAP16,
        mask=mask,
        inverted=inverted,
        property=PropertyAffordance(
            name=name,
            type=DataType.BOOLEAN,
            resource_type=ipso(resource),
            device_class=device_class,
            category=category,
            lifetime=90_000.0,
        ),
        needs=(_ZONE_TYPE,),
    )


def _of_kinds(row: AttributeMapping, *kinds: int) -> AttributeMapping:
    def adapt(own: AttributeMapping, known: Particulars) -> AttributeMapping | None:
        return own if known.constants.get(_ZONE_TYPE) in kinds else None

    return replace(row, adapt=adapt)


_ALARM_1, _ALARMS, _TAMPER, _BATTERY = 0x0001, 0x0003, 0x0004, 0x0008
_KINDS: Final = {
    (0x000D,): _status("occupancy", _ALARMS, "occupancy", 3302),  # motion sensor
    # contact switch, door or window handle: closed is no alarm
    (0x0015, 0x0016): _status("contact", _ALARM_1, "door", 3300, inverted=True),
    (0x0028,): _status("smoke", _ALARM_1, "smoke", 3300),  # fire sensor
    (0x002A,): _status("water_leak", _ALARM_1, "moisture", 3300),
    (0x002B,): _status("carbon_monoxide", _ALARM_1, "carbon_monoxide", 3300),
    (0x002C,): _status("sos", _ALARM_1, "safety", 3300),  # personal emergency device
    (0x002D,): _status("vibration", _ALARM_1, "vibration", 3300),
    (0x0226,): _status("glass_break", _ALARM_1, "safety", 3300),
}
"""By zone types (ZCL8, table 8-5) the property that the alarm is."""
_KNOWN: Final = frozenset(kind for kinds in _KINDS for kind in kinds)


def _of_no_kind(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
    return None if known.constants.get(_ZONE_TYPE) in _KNOWN else row


# Keypads and key fobs -----------------------------------------------------------------------------------------------

_ARM: Final = ("disarm", "arm_day_zones", "arm_night_zones", "arm_all_zones")
_ARMED: Final = DataSchema(
    type=DataType.OBJECT,
    fields=(("code", DataSchema(type=DataType.STRING)), ("zone", DataSchema(type=DataType.INTEGER))),
)


def _armed(payload: bytes) -> Happening:
    """Arm (ZCL8, 8.3.2.3.1): mode, a code as a string, a zone id."""
    mode, length = first(payload, 2)
    if mode >= len(_ARM):
        raise PeerError("a mode of arming that is none")
    length = 0 if length == 0xFF else length
    data: dict[str, PropertyValue] = {}
    if code := first(payload, 2 + length)[2:].decode(errors="replace"):
        data["code"] = code
    if len(payload) > 2 + length:
        data["zone"] = payload[2 + length]
    return _ARM[mode], data


def _arm_response(payload: bytes, waits: bool) -> tuple[int, bytes]:
    """Arm Response (ZCL8, 8.3.2.4.1): the notification has the numbers of the modes."""
    return 0x00, first(payload, 1)


# Sirens -------------------------------------------------------------------------------------------------------------

MODES: Final = ("stop", "burglar", "fire", "emergency", "police_panic", "fire_panic", "emergency_panic")
LEVELS: Final = ("low", "medium", "high", "very_high")
SQUAWKS: Final = ("system_is_armed", "system_is_disarmed")
_LEVEL: Final = DataSchema(type=DataType.STRING, enum=LEVELS)
_DEFAULT_DURATION: Final = 10


def _of(given: PropertyValue | None) -> dict[str, PropertyValue]:
    if not isinstance(given, dict):
        raise UsageError("expected an object")
    return given


def _index(words: tuple[str, ...], given: PropertyValue | None, usual: int) -> int:
    return words.index(given) if isinstance(given, str) else usual


def _warning(given: PropertyValue | None) -> bytes:
    """Start Warning (ZCL8, 8.4.2.3.1): mode, strobe and level in one octet; seconds; the strobe's duty cycle, level."""
    wanted = _of(given)
    mode = _index(MODES, wanted.get("mode"), 0)
    strobe = bool(wanted.get("strobe", mode != 0))
    duration = wanted.get("duration", _DEFAULT_DURATION if mode else 0)
    duty = wanted.get("strobe_duty_cycle", 5 if strobe else 0)  # tenths of ten of its time
    assert isinstance(duration, int) and isinstance(duty, int)  # by the schema
    head = mode << 4 | strobe << 2 | _index(LEVELS, wanted.get("level"), 3 if mode else 0)
    level = _index(LEVELS, wanted.get("strobe_level"), 1)
    return bytes((head,)) + duration.to_bytes(2, "little") + bytes((duty * 10, level))


def _squawk(given: PropertyValue | None) -> bytes:
    """Squawk (ZCL8, 8.4.2.3.2): mode, strobe and level in one octet."""
    wanted = _of(given)
    strobe = bool(wanted.get("strobe", False))
    level = _index(LEVELS, wanted.get("level"), 1)
    return bytes((_index(SQUAWKS, wanted.get("state"), 0) << 4 | strobe << 3 | level,))


# The tables ---------------------------------------------------------------------------------------------------------

ROWS: Final = (
    *(_of_kinds(row, *kinds) for kinds, row in _KINDS.items()),
    replace(_status("alarm", _ALARMS, "safety", 3338), adapt=_of_no_kind),
    _status("tamper", _TAMPER, "tamper", 3300, category="diagnostic"),
    _status("battery_low", _BATTERY, "battery", 3300, category="diagnostic"),
    AttributeMapping(
        cluster=WARNING,
        attribute=0x0000,
        type=UINT16,
        range=(0, 0xFFFE),
        invalid=0xFFFF,
        property=PropertyAffordance(
            name="max_duration",
            type=DataType.NUMBER,
            unit="s",
            resource_type=ipso(3338),
            device_class="duration",
            writable=True,
            minimum=0,
            maximum=0xFFFE,
            multiple_of=1,
            category="config",
        ),
    ),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final = (
    ActionMapping(
        cluster=WARNING,
        command=0x00,
        action=ActionAffordance(
            name="warning",
            input=DataSchema(
                type=DataType.OBJECT,
                fields=(
                    ("mode", DataSchema(type=DataType.STRING, enum=MODES)),
                    ("level", _LEVEL),
                    ("strobe", _BOOLEAN),
                    ("duration", DataSchema(type=DataType.INTEGER, minimum=0, maximum=0xFFFE)),
                    ("strobe_duty_cycle", DataSchema(type=DataType.INTEGER, minimum=0, maximum=10)),
                    ("strobe_level", _LEVEL),
                ),
                required=frozenset({"mode"}),
            ),
            idempotent=True,
            entity="siren",
        ),
        payload=_warning,
    ),
    ActionMapping(
        cluster=WARNING,
        command=0x01,
        action=ActionAffordance(
            name="squawk",
            input=DataSchema(
                type=DataType.OBJECT,
                fields=(
                    ("state", DataSchema(type=DataType.STRING, enum=SQUAWKS)),
                    ("level", _LEVEL),
                    ("strobe", _BOOLEAN),
                ),
                required=frozenset({"state"}),
            ),
            entity="siren",
        ),
        payload=_squawk,
    ),
)
EVENTS: Final = (
    EventMapping(
        cluster=ZONE,
        command=0x00,
        by_client=False,
        events=(
            EventAffordance(
                name="zone_status",
                data=DataSchema(type=DataType.OBJECT, fields=tuple((name, _BOOLEAN) for name in _ZONE_BITS)),
            ),
        ),
        read=_zone,
        values=_zone_status,
    ),
    EventMapping(cluster=ZONE, command=0x01, by_client=False, reply=_enrolled),
    EventMapping(
        cluster=ACE,
        command=0x00,
        by_client=True,
        events=tuple(EventAffordance(name=name, data=_ARMED) for name in _ARM),
        read=_armed,
        reply=_arm_response,
    ),
    plain(ACE, 0x02, "emergency"),
    plain(ACE, 0x03, "fire"),
    plain(ACE, 0x04, "panic"),
)


def _address(own_eui64: int) -> Content:
    """IAS_CIE_Address (ZCL8, 8.2.2.2.2.1): to whom its alarms go."""
    payload = foundation.write([(0x0010, TYPES[0xF0], own_eui64)])
    return Content(General.WRITE, payload, General.WRITE_RESPONSE)


SETUPS: Final = (
    SetupMapping(cluster=ZONE, name="address", content=_address),
    SetupMapping(
        cluster=ZONE, name="enrolment", content=lambda own: Content(0x00, _ENROLL_RESPONSE, cluster_specific=True)
    ),
    SetupMapping(
        cluster=ZONE,
        name="zone_state",
        content=lambda own: Content(General.READ, foundation.read((0x0000,)), General.READ_RESPONSE),
    ),
)
