#!/bin/sh
# zigbee-herdsman drops a whole report if one value in it is a ZCL float of 16 bits; zigpy reads it.
#
# Software:     zigbee-herdsman 10.9.5 (what zigbee2mqtt reads frames with), zigpy 2.4.0; Node 20 or later, Python 3.11
#               or later.
# Expected:     both read semi-precision floats (ZCL type 0x38), as they read those of 32 and 64 bits.
# Happens:      herdsman has no reader for 0x38 and raises "Read for '56' not available", for the whole frame: the
#               values before and behind it are lost as well. zigpy gives all three.
# Who meets it: who gives a device of one's own this type to save two octets, tries it with zigpy and then finds nothing
#               in zigbee2mqtt.
# What to do:   report floats as 0x39 (32 bits); put attributes of rare types in a separate frame.
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
const { Zcl } = require('zigbee-herdsman');
const read = (hex) => {
  const octets = Buffer.from(hex, 'hex');
  try {
    const frame = Zcl.Frame.fromBuffer(0x000c, Zcl.Header.fromBuffer(octets), octets, {});
    return frame.payload.map((record) => record.attrData);
  } catch (error) {
    return error.message;
  }
};
console.log(JSON.stringify(process.argv.slice(2).map(read)));
JS

cat >check.py <<'PY'
import json
import subprocess
import sys

from zigpy.zcl import foundation

REPORT = "18010a"  # frame control, sequence number, Report Attributes
OUT_OF_SERVICE = "51001000"  # attribute 0x0051, bool, false
RESOLUTION = "6a0039" + "0000003f"  # attribute 0x006a, float of 32 bits, 0.5
PRESENT_VALUE = {16: "550038" + "003c", 32: "550039" + "0000803f", 64: "55003a" + "000000000000f03f"}  # 1.0


def zigpy(frame):
    header, rest = foundation.ZCLHeader.deserialize(bytes.fromhex(frame))
    command = foundation.GENERAL_COMMANDS[header.command_id].schema
    return [record.value.value for record in command.deserialize(rest)[0].attribute_reports]


frames = {bits: REPORT + OUT_OF_SERVICE + value + RESOLUTION for bits, value in PRESENT_VALUE.items()}
run = subprocess.run(["node", "herdsman.js", *frames.values()], check=True, capture_output=True, timeout=60)
seen = {
    "zigpy": {bits: zigpy(frame) for bits, frame in frames.items()},
    "herdsman": dict(zip(frames, json.loads(run.stdout), strict=True)),
}
values = [0, 1.0, 0.5]
stated = {
    "zigpy": {16: values, 32: values, 64: values},
    "herdsman": {16: "Read for '56' not available", 32: values, 64: values},
}
for name, answers in seen.items():
    for bits, answer in answers.items():
        print(f"{name}, float of {bits} bits between two others: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
