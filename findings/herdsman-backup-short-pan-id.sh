#!/bin/sh
# zigbee-herdsman's backup of a network whose PAN ID is below 0x1000 can't be read by zigpy.
#
# Software:     zigbee-herdsman 10.9.5 (what zigbee2mqtt writes coordinator_backup.json with), zigpy 2.4.0; Node 20 or
#               later, Python 3.11 or later.
# Expected:     both call the format "zigpy/open-coordinator-backup", so zigpy reads what herdsman wrote, whatever the
#               PAN ID is.
# Happens:      herdsman writes numbers without leading zeros: PAN ID 0x0abc is "abc", which zigpy refuses with
#               ValueError from bytes.fromhex(). zigpy expects it of a device's short address and fills that up to four
#               digits; it doesn't for the PAN ID. Read back by herdsman itself, the file is as it was.
# Who meets it: who moves from zigbee2mqtt to a gateway with zigpy and has one of the 4095 such PAN IDs of 65534, that
#               is, every sixteenth who let it be chosen at random.
# What to do:   fill up `pan_id` with zeros to four digits before NetworkBackup.from_dict(), by hand or in the program.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" zigbee-herdsman@10.9.5 >npm.log 2>&1 \
    || { cat npm.log; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet zigpy==2.4.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >herdsman.js <<'JS'
const { fromUnifiedBackup, toUnifiedBackup } = require('zigbee-herdsman/dist/utils/backup');
const written = process.argv.slice(2).map((pair) => {
  const [panId, networkAddress] = pair.split('/').map(Number);
  const file = toUnifiedBackup({
    networkOptions: {
      panId,
      extendedPanId: Buffer.from('020000000000000a', 'hex'),
      channelList: [15],
      networkKey: Buffer.alloc(16, 7),
      networkKeyDistribute: false,
    },
    logicalChannel: 15,
    networkKeyInfo: { sequenceNumber: 0, frameCounter: 1000 },
    coordinatorIeeeAddress: Buffer.from('0200000000000001', 'hex'),
    securityLevel: 5,
    networkUpdateId: 0,
    devices: [{ networkAddress, ieeeAddress: Buffer.from('0200000000000002', 'hex'), isDirectChild: false }],
  });
  const back = fromUnifiedBackup(file);
  return { file, back: [back.networkOptions.panId, back.devices[0].networkAddress] };
});
console.log(JSON.stringify(written));
JS

cat >check.py <<'PY'
import json
import subprocess
import sys

from zigpy.backups import NetworkBackup


def read_by_zigpy(file):
    try:
        backup = NetworkBackup.from_dict(file)
    except ValueError as error:
        return type(error).__name__
    return [int(backup.network_info.pan_id), *map(int, backup.network_info.nwk_addresses.values())]


pairs = [(0x1A62, 0x2222), (0x1A62, 0x0ABC), (0x0ABC, 0x2222), (0x000A, 0x2222)]
command = ["node", "herdsman.js", *(f"{pan}/{device}" for pan, device in pairs)]
run = subprocess.run(command, check=True, capture_output=True, timeout=60)
seen = {}
for (pan, device), written in zip(pairs, json.loads(run.stdout), strict=True):
    file, zigpy = written["file"], read_by_zigpy(written["file"])
    file["pan_id"] = file["pan_id"].zfill(4)
    same = [pan, device]
    seen[f"PAN ID {pan:#06x}, device {device:#06x}"] = {
        "herdsman reads the same": written["back"] == same,
        "zigpy": "the same" if zigpy == same else zigpy,
        "zigpy, PAN ID filled up": "the same" if read_by_zigpy(file) == same else "another",
    }
good = {"herdsman reads the same": True, "zigpy": "the same", "zigpy, PAN ID filled up": "the same"}
stated = {
    "PAN ID 0x1a62, device 0x2222": good,
    "PAN ID 0x1a62, device 0x0abc": good,
    "PAN ID 0x0abc, device 0x2222": good | {"zigpy": "ValueError"},
    "PAN ID 0x000a, device 0x2222": good | {"zigpy": "ValueError"},
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
