#!/bin/sh
# node-coap's client joins blocks of two versions of a resource into one body, although their ETags differ.
#
# Software:     coap (node-coap) 1.5.0 and aiocoap 0.4.17 as clients of a device whose resource changes between two
#               blocks; Node 18 or later, Python 3.
# Expected:     blocks belong together only if their ETags are equal (RFC 7959, 2.4): the client raises an error or
#               starts again, as it must for any resource that lives longer than a transfer.
# Happens:      aiocoap raises ResourceChanged. node-coap hands out 2.05 with a first block of the old and two of the
#               new version, 192 octets that never existed, and says nothing.
# Who meets it: who reads in Node what changes while it is read: lists of devices, SenML packs, logs of a gateway. JSON
#               then fails to parse at times; a pack of fixed layout gives wrong values without an error.
# What to do:   put a version or a checksum into the body, or keep it below one block.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" coap@1.5.0 >npm.log 2>&1 \
    || { cat npm.log; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet aiocoap==0.4.17 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >client.js <<'JS'
const request = require('coap').request({ hostname: '127.0.0.1', port: Number(process.argv[2]), pathname: '/log' });
const show = (text) => { console.log(text); process.exit(0); };
request.on('response', (response) => show(`${response.code} ${response.payload}`));
request.on('error', (error) => show(error.message));
request.end();
JS

cat >check.py <<'PY'
import asyncio
import sys

import aiocoap

ACKNOWLEDGEMENT, CONTENT, SIZE_EXPONENT = 2, 0x45, 2  # blocks of 64 octets


class Device(asyncio.DatagramProtocol):
    """Three blocks of A with ETag 01; from the second answer on, if it changes, of B with ETag 02."""

    def __init__(self, changes):
        self.changes, self.answers = changes, 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        request = aiocoap.Message.decode(data)
        if request.code != aiocoap.GET:
            return
        number = request.opt.block2.block_number if request.opt.block2 else 0
        letter, etag = (b"B", b"\x02") if self.changes and self.answers else (b"A", b"\x01")
        self.answers += 1
        block = bytes([number << 4 | (number < 2) << 3 | SIZE_EXPONENT])
        options = b"\x41" + etag + b"\xd1\x06" + block  # ETag is option 4, Block2 is 23
        head = bytes([0x40 | ACKNOWLEDGEMENT << 4 | len(request.token), CONTENT]) + data[2:4] + request.token
        self.transport.sendto(head + options + b"\xff" + letter * 64, peer)


async def node(port):
    process = await asyncio.create_subprocess_exec("node", "client.js", str(port), stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return output.decode().strip()


async def python(port):
    context = await aiocoap.Context.create_client_context()
    request = context.request(aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{port}/log"))
    try:
        answer = await asyncio.wait_for(request.response, 15)
        return f"{answer.code.dotted} {answer.payload.decode()}"
    except Exception as error:
        return type(error).__name__
    finally:
        await context.shutdown()


async def read(client, changes):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Device(changes), local_addr=("127.0.0.1", 0))
    answer = await client(transport.get_extra_info("sockname")[1])
    transport.close()
    return answer.replace("A" * 64, "[A]").replace("B" * 64, "[B]")


async def main():
    return {
        "aiocoap, resource stays": await read(python, False),
        "aiocoap, resource changes": await read(python, True),
        "node-coap, resource stays": await read(node, False),
        "node-coap, resource changes": await read(node, True),
    }


stated = {
    "aiocoap, resource stays": "2.05 [A][A][A]",
    "aiocoap, resource changes": "ResourceChanged",
    "node-coap, resource stays": "2.05 [A][A][A]",
    "node-coap, resource changes": "2.05 [A][B][B]",
}
seen = asyncio.run(asyncio.wait_for(main(), 90))
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
