#!/bin/sh
# One endpoint that a device lists and doesn't describe makes zigpy's whole interview fail; reports are dropped then.
#
# Software:     zigpy 2.4.0, its application class without a radio, Python 3.11 or later.
# Expected:     an endpoint whose Simple_Desc_rsp has an error status is left out; the others are used.
# Happens:      it is left out if the status is NOT_ACTIVE. With INVALID_EP, the other error that this response has for
#               an endpoint (ZigBee specification, 2.4.4.2.5), the interview ends: device_init_failure, and the device
#               isn't initialized, though its endpoint 1 was described. Its reports aren't delivered: each starts the
#               interview at the other endpoint again, to the same end.
# Who meets it: who pairs a device that lists an endpoint which it keeps to itself (such as 242): "failed", for good,
#               though the part that matters works. zigpy/zigpy#1036 is a relative (SUCCESS without a descriptor).
# What to do:   at device_init_failure, if another endpoint has clusters, delete the endpoints whose status is still NEW
#               and call schedule_initialize().
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
NODE_DESC, SIMPLE_DESC, ACTIVE_EP = 0x0002, 0x0004, 0x0005
STATUSES = {"NOT_ACTIVE": 0x83, "INVALID_EP": 0x82}
ON_OFF = 0x0006


class Application(zigpy.application.ControllerApplication):
    """zigpy without a radio; a device answers, whose endpoint 242 has no simple descriptor."""

    async def load_network_info(self, *, load_devices=False):
        self.state.node_info.ieee, self.state.node_info.nwk = COORDINATOR, t.NWK(0)
        self.state.network_info.pan_id = t.PanId(0x1234)
        self.state.network_info.channel = t.uint8_t(15)

    async def start_network(self):
        await self.load_network_info()
        device = self.add_device(COORDINATOR, t.NWK(0))
        device.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex("00408e3412525200002c520000"))
        device.add_endpoint(1).status = zigpy.endpoint.Status.ZDO_INIT
        device.status = zigpy.device.Status.ENDPOINTS_INIT
        device.manufacturer, device.model = "maker", "stick"

    async def nothing(self, *args, **kwargs):
        pass

    async def send_packet(self, packet):
        if packet.dst_ep == 0:
            asyncio.get_running_loop().call_soon(self.answer, packet.cluster_id, packet.data.serialize())

    def answer(self, request, data):
        number, body = data[0], b"\x00\x22\x22"  # SUCCESS, address
        if request == NODE_DESC:
            body += bytes.fromhex("0140803412525200002c520000")
        elif request == ACTIVE_EP:
            body += bytes([2, 1, 242])
        elif request == SIMPLE_DESC:
            self.asked.append(data[3])
            if data[3] == 1:
                descriptor = bytes.fromhex("01 0401 0001 00 01 0600 00")  # On/Off
                body += bytes([len(descriptor)]) + descriptor
            else:
                body = bytes([self.refusal, 0x22, 0x22, 0])
        else:
            return
        self.hear(0, request | 0x8000, 0, bytes([number]) + body)

    def hear(self, endpoint, cluster, profile, data):
        self.packet_received(
            t.ZigbeePacket(
                src=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x2222)),
                src_ep=endpoint,
                dst=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0)),
                dst_ep=endpoint,
                tsn=data[0],
                profile_id=profile,
                cluster_id=cluster,
                data=t.SerializableBytes(data),
            )
        )

    connect = disconnect = add_endpoint = force_remove = permit_ncp = permit_with_link_key = nothing
    reset_network_info = write_network_info = nothing


class Listener:
    def __init__(self):
        self.events = []

    def device_initialized(self, device):
        self.events.append("device_initialized")

    def device_init_failure(self, device):
        self.events.append("device_init_failure")


async def main(refusal):
    app = Application(
        {"device": {"path": "none"}, "backup_enabled": False, "topology_scan_enabled": False, "watchdog_enabled": False}
    )
    listener = Listener()
    app.refusal, app.asked = refusal, []
    await app._load_db()
    await app.initialize()
    app.add_listener(listener)
    app.handle_join(t.NWK(0x2222), SENSOR, t.NWK(0))
    device = app.devices[SENSOR]
    await asyncio.sleep(1)
    for number in (1, 2):  # on
        app.hear(1, ON_OFF, 0x0104, bytes([0x18, number, 0x0A]) + bytes.fromhex("0000 10 01"))
        await asyncio.sleep(1)
    found = {
        "events": listener.events,
        "simple descriptors asked of": app.asked,
        "initialized": device.is_initialized,
        "endpoint 1 has": sorted(cluster.ep_attribute for cluster in device.endpoints[1].in_clusters.values()),
        "on_off after two reports": device.endpoints[1].on_off.get("on_off"),
    }
    await app.shutdown()
    return found


stated = {
    "NOT_ACTIVE": {
        "events": ["device_initialized"],
        "simple descriptors asked of": [1, 242],
        "initialized": True,
        "endpoint 1 has": ["on_off"],
        "on_off after two reports": 1,
    },
    "INVALID_EP": {
        "events": ["device_init_failure"] * 3,
        "simple descriptors asked of": [1, 242, 242, 242],
        "initialized": False,
        "endpoint 1 has": ["on_off"],
        "on_off after two reports": None,
    },
}
seen = {name: asyncio.run(asyncio.wait_for(main(status), 60)) for name, status in STATUSES.items()}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
