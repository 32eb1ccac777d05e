#!/bin/sh
# zigpy announces a reported NaN as another event than any other report, and forgets the value that follows it.
#
# Software:     zigpy 2.4.0, its application class without a radio, Python 3.11 or later.
# Expected:     ZCL's "no value" of a float (NaN) goes like any other: an AttributeReportedEvent with nan, and after a
#               restart the attribute has the value that was reported last.
# Happens:      1.5 and 2.5 are AttributeReportedEvent; NaN is only an AttributeUpdatedEvent, which zigpy otherwise uses
#               where a quirk changed the value (it compares, and NaN differs from itself). The database keeps NaN as
#               NULL, and its next update asks whether the value differs, which SQL never answers with yes for NULL: a
#               value that comes within the next half minute is in memory but not in the database, and after a restart
#               the attribute is None.
# Who meets it: programs that listen for AttributeReportedEvent only: a sensor that says "no value" (Analog Input, CO2,
#               PM2.5 have floats) keeps showing its last good value. And whoever reads attributes from zigpy's cache at
#               start.
# What to do:   listen for both events; treat NaN and None as "no value"; read float attributes again after a start.
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
import math
import pathlib
import struct
import sys

import zigpy.application
import zigpy.device
import zigpy.endpoint
import zigpy.types as t
import zigpy.zdo.types as zdo

COORDINATOR = t.EUI64.convert("02:00:00:00:00:00:00:01")
SENSOR = t.EUI64.convert("02:00:00:00:00:00:00:02")
ANALOG_INPUT, PRESENT_VALUE = 0x000C, b"\x55\x00"
SINGLE = b"\x39"  # the ZCL type of a float of 32 bits


def add(app, ieee, nwk, descriptor):
    device = app.add_device(ieee, t.NWK(nwk))
    device.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex(descriptor))
    if 1 not in device.endpoints:
        endpoint = device.add_endpoint(1)
        endpoint.profile_id, endpoint.device_type = 0x0104, 0x000C
        endpoint.add_input_cluster(ANALOG_INPUT)
        endpoint.status = zigpy.endpoint.Status.ZDO_INIT
    device.status = zigpy.device.Status.ENDPOINTS_INIT
    device.manufacturer, device.model = "maker", "sensor"
    return device


class Application(zigpy.application.ControllerApplication):
    """zigpy without a radio: what is sent goes nowhere."""

    async def load_network_info(self, *, load_devices=False):
        self.state.node_info.ieee, self.state.node_info.nwk = COORDINATOR, t.NWK(0)
        self.state.network_info.pan_id = t.PanId(0x1234)
        self.state.network_info.channel = t.uint8_t(15)

    async def start_network(self):
        await self.load_network_info()
        add(self, COORDINATOR, 0x0000, "00408e3412525200002c520000")

    async def nothing(self, *args, **kwargs):
        pass

    connect = disconnect = add_endpoint = force_remove = permit_ncp = permit_with_link_key = nothing
    reset_network_info = send_packet = write_network_info = nothing


async def started():
    app = Application(
        {
            "device": {"path": "none"},
            "database_path": "zigbee.db",
            "backup_enabled": False,
            "topology_scan_enabled": False,
            "watchdog_enabled": False,
        }
    )
    await app._load_db()
    await app.initialize()
    return app


def report(app, number, value):
    frame = bytes([0x18, number, 0x0A]) + PRESENT_VALUE + SINGLE + struct.pack("<f", value)
    app.packet_received(
        t.ZigbeePacket(
            src=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x2222)),
            src_ep=1,
            dst=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0)),
            dst_ep=1,
            tsn=number,
            profile_id=0x0104,
            cluster_id=ANALOG_INPUT,
            data=t.SerializableBytes(frame),
        )
    )


async def main(values):
    """Reports the values; returns the events, the value in memory and the value after a restart."""
    app = await started()
    sensor = add(app, SENSOR, 0x2222, "0240803412525200002c520000")
    app.device_initialized(sensor)
    cluster, events = sensor.endpoints[1].in_clusters[ANALOG_INPUT], []
    for kind in ("attribute_report", "attribute_updated"):
        cluster.on_event(kind, lambda event: events.append((type(event).__name__, str(event.value))))
    for number, value in enumerate(values, 1):
        report(app, number, value)
    memory = cluster.get("present_value")
    await app.shutdown()
    app = await started()
    database = app.devices[SENSOR].endpoints[1].in_clusters[ANALOG_INPUT].get("present_value")
    await app.shutdown()
    return events, memory, database


def fresh(values):
    pathlib.Path("zigbee.db").unlink(missing_ok=True)
    return asyncio.run(asyncio.wait_for(main(values), 60))


seen = {str(values): fresh(values) for values in ([1.5, 2.5], [math.nan, 2.5])}
stated = {
    "[1.5, 2.5]": ([("AttributeReportedEvent", "1.5"), ("AttributeReportedEvent", "2.5")], 2.5, 2.5),
    "[nan, 2.5]": ([("AttributeUpdatedEvent", "nan"), ("AttributeReportedEvent", "2.5")], 2.5, None),
}
for values, (events, memory, database) in seen.items():
    print(f"reported {values}: events {events}; in memory {memory}; after a restart {database}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
