"""Groups and Scenes (ZCL8, 3.6 and 3.7). Groups are the endpoint's: Scenes asks the Groups server of its endpoint.

``memory`` of Groups: the group as four hexadecimal digits, with its name. Of Scenes: group and scene as six, with the
transition in tenths of a second and the extension fields in hexadecimal.
"""

from __future__ import annotations

import struct
from typing import Final

from simulator.network.cluster_server import (
    INSUFFICIENT_SPACE,
    INVALID_FIELD,
    NOT_FOUND,
    SUCCESS,
    Attribute,
    ClusterReply,
    ClusterServer,
    CommandRefusedError,
    make_cluster,
)
from simulator.network.clusters.ids import GROUPS, IDENTIFY, SCENES, Identity
from simulator.network.datatypes import BITMAP8, BOOL, UINT8, UINT16, Value

MAX_GROUPS: Final = 16
MAX_SCENES: Final = 16
_LIST: Final = 30


def groups(_identity: Identity) -> ClusterServer:
    """Groups, 0x0004."""
    return make_cluster(
        GROUPS,
        [Attribute(0x0000, BITMAP8, 0x80)],  # names are supported
        {
            0x00: _add_group,
            0x01: _view_group,
            0x02: _membership,
            0x03: _remove_group,
            0x04: _remove_all_groups,
            0x05: _add_if_identifying,
        },
        revision=2,
    )


def member(server: ClusterServer | None, group: int) -> bool:
    """Whether the endpoint of this Groups server is in a group."""
    return server is not None and f"{group:04x}" in server.memory


def _name(payload: bytes, at: int) -> str:
    length = payload[at] if len(payload) > at and payload[at] != 0xFF else 0
    return payload[at + 1 : at + 1 + length].decode(errors="replace")[:16]


def _add(server: ClusterServer, payload: bytes) -> tuple[int, int]:
    (group,) = struct.unpack_from("<H", payload)
    key = f"{group:04x}"
    if not 1 <= group <= 0xFFF7:
        return INVALID_FIELD, group
    if key not in server.memory and len(server.memory) >= MAX_GROUPS:
        return INSUFFICIENT_SPACE, group
    server.memory[key] = _name(payload, 2)
    server.remember()
    return SUCCESS, group


def _add_group(server: ClusterServer, payload: bytes) -> ClusterReply:
    return ClusterReply(0x00, struct.pack("<BH", *_add(server, payload)))


def _view_group(server: ClusterServer, payload: bytes) -> ClusterReply:
    (group,) = struct.unpack_from("<H", payload)
    known = member(server, group)
    name = server.memory.get(f"{group:04x}", "").encode()
    return ClusterReply(0x01, struct.pack("<BHB", SUCCESS if known else NOT_FOUND, group, len(name)) + name)


def _membership(server: ClusterServer, payload: bytes) -> ClusterReply | None:
    """All groups, or those of the list that the endpoint is in; none of them: no answer."""
    asked = struct.unpack_from(f"<{payload[0]}H", payload, 1) if payload else ()
    own = [int(key, 16) for key in server.memory]
    found = [group for group in own if not asked or group in asked][:_LIST]
    if asked and not found:
        return None
    return ClusterReply(0x02, struct.pack(f"<BB{len(found)}H", MAX_GROUPS - len(own), len(found), *found))


def _remove_group(server: ClusterServer, payload: bytes) -> ClusterReply:
    (group,) = struct.unpack_from("<H", payload)
    known = server.memory.pop(f"{group:04x}", None) is not None
    _forget_scenes(server, group)
    server.remember()
    return ClusterReply(0x03, struct.pack("<BH", SUCCESS if known else NOT_FOUND, group))


def _remove_all_groups(server: ClusterServer, _payload: bytes) -> None:
    for key in tuple(server.memory):
        _forget_scenes(server, int(key, 16))
    server.memory.clear()
    server.remember()


def _add_if_identifying(server: ClusterServer, payload: bytes) -> None:
    identifying = server.sibling(IDENTIFY)
    struct.unpack_from("<H", payload)
    if identifying is not None and identifying.whole(0x0000):
        _add(server, payload)


def _forget_scenes(server: ClusterServer, group: int) -> None:
    stored = server.sibling(SCENES)
    if stored is not None:
        for key in [key for key in stored.memory if key.startswith(f"{group:04x}")]:
            del stored.memory[key]
        _count(stored)


_COUNT, _CURRENT, _CURRENT_GROUP, _VALID = 0, 1, 2, 3


def scenes(_identity: Identity) -> ClusterServer:
    """Scenes, 0x0005."""
    server = make_cluster(
        SCENES,
        [
            Attribute(_COUNT, UINT8, 0),
            Attribute(_CURRENT, UINT8, 0),
            Attribute(_CURRENT_GROUP, UINT16, 0),
            Attribute(_VALID, BOOL, 0),
            Attribute(0x0004, BITMAP8, 0),  # no names
        ],
        {
            0x00: _add_scene,
            0x01: _view_scene,
            0x02: _remove_scene,
            0x03: _remove_all_scenes,
            0x04: _store_scene,
            0x05: _recall_scene,
            0x06: _scene_membership,
            0x40: _enhanced_add_scene,
            0x41: _enhanced_view_scene,
        },
        revision=3,
    )
    server.factory = {_COUNT: 0, _CURRENT: 0, _CURRENT_GROUP: 0, _VALID: 0}
    return server


def _in(server: ClusterServer, group: int) -> bool:
    return group == 0 or member(server.sibling(GROUPS), group)


def _key(group: int, scene: int) -> str:
    return f"{group:04x}{scene:02x}"


def _count(server: ClusterServer) -> None:
    server.set(_COUNT, len(server.memory))
    server.remember()


def _keep(server: ClusterServer, group: int, scene: int, tenths: int, fields: bytes) -> int:
    if not _in(server, group):
        return INVALID_FIELD
    key = _key(group, scene)
    if key not in server.memory and len(server.memory) >= MAX_SCENES:
        return INSUFFICIENT_SPACE
    server.memory[key] = f"{tenths}:{fields.hex()}"
    _count(server)
    return SUCCESS


def _kept(server: ClusterServer, group: int, scene: int) -> tuple[int, bytes] | None:
    tenths, _, fields = server.memory.get(_key(group, scene), "").partition(":")
    return (int(tenths), bytes.fromhex(fields)) if tenths else None


def _added(server: ClusterServer, payload: bytes, command: int, unit: int) -> ClusterReply:
    group, scene, time = struct.unpack_from("<HBH", payload)
    at = 6 + (payload[5] if len(payload) > 5 and payload[5] != 0xFF else 0)
    status = _keep(server, group, scene, time * unit, payload[at:])
    return ClusterReply(command, struct.pack("<BHB", status, group, scene))


def _add_scene(server: ClusterServer, payload: bytes) -> ClusterReply:
    return _added(server, payload, 0x00, 10)


def _enhanced_add_scene(server: ClusterServer, payload: bytes) -> ClusterReply:
    return _added(server, payload, 0x40, 1)


def _viewed(server: ClusterServer, payload: bytes, command: int, unit: int) -> ClusterReply:
    group, scene = struct.unpack_from("<HB", payload)
    kept = _kept(server, group, scene)
    if kept is None:
        return ClusterReply(
            command, struct.pack("<BHB", NOT_FOUND if _in(server, group) else INVALID_FIELD, group, scene)
        )
    return ClusterReply(command, struct.pack("<BHBHB", SUCCESS, group, scene, kept[0] // unit, 0) + kept[1])


def _view_scene(server: ClusterServer, payload: bytes) -> ClusterReply:
    return _viewed(server, payload, 0x01, 10)


def _enhanced_view_scene(server: ClusterServer, payload: bytes) -> ClusterReply:
    return _viewed(server, payload, 0x41, 1)


def _remove_scene(server: ClusterServer, payload: bytes) -> ClusterReply:
    group, scene = struct.unpack_from("<HB", payload)
    known = server.memory.pop(_key(group, scene), None) is not None
    _count(server)
    status = SUCCESS if known else NOT_FOUND if _in(server, group) else INVALID_FIELD
    return ClusterReply(0x02, struct.pack("<BHB", status, group, scene))


def _remove_all_scenes(server: ClusterServer, payload: bytes) -> ClusterReply:
    (group,) = struct.unpack_from("<H", payload)
    for key in [key for key in server.memory if key.startswith(f"{group:04x}")]:
        del server.memory[key]
    _count(server)
    return ClusterReply(0x03, struct.pack("<BH", SUCCESS if _in(server, group) else INVALID_FIELD, group))


def _store_scene(server: ClusterServer, payload: bytes) -> ClusterReply:
    group, scene = struct.unpack_from("<HB", payload)
    kept = _kept(server, group, scene)
    fields = bytearray()
    for sibling in server.host.clusters.values() if server.host is not None else ():
        if sibling.scene:
            octets = b"".join(_scene_value(sibling, number).to_bytes(size, "little") for number, size in sibling.scene)
            fields += struct.pack("<HB", sibling.id, len(octets)) + octets
    status = _keep(server, group, scene, 0 if kept is None else kept[0], bytes(fields))
    if status == SUCCESS:
        _now_valid(server, group, scene)
    return ClusterReply(0x04, struct.pack("<BHB", status, group, scene))


def _scene_value(server: ClusterServer, attribute: int) -> int:
    return server.whole(attribute) if server.for_scene is None else server.for_scene(server, attribute)


def _now_valid(server: ClusterServer, group: int, scene: int) -> None:
    values: tuple[tuple[int, Value], ...] = ((_CURRENT, scene), (_CURRENT_GROUP, group), (_VALID, 1))
    for number, value in values:
        server.set(number, value)


def _recall_scene(server: ClusterServer, payload: bytes) -> None:
    """What isn't stored stays as it is. A time in the command counts in place of the stored one."""
    group, scene = struct.unpack_from("<HB", payload)
    kept = _kept(server, group, scene)
    if kept is None:
        raise CommandRefusedError(NOT_FOUND if _in(server, group) else INVALID_FIELD)
    tenths, fields = kept
    if len(payload) >= 5 and payload[3:5] != b"\xff\xff":
        (tenths,) = struct.unpack_from("<H", payload, 3)
    at = 0
    while at + 3 <= len(fields):
        cluster, length = struct.unpack_from("<HB", fields, at)
        _recall_one(server.sibling(cluster), fields[at + 3 : at + 3 + length], tenths)
        at += 3 + length
    _now_valid(server, group, scene)


def _recall_one(server: ClusterServer | None, octets: bytes, tenths: int) -> None:
    if server is None:
        return
    values: dict[int, int] = {}
    at = 0
    for number, size in server.scene:
        if at + size <= len(octets):
            values[number] = int.from_bytes(octets[at : at + size], "little")
            at += size
    if server.recall is not None:
        server.recall(server, values, tenths)
        return
    for number, value in values.items():
        server.set(number, value)


def _scene_membership(server: ClusterServer, payload: bytes) -> ClusterReply:
    (group,) = struct.unpack_from("<H", payload)
    if not _in(server, group):
        return ClusterReply(0x06, struct.pack("<BBH", INVALID_FIELD, MAX_SCENES - len(server.memory), group))
    found = [int(key[4:], 16) for key in server.memory if key.startswith(f"{group:04x}")]
    head = struct.pack("<BBHB", SUCCESS, MAX_SCENES - len(server.memory), group, len(found))
    return ClusterReply(0x06, head + bytes(found))
