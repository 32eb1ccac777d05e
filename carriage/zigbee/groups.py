"""Groups and Scenes, clusters 0x0004 and 0x0005 (ZCL8, 3.6 and 3.7), as a client needs them: payloads only.

What a peer sent raises PeerError and nothing else; what we ask for and can't be put in octets raises UsageError.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

from layer.errors import PeerError, UsageError

GROUPS: Final = 0x0004
SCENES: Final = 0x0005
FIRST_GROUP: Final = 0x0001
LAST_GROUP: Final = 0xFFF7
"""0 is for scenes without a group, the last eight are reserved (ZigBee specification r22, 2.2.4.1.1.1)."""
MAX_NAME: Final = 16
"""Octets of the name of a group or a scene on a device (ZCL8, 3.6.2.3.1, 3.7.2.3.2)."""

ADD_GROUP: Final = 0x00
REMOVE_GROUP: Final = 0x03

ADD_SCENE: Final = 0x00
REMOVE_SCENE: Final = 0x02
REMOVE_ALL_SCENES: Final = 0x03
STORE_SCENE: Final = 0x04
RECALL_SCENE: Final = 0x05

_ADD: Final = Struct("<H")
_SCENE: Final = Struct("<HB")
_SCENE_HEAD: Final = Struct("<HBH")
_STATUS_GROUP: Final = Struct("<BH")
_SET: Final = Struct("<HB")


def _group(group: int) -> int:
    if not FIRST_GROUP <= group <= LAST_GROUP:
        raise UsageError(f"a group is a number from {FIRST_GROUP} to {LAST_GROUP}")
    return group


def _name(text: str) -> bytes:
    """A name that is too long is cut between two characters; a device may keep none."""
    octets = text.encode()[:MAX_NAME].decode(errors="ignore").encode()
    return bytes((len(octets),)) + octets


def add_group(group: int, name: str = "") -> bytes:
    """Add Group (ZCL8, 3.6.2.3.2)."""
    return _ADD.pack(_group(group)) + _name(name)


def remove_group(group: int) -> bytes:
    """Remove Group (ZCL8, 3.6.2.3.5)."""
    return _ADD.pack(_group(group))


def scene(group: int, number: int) -> bytes:
    """The payload of Store Scene, Remove Scene and View Scene (ZCL8, 3.7.2.4)."""
    if not 0 <= number <= 0xFF:
        raise UsageError("a scene is a number from 0 to 255")
    return _SCENE.pack(_group(group), number)


def all_scenes(group: int) -> bytes:
    """The payload of Remove All Scenes (ZCL8, 3.7.2.4.5)."""
    return _ADD.pack(_group(group))


def add_scene(group: int, number: int, seconds: float, name: str, sets: list[tuple[int, bytes]]) -> bytes:
    """Add Scene (ZCL8, 3.7.2.4.2). ``sets``: by cluster the values that it sets, as the cluster's chapter has them.

    The transition time is in whole seconds; devices that know Enhanced Add Scene take tenths, others don't.
    """
    if not 0 <= seconds <= 6000:
        raise UsageError("a transition takes from 0 to 6000 s")
    scene(group, number)
    extension = b"".join(_SET.pack(cluster, len(values)) + values for cluster, values in sets)
    return _SCENE_HEAD.pack(group, number, round(seconds)) + _name(name) + extension


def recall_scene(group: int, number: int, seconds: float | None = None) -> bytes:
    """Recall Scene (ZCL8, 3.7.2.4.7). ``seconds`` None: the scene's own transition time."""
    octets = scene(group, number)
    if seconds is None:
        return octets
    if not 0 <= seconds <= 6553:
        raise UsageError("a transition takes from 0 to 6553 s")
    return octets + round(seconds * 10).to_bytes(2, "little")


def status_for(group: int, payload: bytes) -> int:
    """The status in a response of either cluster that begins with status and group. PeerError: of another group."""
    if len(payload) < _STATUS_GROUP.size:
        raise PeerError("a response ends early")
    status, about = _STATUS_GROUP.unpack_from(payload)
    if about != group:
        raise PeerError("a response about another group")
    return int(status)


def scene_sets(values: Mapping[str, object]) -> list[tuple[int, bytes]]:
    """The extension field sets for ``state``, ``brightness``, ``color_temp`` (mired) and ``color`` ({x, y}), in the
    order in which they have to stand (ZCL8, 3.7.2.3.2). UsageError: another name, or no value of it."""
    left, sets = dict(values), []
    state, level, mired, color = (left.pop(name, None) for name in ("state", "brightness", "color_temp", "color"))
    if left or not values:
        raise UsageError(f"a scene sets state, brightness, color_temp and color, not {', '.join(left) or 'nothing'}")
    if state is not None:
        on = {"ON": 1, "OFF": 0}.get(state.upper(), -1) if isinstance(state, str) else state
        sets.append((0x0006, bytes((_whole("state", on, 1),))))
    if level is not None:
        sets.append((0x0008, bytes((_whole("brightness", level, 254),))))
    if color is not None or mired is not None:
        x, y = (color.get("x"), color.get("y")) if isinstance(color, dict) else (0.0 if color is None else None, 0.0)
        if not _fraction(x) or not _fraction(y):
            raise UsageError("color: expected x and y, each from 0 to 1")
        octets = b"".join(min(round((each or 0.0) * 65536), 0xFEFF).to_bytes(2, "little") for each in (x, y))
        if mired is not None:  # behind hue, saturation and the colour loop, which are left as they are
            octets += bytes(7) + _whole("color_temp", mired, 0xFEFF).to_bytes(2, "little")
        sets.append((0x0300, octets))
    return sets


def _whole(name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise UsageError(f"{name}: expected a whole number from 0 to {most}")
    return int(value)


def _fraction(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
