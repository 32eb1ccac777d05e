"""Groups and Scenes, clusters 0x0004 and 0x0005 (ZCL8, 3.6 and 3.7), as a client needs them: payloads only.

What a peer sent raises PeerError and nothing else; what we ask for and can't be put in octets raises UsageError.
"""

from __future__ import annotations

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
_INSTANT: Final = 0xFFFF
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
    if not 0 <= round(seconds) <= 6000:
        raise UsageError("a transition takes from 0 to 6000 s")
    scene(group, number)
    extension = b"".join(_SET.pack(cluster, len(values)) + values for cluster, values in sets)
    return _SCENE_HEAD.pack(group, number, round(seconds)) + _name(name) + extension


def recall_scene(group: int, number: int, seconds: float | None = None) -> bytes:
    """Recall Scene (ZCL8, 3.7.2.4.7). ``seconds`` None: the scene's own transition time."""
    octets = scene(group, number)
    if seconds is None:
        return octets
    tenths = round(seconds * 10)
    if not 0 <= tenths < _INSTANT:
        raise UsageError("a transition takes from 0 to 6553 s")
    return octets + tenths.to_bytes(2, "little")


def status_for(group: int, payload: bytes) -> int:
    """The status in a response of either cluster that begins with status and group. PeerError: of another group."""
    if len(payload) < _STATUS_GROUP.size:
        raise PeerError("a response ends early")
    status, about = _STATUS_GROUP.unpack_from(payload)
    if about != group:
        raise PeerError("a response about another group")
    return int(status)
