#!/bin/sh
# A body of more than one block, sent to a node-coap server by another CoAP stack, is answered 5.00.
#
# Software:     coap (node-coap) 1.5.0 as the server, aiocoap 0.4.17 as the client; Node 18 or later, Python 3.
# Expected:     the handler runs once, with the 3,000 octets joined, and the client gets 2.04 (RFC 7959, Block1).
# Happens:      5.00 "Byte offset not the next in line...". node-coap files the blocks under the token of each request,
#               so only a client that keeps one token for all its blocks is understood. RFC 7959 leaves the tokens to
#               the client, and aiocoap takes a new one for each block. The same three blocks by hand: 2.05 with one
#               token, 5.00 with three.
# Who meets it: whoever sends SenML packs, configurations or firmware from a gateway to a device or cloud end in Node.
# What to do:   as the client, use one token for all blocks of one body where the peer may be node-coap; as the server's
#               author, keep bodies below one block (1,024 octets), or read the Block1 option in the handler.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node, no Python).

set -eu
tmp=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" coap@1.5.0 >npm.log 2>&1 \
    || { cat npm.log; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet aiocoap==0.4.17 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >server.js <<'JS'
const server = require('coap').createServer({type: 'udp4'});
server.on('request', (request, response) => {
  response.code = '2.04';
  response.end(`${request.payload.length} octets`);
});
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
JS

cat >client.py <<'PY'
import asyncio
import socket
import sys

import aiocoap

PORT = int(sys.argv[1])


def by_hand(tokens):
    """Sends 64 + 64 + 3 octets as three Block1 requests; returns code and payload of the last answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", PORT))
        for number, token in enumerate(tokens):
            last = number == len(tokens) - 1
            block = bytes([number << 4 | (0 if last else 8) | 2])  # number, more, size 64
            header = bytes([0x42, 3, 0x10 + token[-1], number]) + token  # confirmable PUT
            payload = b"end" if last else b"u" * 64
            sock.send(header + b"\xb2up" + b"\xd1\x03" + block + b"\xff" + payload)
            answer = sock.recv(2048)
        return f"{answer[1] >> 5}.{answer[1] & 31:02d}", answer.partition(b"\xff")[2].decode()


async def by_aiocoap(octets):
    context = await aiocoap.Context.create_client_context()
    uri = f"coap://127.0.0.1:{PORT}/up"
    request = aiocoap.Message(code=aiocoap.PUT, uri=uri, payload=b"u" * octets)
    answer = await asyncio.wait_for(context.request(request).response, 10)
    await context.shutdown()
    return answer.code.dotted, answer.payload.decode()


refusal = ("5.00", "Byte offset not the next in line...")
seen = {
    "by hand, one token": by_hand([b"T\x01"] * 3),
    "by hand, three tokens": by_hand([b"T\x02", b"T\x03", b"T\x04"]),
    "aiocoap, 1000 octets": asyncio.run(by_aiocoap(1000)),
    "aiocoap, 3000 octets": asyncio.run(by_aiocoap(3000)),
}
stated = {
    "by hand, one token": ("2.04", "131 octets"),
    "by hand, three tokens": refusal,
    "aiocoap, 1000 octets": ("2.04", "1000 octets"),
    "aiocoap, 3000 octets": refusal,
}
for name, answer in seen.items():
    print(f"{name}: {' '.join(answer)}")
sys.exit(0 if seen == stated else 1)
PY

port=$(python3 -c 'import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
node server.js "$port" >server.log 2>&1 &
server=$!
until grep -q listening server.log; do kill -0 "$server" && sleep 0.1; done
venv/bin/python client.py "$port"
