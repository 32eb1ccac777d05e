#!/bin/sh
# A backup that is added to zigpy's list is the most recent one until the next start, and another one after it.
#
# Software:     zigpy 2.4.0 with a database, its application class without a radio, Python 3.11 or later.
# Expected:     most_recent_backup() gives the backup with the latest backup_time, before and after a restart; and what
#               add_backup() took is in the list until something newer of that network replaces it.
# Happens:      it gives the one that was added last, whatever its backup_time is. At the next start the list is sorted
#               by backup_time, so that another one is the most recent; and of two of the same network the older one is
#               no longer in the list, unless its frame counter is higher, though its row in the database is there.
# Who meets it: who lets a user import a backup file: at a start with a blank dongle zigpy restores the most recent
#               backup, which isn't the file that was just imported.
# What to do:   restore what was imported at once, by restore_backup(backup); don't keep it in the list for later.
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
from datetime import UTC, datetime
import sqlite3
import sys

import zigpy.application
from zigpy.backups import NetworkBackup
import zigpy.device
import zigpy.endpoint
import zigpy.exceptions
import zigpy.state
import zigpy.types as t
import zigpy.zdo.types as zdo

COORDINATOR = t.EUI64.convert("02:00:00:00:00:00:00:01")


def backup(year, pan_id, counter):
    return NetworkBackup(
        backup_time=datetime(year, 1, 1, tzinfo=UTC),
        node_info=zigpy.state.NodeInfo(nwk=t.NWK(0), ieee=COORDINATOR, logical_type=zdo.LogicalType.Coordinator),
        network_info=zigpy.state.NetworkInfo(
            extended_pan_id=t.EUI64.convert("02:00:00:00:00:00:00:0a"),
            pan_id=t.PanId(pan_id),
            channel=t.uint8_t(15),
            channel_mask=t.Channels.from_channel_list([15]),
            network_key=zigpy.state.Key(key=t.KeyData([7] * 16), tx_counter=counter),
        ),
    )


class Application(zigpy.application.ControllerApplication):
    """zigpy with a radio that has no network until one is written to it."""

    written = None

    async def load_network_info(self, *, load_devices=False):
        if self.written is None:
            raise zigpy.exceptions.NetworkNotFormed
        self.state.network_info, self.state.node_info = self.written

    async def write_network_info(self, *, network_info, node_info):
        self.written = (network_info, node_info)

    async def start_network(self):
        await self.load_network_info()
        device = self.add_device(COORDINATOR, t.NWK(0x0000))
        device.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex("00408e3412525200002c520000"))
        endpoint = device.add_endpoint(1)
        endpoint.profile_id, endpoint.device_type = 0x0104, 0x0100
        endpoint.status = zigpy.endpoint.Status.ZDO_INIT
        device.status = zigpy.device.Status.ENDPOINTS_INIT
        device.manufacturer, device.model = "maker", "coordinator"

    async def nothing(self, *args, **kwargs):
        pass

    connect = disconnect = add_endpoint = force_remove = permit_ncp = permit_with_link_key = nothing
    reset_network_info = send_packet = nothing


async def loaded():
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
    return app


def name(one):
    return f"{one.network_info.pan_id} of {one.backup_time.year}"


async def main():
    app = await loaded()
    for one in backup(2025, 0x1111, 5000), backup(2023, 0x1111, 4000), backup(2024, 0x2222, 9000):
        app.backups.add_backup(one)
    seen = {
        "list": [name(one) for one in app.backups.backups],
        "most recent": name(app.backups.most_recent_backup()),
    }
    await app.shutdown()
    with sqlite3.connect("zigbee.db") as database:
        seen["rows in the database"] = database.execute("SELECT count(*) FROM network_backups_v16").fetchone()[0]
    app = await loaded()
    seen |= {
        "list after a restart": [name(one) for one in app.backups.backups],
        "most recent after a restart": name(app.backups.most_recent_backup()),
    }
    await app.initialize(auto_form=True)
    seen["restored to a blank radio"] = str(app.written[0].pan_id)
    await app.shutdown()
    return seen


stated = {
    "list": ["0x1111 of 2025", "0x1111 of 2023", "0x2222 of 2024"],
    "most recent": "0x2222 of 2024",
    "rows in the database": 3,
    "list after a restart": ["0x2222 of 2024", "0x1111 of 2025"],
    "most recent after a restart": "0x1111 of 2025",
    "restored to a blank radio": "0x1111",
}
seen = asyncio.run(asyncio.wait_for(main(), 60))
for what, answer in seen.items():
    print(f"{what}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
