#!/bin/sh
# zigbee-herdsman's backup of a Silicon Labs dongle has addresses the other way round; zigpy restores another network.
#
# Software:     zigbee-herdsman 10.9.5 with its adapter "ember" (what zigbee2mqtt writes coordinator_backup.json with),
#               fed with a dongle's answers instead of a serial port; zigpy 2.4.0, bellows 1.2.1; Node 20 or later,
#               Python 3.11 or later.
# Expected:     both call the format "zigpy/open-coordinator-backup", so a backup by one gives the same addresses in
#               the other, for every dongle.
# Happens:      the adapter writes `coordinator_ieee` and `extended_pan_id` with the least significant octet first,
#               zigpy reads them with the most significant first. No error: the coordinator's address and the extended
#               PAN ID come out reversed; the PAN ID is right.
# Who meets it: who moves from zigbee2mqtt to a gateway with zigpy on such a dongle: the restored network has another
#               extended PAN ID, by which a device that rejoins looks for it, and another address of the trust centre.
# What to do:   with a file whose `stack_specific` has `ezsp`, reverse both before NetworkBackup.from_dict(), and
#               compare `coordinator_ieee` with the address that the dongle had.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" zigbee-herdsman@10.9.5 >npm.log 2>&1 \
    || { cat npm.log; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet zigpy==2.4.0 bellows==1.2.1 >pip.log 2>&1 \
    || { cat pip.log || true; exit 77; }

cat >herdsman.js <<'JS'
const { EmberAdapter } = require('zigbee-herdsman/dist/adapter/ember/adapter/emberAdapter');
const { EzspBuffalo } = require('zigbee-herdsman/dist/adapter/ember/ezsp/buffalo');
const { EzspFrameID } = require('zigbee-herdsman/dist/adapter/ember/ezsp/enums');
const { toUnifiedBackup } = require('zigbee-herdsman/dist/utils/backup');
const [eui64, parameters] = process.argv.slice(2);
// Parameters of the answers by EZSP 14: a status has four octets.
const answers = {
  GET_NETWORK_PARAMETERS: '00000000' + '01' + parameters,
  GET_EUI64: eui64,
  GET_NETWORK_KEY_INFO: '00000000' + '01' + '00' + '00' + '00' + 'e8030000',
  EXPORT_KEY: '00000000' + '07'.repeat(16) + '00'.repeat(18),
};
const network = { panID: 0x1a62, channelList: [15], networkKey: Array(16).fill(7) };
const adapter = new EmberAdapter(network, { path: '/none', adapter: 'ember' }, 'backup.json', {});
adapter.ezsp.version = adapter.version.ezsp = 14;
const start = adapter.ezsp.startCommand.bind(adapter.ezsp);
let asked;
adapter.ezsp.startCommand = (id) => ((asked = EzspFrameID[id]), start(id));
adapter.ezsp.sendCommand = async () => {
  adapter.ezsp.buffalo = new EzspBuffalo(Buffer.from(answers[asked], 'hex'), 0);
  return 0;
};
adapter.backup([]).then((backup) => console.log(JSON.stringify(toUnifiedBackup(backup))));
JS

cat >check.py <<'PY'
import json
import subprocess
import sys

import bellows.types
from zigpy.backups import NetworkBackup
import zigpy.types as t

# What the dongle sends; in EZSP the least significant octet comes first.
EUI64 = "0100000000000002"  # 02:00:00:00:00:00:00:01
EXTENDED_PAN_ID = "0a00000000000002"  # 02:00:00:00:00:00:00:0a
PARAMETERS = EXTENDED_PAN_ID + "621a" + "08" + "0f" + "00" + "0000" + "00" + "00800000"

run = subprocess.run(["node", "herdsman.js", EUI64, PARAMETERS], check=True, capture_output=True, timeout=60)
file = json.loads(run.stdout.splitlines()[-1])  # before it, lines of its log
dongle, _ = t.EUI64.deserialize(bytes.fromhex(EUI64))
parameters, _ = bellows.types.EmberNetworkParameters.deserialize(bytes.fromhex(PARAMETERS))
extended, _ = t.EUI64.deserialize(parameters.extendedPanId.serialize())


def shown(coordinator, extended_pan_id, pan_id):
    return f"{coordinator}, {extended_pan_id}, {pan_id}"


def read_by_zigpy(file):
    backup = NetworkBackup.from_dict(file)
    return shown(backup.node_info.ieee, backup.network_info.extended_pan_id, backup.network_info.pan_id)


seen = {
    "dongle, read by bellows": shown(dongle, extended, parameters.panId),
    "herdsman's backup": shown(file["coordinator_ieee"], file["extended_pan_id"], file["pan_id"]),
    "the same backup, read by zigpy": read_by_zigpy(file),
}
for name in "coordinator_ieee", "extended_pan_id":
    file[name] = bytes.fromhex(file[name])[::-1].hex()
seen["both reversed, read by zigpy"] = read_by_zigpy(file)
true = "02:00:00:00:00:00:00:01, 02:00:00:00:00:00:00:0a, 0x1A62"
stated = {
    "dongle, read by bellows": true,
    "herdsman's backup": "0100000000000002, 0a00000000000002, 1a62",
    "the same backup, read by zigpy": "01:00:00:00:00:00:00:02, 0a:00:00:00:00:00:00:02, 0x1A62",
    "both reversed, read by zigpy": true,
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
