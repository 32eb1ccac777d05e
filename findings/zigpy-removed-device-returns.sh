#!/bin/sh
# A sleeping device that was removed from zigpy comes back by itself with its next report, as one that has just joined.
#
# Software:     zigpy 2.4.0, its application class without a radio, Python 3.11 or later.
# Expected:     remove() of a device that sleeps and doesn't hear the request to leave takes it out for good: what it
#               sends later is ignored, or makes zigpy ask it to leave once more, until somebody opens the network.
# Happens:      zigpy asks the unknown sender for its IEEE address, and takes the answer (IEEE_addr_rsp, NWK_addr_rsp)
#               for a join: device_joined, an interview, device_initialized, a new entry. The network was never opened;
#               the device still has the network key and was never gone.
# Who meets it: programs with a "remove" button: a sensor is removed, and is there again in the evening, with a default
#               name and without its settings; and whoever takes device_joined for "somebody is pairing".
# What to do:   keep the addresses of removed devices, and at device_joined of one of them, unless the network is open,
#               call remove() again (it is awake now and hears it); open the network to pair it again.
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
import zigpy.exceptions
import zigpy.types as t
import zigpy.zdo.types as zdo

COORDINATOR = t.EUI64.convert("02:00:00:00:00:00:00:01")
SENSOR = t.EUI64.convert("02:00:00:00:00:00:00:02")
IEEE_ADDR, NODE_DESC, SIMPLE_DESC, ACTIVE_EP, LEAVE = 0x0001, 0x0002, 0x0004, 0x0005, 0x0034
ON_OFF = 0x0006


class Application(zigpy.application.ControllerApplication):
    """zigpy without a radio; a sleepy device answers, which no Mgmt_Leave_req reaches."""

    asked = []

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
        if packet.dst_ep != 0:
            return
        self.asked.append(packet.cluster_id)
        if packet.cluster_id == LEAVE:
            raise zigpy.exceptions.DeliveryError("no acknowledgement")
        asyncio.get_running_loop().call_soon(self.answer, packet.cluster_id, packet.data.serialize())

    def answer(self, request, data):
        address = b"\x22\x22"
        body = {
            IEEE_ADDR: SENSOR.serialize() + address,
            NODE_DESC: address + bytes.fromhex("0240803412525200002c520000"),
            ACTIVE_EP: address + bytes([1, 1]),
            SIMPLE_DESC: address + bytes.fromhex("0a 01 0401 0001 00 01 0600 00"),  # On/Off
        }
        if request in body:
            self.hear(0, request | 0x8000, 0, bytes([data[0], 0]) + body[request])

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

    def device_joined(self, device):
        self.events.append("device_joined")

    def device_initialized(self, device):
        self.events.append("device_initialized")

    def device_removed(self, device):
        self.events.append("device_removed")


async def main():
    app = Application(
        {"device": {"path": "none"}, "backup_enabled": False, "topology_scan_enabled": False, "watchdog_enabled": False}
    )
    await app._load_db()
    await app.initialize()
    app.handle_join(t.NWK(0x2222), SENSOR, t.NWK(0))
    await asyncio.sleep(1)
    listener = Listener()
    app.add_listener(listener)
    seen = {"paired": app.devices[SENSOR].is_initialized}
    await app.remove(SENSOR)
    await asyncio.sleep(2)
    seen |= {"events with remove()": listener.events[:], "there two seconds later": SENSOR in app.devices}
    app.asked.clear()
    listener.events.clear()
    app.hear(1, ON_OFF, 0x0104, bytes.fromhex("18010a 0000 10 01"))
    await asyncio.sleep(1)
    seen |= {
        "zigpy asks, after a report": [int(request) for request in app.asked],
        "events after the report": listener.events[:],
        "initialized": app.devices[SENSOR].is_initialized,
    }
    await app.shutdown()
    return seen


stated = {
    "paired": True,
    "events with remove()": ["device_removed"],
    "there two seconds later": False,
    "zigpy asks, after a report": [IEEE_ADDR, NODE_DESC, ACTIVE_EP, SIMPLE_DESC],
    "events after the report": ["device_joined", "device_initialized"],
    "initialized": True,
}
seen = asyncio.run(asyncio.wait_for(main(), 60))
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
