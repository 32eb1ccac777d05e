"""The attributes of the Tunneling cluster's server that can be read: CloseTunnelTimeout and the cluster's revision.

Sources: Smart Energy, annex D.6.2.2; ZCL rev. 8, sections 2.5.1 and 2.5.2. Nothing can be written or reported.
"""

from __future__ import annotations

from struct import Struct, iter_unpack
from typing import Final

from carriage.zigbee.foundation import General, Status
from carriage.zigbee.tunnel_core import Core
from carriage.zigbee.zcl import HEADER_LENGTH, ZclFrame
from layer.errors import PeerError

CLOSE_TUNNEL_TIMEOUT: Final = 0x0000
CLUSTER_REVISION: Final = 0xFFFD
REVISION: Final = 1

_UINT16: Final = 0x21
_VALUE: Final = Struct("<HBBH")
_NO_VALUE: Final = Struct("<HB")


def on_read(core: Core, frame: ZclFrame) -> None:
    """Answer Read Attributes; what doesn't fit into one frame is left out. Other general commands are not ours."""
    if frame.command != General.READ or frame.to_client or frame.manufacturer is not None:
        return
    if not frame.payload or len(frame.payload) % 2:
        raise PeerError("Read Attributes of a wrong length")
    if not core.answers_have_room:
        return
    values = {CLOSE_TUNNEL_TIMEOUT: min(0xFFFF, int(core.limits.idle_timeout)), CLUSTER_REVISION: REVISION}
    answer = b""
    for (attribute,) in iter_unpack("<H", frame.payload):
        value = values.get(attribute)
        record = (
            _NO_VALUE.pack(attribute, Status.UNSUPPORTED_ATTRIBUTE)
            if value is None
            else _VALUE.pack(attribute, Status.SUCCESS, _UINT16, value)
        )
        if HEADER_LENGTH + len(answer) + len(record) > core.maximum_payload_length:
            break
        answer += record
    response = ZclFrame(General.READ_RESPONSE, answer, frame.sequence, cluster_specific=False, to_client=True)
    core.submit(None, lambda _: response.encode())
