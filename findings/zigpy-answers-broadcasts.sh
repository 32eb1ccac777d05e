#!/bin/sh
# zigpy answers what was sent to everybody or to a group with a Default Response.
#
# Software:     zigpy 2.4.0, its application class without a radio, Python 3.11 or later.
# Expected:     a Default Response follows only what was sent to the receiver alone (ZCL revision 8, 2.5.12.2), so no
#               frame that came by broadcast or to a group gets one, whatever its "disable default response" bit says.
# Happens:      with that bit 0, as remotes leave it, a Toggle or report that was broadcast and a Toggle to a group get
#               a Default Response with SUCCESS each, as if they had come to the coordinator alone. zigpy knows better:
#               the packet's destination is in the ZigbeePacket that the radio hands it. With the bit 1 nothing is sent.
# Who meets it: networks with remotes that control a group or everybody: each press makes the coordinator send a frame
#               to a sleepy remote that expects none, at the moment when the lamps are being switched; a trace says that
#               the coordinator carried out a Toggle.
# What to do:   in the application's packet_received set the bit in what came by broadcast or to a group (ZCL frames
#               only) before zigpy gets it; read no success out of such an answer.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -m venv venv && venv/bin/pip install --quiet zigpy==2.4.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import asyncio
import sys

import zigpy.application
import zigpy.device
import zigpy.endpoint
import zigpy.types as t
import zigpy.zdo.types as zdo

COORDINATOR = t.EUI64.convert("02:00:00:00:00:00:00:01")
SENSOR = t.EUI64.convert("02:00:00:00:00:00:00:02")
ON_OFF, IAS_ZONE = 0x0006, 0x0500
UNICAST = t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x0000))
BROADCAST = t.AddrModeAddress(t.AddrMode.Broadcast, t.BroadcastAddress.RX_ON_WHEN_IDLE)
GROUP = t.AddrModeAddress(t.AddrMode.Group, t.Group(0x0005))


def add(app, ieee, nwk, descriptor):
    device = app.add_device(ieee, t.NWK(nwk))
    device.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex(descriptor))
    if 1 not in device.endpoints:
        endpoint = device.add_endpoint(1)
        endpoint.profile_id, endpoint.device_type = 0x0104, 0x0402
        endpoint.add_input_cluster(IAS_ZONE)
        endpoint.add_output_cluster(ON_OFF)
        endpoint.status = zigpy.endpoint.Status.ZDO_INIT
    device.status = zigpy.device.Status.ENDPOINTS_INIT
    device.manufacturer, device.model = "maker", "sensor"
    return device


class Application(zigpy.application.ControllerApplication):
    """zigpy without a radio: what is sent is kept in `sent`."""

    sent = []

    async def load_network_info(self, *, load_devices=False):
        self.state.node_info.ieee, self.state.node_info.nwk = COORDINATOR, t.NWK(0)
        self.state.network_info.pan_id = t.PanId(0x1234)
        self.state.network_info.channel = t.uint8_t(15)

    async def start_network(self):
        await self.load_network_info()
        add(self, COORDINATOR, 0x0000, "00408e3412525200002c520000")

    async def nothing(self, *args, **kwargs):
        pass

    async def send_packet(self, packet):
        self.sent.append(packet)

    connect = disconnect = add_endpoint = force_remove = permit_ncp = permit_with_link_key = nothing
    reset_network_info = write_network_info = nothing


# (frame, cluster, destination, what zigpy sends): frame control, sequence number, command, payload. Command 02 of
# On/Off is Toggle, 0a is Report Attributes, 0b Default Response (the command that it answers, and a status).
CASES = {
    "Toggle, to zigpy alone": ("010102", ON_OFF, UNICAST, ["18010b0200"]),
    "Toggle, broadcast": ("010202", ON_OFF, BROADCAST, ["18020b0200"]),
    "Toggle, to a group": ("010302", ON_OFF, GROUP, ["18030b0200"]),
    "report, broadcast": ("08040a0000300d", IAS_ZONE, BROADCAST, ["10040b0a00"]),
    "Toggle, to a group, no default response": ("110502", ON_OFF, GROUP, []),
}


async def main():
    app = Application(
        {"device": {"path": "none"}, "backup_enabled": False, "topology_scan_enabled": False, "watchdog_enabled": False}
    )
    await app._load_db()
    await app.initialize()
    app.device_initialized(add(app, SENSOR, 0x2222, "0240803412525200002c520000"))
    await asyncio.sleep(0.3)
    right = True
    for name, (frame, cluster, destination, stated) in CASES.items():
        app.sent.clear()
        data = bytes.fromhex(frame)
        app.packet_received(
            t.ZigbeePacket(
                src=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x2222)),
                src_ep=1,
                dst=destination,
                dst_ep=1 if destination is UNICAST else 0xFF,
                tsn=data[1],
                profile_id=0x0104,
                cluster_id=cluster,
                data=t.SerializableBytes(data),
            )
        )
        await asyncio.sleep(0.3)
        sent = [packet.data.serialize().hex() for packet in app.sent if packet.cluster_id == cluster]
        print(f"{name}, {frame}: {sent}")
        right &= sent == stated
    await app.shutdown()
    return right


sys.exit(0 if asyncio.run(asyncio.wait_for(main(), 60)) else 1)
PY
venv/bin/python check.py
