#!/bin/sh
# cbor-x writes no SenML that other readers take: integer labels become text, or each record carries tag 259.
#
# Software:     cbor-x 1.6.9 with its ordinary `encode` and `decode`, cbor2 6.3.0 as the other end; Node 18 or later,
#               Python 3.
# Expected:     SenML in CBOR has integers as labels (RFC 8428, 6): a Map {-2 => "dev/", 0 => "t", 2 => 21} comes out as
#               a plain map with these labels, and such a pack of another program comes in as a Map; an integer of 2^40
#               stays one.
# Happens:      a JavaScript object gets text labels ("-2"); a Map gets its integers but tag 259 in front of each
#               record, which cbor2 doesn't undo. A foreign pack comes in as objects with text labels. 2^40 goes out as
#               a float of 64 bits, and an integer of 64 bits comes in as a BigInt, with which `value + 1` raises a
#               TypeError.
# Who meets it: gateways and dashboards in Node that speak SenML (or COSE, CWT, CoRE with their integer labels) or pass
#               on counters: the pack of a Node end is refused by strict readers, and "no such label" meets the other
#               way.
# What to do:   make an Encoder with `mapsAsObjects: false, useTag259ForMaps: false` for both directions, and for large
#               integers `int64AsNumber: true` when reading, and BigInt when writing.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" cbor-x@1.6.9 >npm.log 2>&1 \
    || { cat npm.log; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet cbor2==6.3.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >encode.js <<'JS'
const { encode, Encoder } = require('cbor-x');
const strict = new Encoder({ mapsAsObjects: false, useTag259ForMaps: false });
const map = new Map([[-2, 'dev/'], [0, 't'], [2, 21]]);
const hex = (octets) => Buffer.from(octets).toString('hex');
console.log(JSON.stringify({
  'object': hex(encode([{ '-2': 'dev/', 0: 't', 2: 21 }])),
  'Map': hex(encode([map])),
  'Map, options set': hex(strict.encode([map])),
  '2^40': hex(encode(2 ** 40)),
  '2^40 as BigInt': hex(encode(2n ** 40n)),
}));
JS

cat >decode.js <<'JS'
const { decode, Encoder } = require('cbor-x');
const strict = new Encoder({ mapsAsObjects: false, useTag259ForMaps: false, int64AsNumber: true });
const [pack, large] = process.argv.slice(2).map((hex) => Buffer.from(hex, 'hex'));
const labels = (record) => (record instanceof Map ? [...record.keys()] : Object.keys(record));
console.log(JSON.stringify({
  'labels': labels(decode(pack)[0]),
  'labels, options set': labels(strict.decode(pack)[0]),
  '2^40': typeof decode(large),
  '2^40, option set': typeof strict.decode(large),
}));
JS

cat >check.py <<'PY'
import json
import subprocess
import sys

import cbor2


def node(*arguments):
    return json.loads(subprocess.run(["node", *arguments], check=True, capture_output=True, timeout=60).stdout)


def read(octets):
    value = cbor2.loads(bytes.fromhex(octets))
    if not isinstance(value, list):
        return value
    record = value[0]
    return f"tag {record.tag}" if isinstance(record, cbor2.CBORTag) else list(record)


pack = cbor2.dumps([{-2: "dev/", 0: "t", 2: 21}]).hex()
seen = {
    "cbor2 reads what cbor-x writes": {name: read(octets) for name, octets in node("encode.js").items()},
    "cbor-x reads what cbor2 writes": node("decode.js", pack, cbor2.dumps(2**40).hex()),
}
stated = {
    "cbor2 reads what cbor-x writes": {
        "object": ["0", "2", "-2"],
        "Map": "tag 259",
        "Map, options set": [-2, 0, 2],
        "2^40": float(2**40),
        "2^40 as BigInt": 2**40,
    },
    "cbor-x reads what cbor2 writes": {
        "labels": ["0", "2", "-2"],
        "labels, options set": [-2, 0, 2],
        "2^40": "bigint",
        "2^40, option set": "number",
    },
}
for name, answer in seen.items():
    print(f"{name}:")
    for case, value in answer.items():
        print(f"    {case}: {value!r}")
integers = [type(seen["cbor2 reads what cbor-x writes"][name]) for name in ("2^40", "2^40 as BigInt")]
sys.exit(0 if (seen, integers) == (stated, [float, int]) else 1)
PY
venv/bin/python check.py
