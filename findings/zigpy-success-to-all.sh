#!/bin/sh
# zigpy answers every command of a device with SUCCESS and does nothing: an alarm sensor believes itself enrolled.
#
# Software:     zigpy 2.4.0, its application class without a radio, Python 3.11 or later.
# Expected:     a Zone Enroll Request (IAS Zone) is answered by a Zone Enroll Response; a Zone Status Change
#               Notification sets the attribute zone_status; a command that nobody knows is answered
#               UNSUP_CLUSTER_COMMAND.
# Happens:      the request gets a Default Response with SUCCESS and no Zone Enroll Response; the notification changes
#               no attribute and makes no attribute event (a listener's cluster_command is called); an unknown command
#               gets SUCCESS, as does Toggle from a wall button. A read of the Time cluster, in contrast, is answered
#               with the time.
# Who meets it: who builds on zigpy without Home Assistant's zha: the attribute of a door contact that speaks in
#               notifications stays empty, and a sensor that asks to be enrolled is left with a SUCCESS that answers
#               something else.
# What to do:   write ias_cie_addr, listen for cluster_command on 0x0500, send the enrolment's answer, and take the
#               state from the notification; don't read a device's "SUCCESS" in a trace as proof that anybody acted.
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
ON_OFF, TIME, IAS_ZONE = 0x0006, 0x000A, 0x0500
DEFAULT_RESPONSE, READ_RESPONSE = 0x0B, 0x01


def add(app, ieee, nwk, descriptor):
    device = app.add_device(ieee, t.NWK(nwk))
    device.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex(descriptor))
    if 1 not in device.endpoints:
        endpoint = device.add_endpoint(1)
        endpoint.profile_id, endpoint.device_type = 0x0104, 0x0402
        endpoint.add_input_cluster(IAS_ZONE)
        endpoint.add_output_cluster(ON_OFF)
        endpoint.add_output_cluster(TIME)
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


class Listener:
    def __init__(self):
        self.commands, self.attributes = [], []

    def cluster_command(self, number, command, arguments):
        self.commands.append(command)

    def attribute_updated(self, attribute, value, when):
        self.attributes.append(attribute)


async def main():
    app = Application(
        {"device": {"path": "none"}, "backup_enabled": False, "topology_scan_enabled": False, "watchdog_enabled": False}
    )
    await app._load_db()
    await app.initialize()
    sensor = add(app, SENSOR, 0x2222, "0240803412525200002c520000")
    app.device_initialized(sensor)
    zone, listener = sensor.endpoints[1].in_clusters[IAS_ZONE], Listener()
    zone.add_listener(listener)
    await asyncio.sleep(0.3)

    async def ask(number, cluster, frame_control, command, payload=""):
        """A frame from the device; returns (ZCL command, payload) of each answer: of a Default Response the status."""
        app.sent.clear()
        frame = bytes([frame_control, number, command]) + bytes.fromhex(payload)
        app.packet_received(
            t.ZigbeePacket(
                src=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x2222)),
                src_ep=1,
                dst=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0)),
                dst_ep=1,
                tsn=number,
                profile_id=0x0104,
                cluster_id=cluster,
                data=t.SerializableBytes(frame),
            )
        )
        await asyncio.sleep(0.3)
        frames = [packet.data.serialize() for packet in app.sent if packet.cluster_id == cluster]
        return [(frame[2], frame[3:5].hex() if frame[2] == DEFAULT_RESPONSE else len(frame[3:])) for frame in frames]

    seen = {
        "Zone Enroll Request": await ask(1, IAS_ZONE, 0x09, 0x01, "0d003412"),
        "Zone Status Change Notification, open": await ask(2, IAS_ZONE, 0x09, 0x00, "010000000000"),
        "unknown command 0x55": await ask(3, IAS_ZONE, 0x09, 0x55),
        "Toggle": await ask(4, ON_OFF, 0x01, 0x02),
        "Read Attributes, time": await ask(5, TIME, 0x10, 0x00, "0000"),
        "zone_status": zone.get("zone_status"),
        "attributes updated": listener.attributes,
        "commands told to the listener": listener.commands,
    }
    await app.shutdown()
    return seen


stated = {
    "Zone Enroll Request": [(DEFAULT_RESPONSE, "0100")],
    "Zone Status Change Notification, open": [(DEFAULT_RESPONSE, "0000")],
    "unknown command 0x55": [(DEFAULT_RESPONSE, "5500")],
    "Toggle": [(DEFAULT_RESPONSE, "0200")],
    "Read Attributes, time": [(READ_RESPONSE, 8)],
    "zone_status": None,
    "attributes updated": [],
    "commands told to the listener": [1, 0, 0x55],
}
seen = asyncio.run(asyncio.wait_for(main(), 60))
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
