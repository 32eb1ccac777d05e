#!/bin/sh
# A device that leaves the network stays in zigpy, and is there after each start as if it had never left.
#
# Software:     zigpy 2.4.0 with a database, its application class without a radio, Python 3.11 or later.
# Expected:     when a device leaves (the radio says so, which is handle_leave), it is no longer in `devices`, or is
#               marked as gone, also after a restart.
# Happens:      the event device_left, and nothing else: the device stays in `devices` and in the database, initialized,
#               without a mark, and its last value can be read from the cache. Since device_left isn't repeated, a
#               program can't tell it from the others after a restart. remove(), in contrast, takes it out of both.
# Who meets it: who shows zigpy's devices: one that was reset, or paired with another network, is offline in the list
#               for ever, and each start announces it again with its last value.
# What to do:   at device_left remember it in a store of one's own (it may come back: device_joined isn't announced if
#               its address is the same), or call remove() after some time; show last_seen.
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
ON_OFF = 0x0006


def add(app, ieee, nwk, descriptor):
    device = app.add_device(ieee, t.NWK(nwk))
    device.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex(descriptor))
    if 1 not in device.endpoints:
        endpoint = device.add_endpoint(1)
        endpoint.profile_id, endpoint.device_type = 0x0104, 0x0100
        endpoint.add_input_cluster(ON_OFF)
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


class Listener:
    def __init__(self):
        self.events = []

    def device_joined(self, device):
        self.events.append("device_joined")

    def device_left(self, device):
        self.events.append("device_left")

    def device_removed(self, device):
        self.events.append("device_removed")


def state(app):
    device = app.devices.get(SENSOR)
    if device is None:
        return None
    return {"initialized": device.is_initialized, "on_off": device.endpoints[1].on_off.get("on_off")}


async def main():
    app, listener = await started(), Listener()
    device = add(app, SENSOR, 0x2222, "0240803412525200002c520000")
    app.device_initialized(device)
    device.endpoints[1].on_off.update_attribute(0x0000, 1)
    app.add_listener(listener)
    app.handle_leave(t.NWK(0x2222), SENSOR)
    seen = {"after it left": state(app), "events": list(listener.events)}
    await app.shutdown()
    app, listener = await started(), Listener()
    app.add_listener(listener)
    seen |= {"after a restart": state(app), "events of the new start": list(listener.events)}
    app.handle_join(t.NWK(0x2222), SENSOR, None)
    seen["events when it joins again"] = list(listener.events)
    await app.remove(SENSOR)
    seen["events with remove()"] = list(listener.events)
    await app.shutdown()
    app = await started()
    seen["after remove() and a restart"] = state(app)
    await app.shutdown()
    return seen


stated = {
    "after it left": {"initialized": True, "on_off": 1},
    "events": ["device_left"],
    "after a restart": {"initialized": True, "on_off": 1},
    "events of the new start": [],
    "events when it joins again": [],
    "events with remove()": ["device_removed"],
    "after remove() and a restart": None,
}
seen = asyncio.run(asyncio.wait_for(main(), 60))
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
