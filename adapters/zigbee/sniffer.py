"""Frames of one device that no row reads, while an administrator looks: for a report, or for a row of its maker.

Each is shown once however often it comes. What a report shows to others has no EUI64 and no key in it: octets that are
the address of a known device, values of these types, and all of clusters that carry codes and keys are replaced.
No radio.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from adapters.zigbee.cluster_mappings import AttributeMapping
from adapters.zigbee.device import ZigbeeDevice, is_event
from adapters.zigbee.device_model import Model
from adapters.zigbee.frame_kinds import CLUSTER_COMMAND, FROM_SERVER, REPORT, is_cluster_command, start_of
from adapters.zigbee.radio_port import IncomingFrame
from carriage.zigbee.datatypes import MAX_DEPTH, STRUCT, TYPES, decode
from carriage.zigbee.foundation import RESPONSES, General
from gateway.api.errors import PeerError

MOST: Final = 200
"""Different frames that are kept; further ones are counted."""
WATCHED: Final = 4
"""Devices that are looked at at the same time."""
LONGEST: Final = 600
"""Seconds that a look may last."""
HIDDEN: Final = "xx"
"""In the place of an octet."""
_OTA: Final = 0x0019
"""Its commands are zigpy's."""
_SECRET: Final = frozenset({0x0101, 0x0501, 0x0800, 0x1000})
"""Clusters with PINs, arm codes and keys: locks, alarm panels, key establishment, Touchlink."""
_HIDDEN_TYPES: Final = frozenset({0xF0, 0xF1})
"""EUI64 and key128."""
_LISTS: Final = frozenset({0x48, 0x50, 0x51})
"""Array, set and bag."""
_GENERAL: Final = {int(each): each.name.lower().replace("_", " ") for each in General}


@dataclass(frozen=True, slots=True)
class UnreadPart:
    """A record of a report, a command, or a frame that can't be read. ``octets``: the value's, or the payload's."""

    kind: str
    """``attribute``, ``command``, ``general command`` or ``malformed``."""
    endpoint: int
    cluster: int
    manufacturer: int
    octets: bytes
    id: int | None = None
    """Of the attribute or command."""
    type: int | None = None
    value: Any = None
    by_client: bool = False
    group: bool = False
    """It was cast."""
    about: str = ""


@dataclass(slots=True, eq=False)
class _Watch:
    began: float
    until: float
    found: dict[UnreadPart, tuple[float, int]] = field(default_factory=dict)
    """When each came first, and how often."""
    left_out: int = 0


class UnreadFrames:
    """The looks that go on. ``watched``: whether there are any, so that a frame costs no more than this question."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.watched = False
        self._watches: dict[str, _Watch] = {}

    def watch(self, eui64: str, seconds: float) -> None:
        """Begin to look at a device. PeerError: at too many already."""
        now = self._now()
        self._expire(now)
        if eui64 not in self._watches and len(self._watches) >= WATCHED:
            raise PeerError(f"{WATCHED} devices are looked at already")
        self._watches[eui64] = _Watch(now, now + seconds)
        self.watched = True

    def saw(self, device: ZigbeeDevice, frame: IncomingFrame, *, answers: bool) -> None:
        """A frame came. ``answers``: it answers a request of the gateway."""
        now = self._now()
        watch = self._watches.get(device.eui64)
        if watch is None or answers or now >= watch.until:
            self._expire(now)
            return
        for each in unread(device, frame):
            came = watch.found.get(each)
            if came is None and len(watch.found) >= MOST:
                watch.left_out += 1
            else:
                watch.found[each] = (now - watch.began, 1) if came is None else (came[0], came[1] + 1)

    def found(self, eui64: str, hidden: Collection[str] = ()) -> dict[str, Any]:
        """What came so far, fit for others. ``hidden``: EUI64s that no octets may show. ``left``: seconds."""
        now = self._now()
        self._expire(now)
        watch = self._watches.get(eui64)
        if watch is None:
            return {"frames": [], "left": 0.0, "left_out": 0}
        secrets = [form for each in hidden for form in _forms(each.replace(":", ""))]
        return {
            "frames": [
                {"after": round(after, 1), "times": times, **_shown(each, secrets)}
                for each, (after, times) in watch.found.items()
            ],
            "left": max(0.0, round(watch.until - now, 1)),
            "left_out": watch.left_out,
        }

    def _expire(self, now: float) -> None:
        """Forget the looks that are over, but not what they found before the administrator has it."""
        self._watches = {eui64: each for eui64, each in self._watches.items() if now < each.until + LONGEST}
        self.watched = any(now < each.until for each in self._watches.values())


def unread(device: ZigbeeDevice, frame: IncomingFrame) -> Iterator[UnreadPart]:
    """What no row of the device reads in a frame; nothing of what zigpy or the tunnels read."""
    payload = frame.payload
    if not frame.endpoint or frame.cluster == _OTA:
        return
    common: dict[str, Any] = {"endpoint": frame.endpoint, "cluster": frame.cluster, "group": not frame.unicast}
    start = start_of(payload) if payload else 0
    if not start:
        yield UnreadPart("malformed", manufacturer=0, octets=payload, about="a frame ends within its header", **common)
        return
    common |= {"manufacturer": frame.place >> 32, "by_client": not payload[0] & FROM_SERVER}
    command, rest = payload[start - 1], payload[start:]
    if is_cluster_command(payload):
        if not is_event(device, frame):
            yield UnreadPart("command", id=command, octets=rest, **common)
    elif payload[0] & CLUSTER_COMMAND << 1:
        yield UnreadPart("malformed", octets=payload, about="a frame of no type that there is", **common)
    elif command == REPORT:
        yield from _records(device.model, frame, rest, common)
    elif command not in RESPONSES:
        yield UnreadPart("general command", id=command, octets=rest, about=_GENERAL.get(command, ""), **common)


def _records(
    model: Model | None, frame: IncomingFrame, payload: bytes, common: Mapping[str, Any]
) -> Iterator[UnreadPart]:
    """The records of a report that no row reads."""
    at = None if model is None else model.known_place(frame)
    slots = {} if model is None or at is None else model.places.get(at, {})
    events = {} if model is None or at is None else model.reported_events.get(at, {})
    here = 0
    while here < len(payload):
        try:
            if here + 3 > len(payload):
                raise PeerError("a record ends early")
            attribute, type_id = int.from_bytes(payload[here : here + 2], "little"), payload[here + 2]
            value, end = decode(type_id, payload, here + 3)
        except PeerError as error:
            yield UnreadPart("malformed", octets=payload[here:], about=str(error), **common)
            return
        slot = slots.get(attribute)
        about = "" if slot is None else _misfit(slot.row, type_id, value)
        if about or (slot is None and attribute not in events):
            text = value if isinstance(value, int | str) or (isinstance(value, float) and isfinite(value)) else None
            octets = payload[here + 3 : end]
            yield UnreadPart("attribute", id=attribute, type=type_id, value=text, octets=octets, about=about, **common)
        here = end


def _misfit(row: AttributeMapping, type_id: int, value: Any) -> str:
    """Why a row can't read a value; "": it can."""
    if row.part is not None or type_id == row.type.id or row.of_type(type_id, value) is not None:
        return ""
    return f"its row expects {row.type.name}"


def _shown(found: UnreadPart, secrets: Collection[bytes]) -> dict[str, Any]:
    """As JSON, without what isn't for others."""
    hide = found.cluster in _SECRET or (found.type is not None and _is_hidden(found.type, found.octets))
    octets = _hidden(found.octets, secrets, everything=hide)
    value = None if HIDDEN in octets else found.value
    return {
        "kind": found.kind,
        "endpoint": found.endpoint,
        "cluster": f"0x{found.cluster:04x}",
        "manufacturer": f"0x{found.manufacturer:04x}" if found.manufacturer else None,
        "from": "client" if found.by_client else "server",
        "cast": found.group,
        "id": None if found.id is None else f"0x{found.id:0{4 if found.kind == 'attribute' else 2}x}",
        "type": None if found.type is None else TYPES[found.type].name,
        "value": value,
        "hex": octets,
        "about": found.about,
    }


def _forms(eui64: str) -> Iterator[bytes]:
    """An address as devices write it: octets in both orders, and digits."""
    octets = bytes.fromhex(eui64)
    yield from (octets, octets[::-1], eui64.lower().encode(), eui64.upper().encode())


def _is_hidden(type_id: int, octets: bytes, depth: int = 0) -> bool:
    """Whether a value is an address or a key, or a collection with one."""
    if type_id in _LISTS:
        return not octets or _is_hidden(octets[0], octets[3:], depth + 1)
    if type_id != STRUCT.id:
        return type_id in _HIDDEN_TYPES
    at = 2
    while at < len(octets) and depth < MAX_DEPTH:
        _, end = decode(octets[at], octets, at + 1)
        if _is_hidden(octets[at], octets[at + 1 : end], depth + 1):
            return True
        at = end
    return False


def _hidden(octets: bytes, secrets: Collection[bytes], *, everything: bool) -> str:
    """In hexadecimal with blanks; what is a secret as ``xx``."""
    cells = [HIDDEN if everything else f"{each:02x}" for each in octets]
    for secret in secrets:
        at = octets.find(secret)
        while at >= 0:
            cells[at : at + len(secret)] = [HIDDEN] * len(secret)
            at = octets.find(secret, at + 1)
    return " ".join(cells)
