#!/bin/sh
# zigpy takes the command that a Default Response answers for its status.
#
# Software:     zigpy 2.4.0, its application class without a radio, Python 3.11 or later.
# Expected:     a device may answer Read Attributes and Write Attributes with a Default Response: the id of the command
#               and a status (ZCL revision 8, 2.5.12). The status is what write_attributes() and read_attributes() give.
# Happens:      it is the id of the command, as a status. Each write is MAC_PAN_ACCESS_DENIED (0x02), the same if the
#               device said SUCCESS; each attribute that was read is in the failures with SUCCESS (0x00), whatever the
#               device said. configure_reporting() gives the status of the device, as expected.
# Who meets it: users of thermostats and valves that answer a write of several attributes, or one with a manufacturer
#               code that they don't know, in this way: the log shows an error of the MAC layer that no radio had, and
#               what the device refuses can't be told from what it did.
# What to do:   ask for the raw answer (Cluster.request with the general command) and read the Default Response there.
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
VALVE = t.EUI64.convert("02:00:00:00:00:00:00:02")
THERMOSTAT, SETPOINT = 0x0201, 0x0012


def add(app, ieee, nwk, descriptor):
    device = app.add_device(ieee, t.NWK(nwk))
    device.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex(descriptor))
    if 1 not in device.endpoints:
        endpoint = device.add_endpoint(1)
        endpoint.profile_id, endpoint.device_type = 0x0104, 0x0301
        endpoint.add_input_cluster(THERMOSTAT)
        endpoint.status = zigpy.endpoint.Status.ZDO_INIT
    device.status = zigpy.device.Status.ENDPOINTS_INIT
    device.manufacturer, device.model = "maker", "valve"
    return device


class Application(zigpy.application.ControllerApplication):
    """zigpy without a radio: each request gets the answer of a device that takes no frame of this kind."""

    status = 0x00

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
        if packet.cluster_id != THERMOSTAT:
            return
        asked = packet.data.serialize()
        # frame control: general, from the server, no default response; number; Default Response: command and status
        said = bytes((0x18, asked[1], 0x0B, asked[2], self.status))
        asyncio.get_running_loop().call_soon(self.hear, packet, said)

    def hear(self, packet, octets):
        self.packet_received(
            t.ZigbeePacket(
                src=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x2222)), src_ep=1,
                dst=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x0000)), dst_ep=1,
                tsn=octets[1], profile_id=0x0104, cluster_id=packet.cluster_id, data=t.SerializableBytes(octets),
            )
        )

    connect = disconnect = add_endpoint = force_remove = permit_ncp = permit_with_link_key = nothing
    reset_network_info = write_network_info = nothing


async def main():
    app = Application(
        {"device": {"path": "none"}, "backup_enabled": False, "topology_scan_enabled": False, "watchdog_enabled": False}
    )
    await app._load_db()
    await app.initialize()
    app.device_initialized(add(app, VALVE, 0x2222, "0240803412525200002c520000"))
    await asyncio.sleep(0.3)
    cluster = app.devices[VALVE].endpoints[1].in_clusters[THERMOSTAT]
    right = True
    for status in (0x00, 0x81, 0x86):
        app.status = status
        wrote = int((await cluster.write_attributes({SETPOINT: 2000}))[0][0].status)
        _, refused = await cluster.read_attributes([SETPOINT])
        read = {number: int(each) for number, each in refused.items()}
        configured = [int(each) for each in (await cluster.configure_reporting(SETPOINT, 10, 600, 10)).values()]
        print(f"status 0x{status:02x}: write 0x{wrote:02x}, read {read}, configure {configured}")
        right &= (wrote, read, configured) == (0x02, {SETPOINT: 0x00}, [status])
    await app.shutdown()
    return right


sys.exit(0 if asyncio.run(asyncio.wait_for(main(), 60)) else 1)
PY
venv/bin/python check.py
