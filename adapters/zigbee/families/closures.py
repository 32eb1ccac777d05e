"""Closures: Door Lock, 0x0101, and Window Covering, 0x0102 (ZCL8, 7.3 and 7.4). A cover at 100 is open and one
at 0 is closed, as people say it; ZCL has it the other way round. `state` is `CLOSE` at 0 only. The PIN
`code` is for locks that ask for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    DeviceOption,
    EventMapping,
    Happening,
    Particulars,
    Plan,
    Reporting,
    WriteMapping,
    plain,
)
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.families.payloads import first, word
from carriage.zigbee.datatypes import ENUM8, UINT8, UINT32, Value
from gateway.api.errors import UsageError
from gateway.api.model import ActionAffordance, DataSchema, DataType, EventAffordance, PropertyAffordance, Scalar
from gateway.api.model import Value as PropertyValue

DOOR_LOCK: Final = 0x0101
COVERING: Final = 0x0102

INVERT_COVER: Final = "invert_cover"
"""Option of a cover that tells and takes its positions the other way round: 100 for open."""
OPTIONS: Final = (
    DeviceOption(
        name=INVERT_COVER,
        schema=DataSchema(type=DataType.BOOLEAN),
        about="it reports and takes its positions the other way round",
        clusters=(COVERING,),
    ),
)

_TYPE, _LIFT, _TILT = 0x0000, 0x0008, 0x0009
_TILTS_ONLY: Final = (6, 7)
"""Types of coverings without a lift (ZCL8, 7.4.2.1.2)."""
_COVER_COMMANDS: Final[dict[Scalar, int]] = {"OPEN": 0x00, "CLOSE": 0x01, "STOP": 0x02}
_LOCK_COMMANDS: Final[dict[Scalar, int]] = {"LOCK": 0x00, "UNLOCK": 0x01}
_LOCK_STATE: Final = 0x0000
_ASKS_FOR_CODE: Final = 0x0033
"""Require PIN for RF Operation."""
_LIFETIME: Final = 90_000.0
_REPORTING: Final = Reporting(1, 43_200, 1)


# Covers


def _states(closed: int) -> Mapping[int, str]:
    """The state of a cover by its position: it is closed there only, and open on its way too."""
    return {raw: "CLOSE" if raw == closed else "OPEN" for raw in range(101)}


def _cover_state(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    """By the lift, or the tilt if that is all there is. A cover that knows no position has a state to set only."""
    there = known.constants
    if _TILT in there and (_LIFT not in there or there.get(_TYPE) in _TILTS_ONLY):
        row = replace(row, attribute=_TILT)
    elif _LIFT not in there:
        return replace(row, attribute=_TYPE, type=ENUM8, words={}, part=lambda raw: None, reporting=None)
    return replace(row, words=_states(0 if known.options.get(INVERT_COVER) else 100))


def _position(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    return replace(row, scale=1, offset=0) if known.options.get(INVERT_COVER) else row


def _place_of(name: str, attribute: int) -> AttributeMapping:
    return AttributeMapping(
        cluster=COVERING,
        attribute=attribute,
        type=UINT8,
        range=(0, 100),
        scale=-1,
        offset=100,
        invalid=0xFF,
        property=PropertyAffordance(
            name=name,
            type=DataType.INTEGER,
            resource_type=ipso(3337),
            writable=True,
            minimum=0,
            maximum=100,
            lifetime=_LIFETIME,
            entity="cover",
        ),
        reporting=_REPORTING,
        adapt=_position,
    )


def _goes_to(name: str, command: int) -> WriteMapping:
    """Go to Lift (or Tilt) Percentage. Where the cover is it reports itself, on its way and in the end."""

    def plan(inverted: bool) -> Callable[[Mapping[str, PropertyValue]], Plan | None]:
        def planned(values: Mapping[str, PropertyValue]) -> Plan | None:
            wanted = values[name]
            if not isinstance(wanted, int) or not 0 <= wanted <= 100:
                raise UsageError("a position from 0 to 100")
            return Plan(bytes((wanted if inverted else 100 - wanted,)))

        return planned

    def adapt(row: WriteMapping, known: Particulars) -> WriteMapping:
        return replace(row, plan=plan(bool(known.options.get(INVERT_COVER))))

    return WriteMapping(cluster=COVERING, command=command, properties=(name,), plan=plan(False), adapt=adapt)


# Locks

CODE: Final = PropertyAffordance(name="code", type=DataType.STRING, writable=True, readable=False, entity="lock")
"""The PIN of a user, of a lock that asks for one."""
_LONGEST_CODE: Final = 32


def _turn(values: Mapping[str, PropertyValue]) -> Plan | None:
    """Lock Door or Unlock Door with a PIN (ZCL8, 7.3.2.15.1); a lock may let itself be locked without."""
    state, code = values.get("state"), values.get("code", "")
    if not isinstance(state, str) or state not in _LOCK_COMMANDS:
        return None
    if not isinstance(code, str) or not code.isascii() or len(code) > _LONGEST_CODE:
        raise UsageError("a code of at most 32 digits or letters")
    return Plan(bytes((len(code),)) + code.encode() if code else b"", command=_LOCK_COMMANDS[state])


def _asks_for_code(row: WriteMapping, known: Particulars) -> WriteMapping | None:
    return row if known.constants.get(_ASKS_FOR_CODE) else None


def _of_lock(
    name: str,
    attribute: int,
    words: Mapping[int, str],
    *,
    commands: Mapping[Scalar, int] | None = None,
    writable: bool = False,
    entity: str = "",
    category: str = "",
) -> AttributeMapping:
    return AttributeMapping(
        cluster=DOOR_LOCK,
        attribute=attribute,
        type=UINT8 if attribute == _SOUND_VOLUME else ENUM8,
        invalid=0xFF,
        words=words,
        property=PropertyAffordance(
            name=name,
            type=DataType.STRING,
            enum=tuple(dict.fromkeys(words.values())),
            resource_type=ipso(3348),
            writable=writable,
            lifetime=_LIFETIME,
            entity=entity,
            category=category,
        ),
        reporting=Reporting(0, 43_200),
        commands=commands or {},
        answered=commands is not None,
    )


_SOUND_VOLUME: Final = 0x0024
_SOURCES: Final = ("keypad", "rf", "manual", "rfid")
_OPERATIONS: Final = (
    "unknown", "lock", "unlock", "lock_failure_invalid_pin_or_id", "lock_failure_invalid_schedule",
    "unlock_failure_invalid_pin_or_id", "unlock_failure_invalid_schedule", "one_touch_lock", "key_lock", "key_unlock",
    "auto_lock", "schedule_lock", "schedule_unlock", "manual_lock", "manual_unlock",
    "non_access_user_operational_event",
)  # fmt: skip
"""Operation event codes by their numbers (ZCL8, 7.3.2.17.7)."""
_LOCKED_BY: Final = (1, 7, 8, 10, 11, 13)
_UNLOCKED_BY: Final = (2, 9, 12, 14)
_LOCKED, _UNLOCKED = 1, 2
_NOBODY: Final = 0xFFFF
_OPERATED: Final = DataSchema(
    type=DataType.OBJECT,
    fields=(
        ("source_name", DataSchema(type=DataType.STRING, enum=_SOURCES)),
        ("user", DataSchema(type=DataType.INTEGER, minimum=0, maximum=0xFFFE)),
    ),
)


def _operated(payload: bytes) -> Happening | None:
    """Operation Event Notification (ZCL8, 7.3.2.17.5): source, code and user. The PIN behind them is left alone."""
    payload = first(payload, 4)
    if payload[1] >= len(_OPERATIONS):
        return None
    data: dict[str, PropertyValue] = {}
    if payload[0] < len(_SOURCES):
        data["source_name"] = _SOURCES[payload[0]]
    if (user := word(payload, 2)) != _NOBODY:
        data["user"] = user
    return _OPERATIONS[payload[1]], data


def _bolt(payload: bytes) -> Iterable[tuple[int, int, Value]]:
    """The lock state that an operation led to."""
    code = first(payload, 4)[1]
    if code in _LOCKED_BY or code in _UNLOCKED_BY:
        yield _LOCK_STATE, ENUM8.id, _LOCKED if code in _LOCKED_BY else _UNLOCKED


ROWS: Final = (
    AttributeMapping(
        cluster=COVERING,
        attribute=_LIFT,
        type=UINT8,
        invalid=0xFF,
        words=_states(100),
        property=PropertyAffordance(
            name="state",
            type=DataType.STRING,
            enum=("OPEN", "CLOSE", "STOP"),
            resource_type=ipso(3348),
            writable=True,
            lifetime=_LIFETIME,
            entity="cover",
        ),
        reporting=_REPORTING,
        commands=_COVER_COMMANDS,
        needs=(_TYPE, _LIFT, _TILT),
        adapt=_cover_state,
    ),
    _place_of("position", _LIFT),
    _place_of("tilt", _TILT),
    _of_lock(
        "state",
        _LOCK_STATE,
        {1: "LOCK", 0: "UNLOCK", 2: "UNLOCK"},
        commands=_LOCK_COMMANDS,
        writable=True,
        entity="lock",
    ),
    _of_lock("lock_state", _LOCK_STATE, {0: "not_fully_locked", 1: "locked", 2: "unlocked"}, entity="lock"),
    _of_lock(
        "door_state",
        0x0003,
        {0: "open", 1: "closed", 2: "error_jammed", 3: "error_forced_open", 4: "error_unspecified"},
    ),
    _of_lock(
        "sound_volume",
        _SOUND_VOLUME,
        {0: "silent_mode", 1: "low_volume", 2: "high_volume"},
        writable=True,
        category="config",
    ),
    AttributeMapping(
        cluster=DOOR_LOCK,
        attribute=0x0023,
        type=UINT32,
        range=(0, 0xFFFF_FFFE),
        invalid=0xFFFF_FFFF,
        property=PropertyAffordance(
            name="auto_relock_time",
            type=DataType.NUMBER,
            unit="s",
            resource_type=ipso(3340),
            writable=True,
            minimum=0,  # it stays unlocked
            maximum=3600,
            lifetime=_LIFETIME,
            category="config",
        ),
        reporting=Reporting(1, 43_200, 1),
    ),
)
WRITES: Final = (
    _goes_to("position", 0x05),
    _goes_to("tilt", 0x08),
    WriteMapping(
        cluster=DOOR_LOCK,
        command=_LOCK_COMMANDS["LOCK"],
        properties=("state",),
        modifiers=(CODE,),
        secrets=frozenset({CODE.name}),
        plan=_turn,
        answered=True,
        needs=(_ASKS_FOR_CODE,),
        adapt=_asks_for_code,
    ),
)
ACTIONS: Final = (
    ActionMapping(
        cluster=COVERING,
        command=_COVER_COMMANDS["STOP"],
        action=ActionAffordance(name="stop", idempotent=True, entity="cover"),
        reads=(_LIFT, _TILT),
    ),
)
EVENTS: Final = (
    *(plain(COVERING, command, f"{said}".lower()) for said, command in _COVER_COMMANDS.items()),
    EventMapping(
        cluster=DOOR_LOCK,
        command=0x20,
        by_client=False,
        events=tuple(EventAffordance(name=name, data=_OPERATED) for name in _OPERATIONS),
        read=_operated,
        values=_bolt,
    ),
)
