#!/bin/sh
# node-coap doesn't translate between percent signs in a URL and Uri-Path or Uri-Query, in neither direction.
#
# Software:     coap (node-coap) 1.5.0 as client and as server, aiocoap 0.4.17 at the other end; Node 18 or later,
#               Python 3.
# Expected:     RFC 7252, 6.4 and 6.5: a client sends the URL part "a%20b" as the three octets "a b"; a server that
#               shows its options as a URL writes one path segment "a/b" as "/a%2Fb", and a query "q=x&y" as "q=x%26y".
# Happens:      the client sends "a%20b" as five octets, so a resource "a b" is 4.04, and a query value keeps its "%26".
#               The server shows the one segment "a/b" and the two segments "a" and "b" both as "/a/b", and one query
#               option "q=x&y" looks like two. Between two ends of node-coap all seems right, since both leave the text
#               alone.
# Who meets it: gateways whose resource names come from people (rooms, devices: "living room", "in/out"), as soon as one
#               end is node-coap and the other is not.
# What to do:   choose names of unreserved characters only; in Node pass decoded text to `pathname` and `query`, and
#               read the server's options one by one (`request.options`) rather than `request.url`.
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
server.on('request', (request, response) => response.end(request.url));
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
JS

cat >client.js <<'JS'
const request = require('coap').request({
  hostname: '127.0.0.1', port: Number(process.argv[2]), pathname: process.argv[3], query: process.argv[4],
});
request.on('response', (response) => { console.log(response.code, response.payload.toString()); process.exit(0); });
request.end();
JS

cat >check.py <<'PY'
import asyncio
import subprocess
import sys

import aiocoap
import aiocoap.resource

TO_NODE, TO_AIOCOAP = int(sys.argv[1]), int(sys.argv[2])


class Echo(aiocoap.resource.Resource):
    async def render_get(self, request):
        return aiocoap.Message(payload=repr(request.opt.uri_query).encode())


async def ask_node(context, path, query=()):
    request = aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{TO_NODE}")
    request.opt.uri_path, request.opt.uri_query = path, query
    answer = await asyncio.wait_for(context.request(request).response, 10)
    return answer.payload.decode()


async def node_asks(path, query=""):
    process = await asyncio.create_subprocess_exec(
        "node", "client.js", str(TO_AIOCOAP), path, query, stdout=subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    return output.decode().strip()


async def main():
    site = aiocoap.resource.Site()
    site.add_resource(["a b"], Echo())
    site.add_resource(["plain"], Echo())
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", TO_AIOCOAP))
    seen = {
        "node server, segment a/b": await ask_node(context, ("a/b",)),
        "node server, segments a and b": await ask_node(context, ("a", "b")),
        "node server, query option q=x&y": await ask_node(context, ("s",), ("q=x&y",)),
        "node server, query options q=x and y": await ask_node(context, ("s",), ("q=x", "y")),
        "node client, /a%20b to a resource 'a b'": await node_asks("/a%20b"),
        "node client, '/a b' to a resource 'a b'": await node_asks("/a b"),
        "node client, /plain?q=x%26y": await node_asks("/plain", "q=x%26y"),
    }
    await context.shutdown()
    return seen


stated = {
    "node server, segment a/b": "/a/b",
    "node server, segments a and b": "/a/b",
    "node server, query option q=x&y": "/s?q=x&y",
    "node server, query options q=x and y": "/s?q=x&y",
    "node client, /a%20b to a resource 'a b'": "4.04",
    "node client, '/a b' to a resource 'a b'": "2.05 ()",
    "node client, /plain?q=x%26y": "2.05 ('q=x%26y',)",
}
seen = asyncio.run(main())
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

ports=$(python3 -c 'import socket
a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in "ab")
a.bind(("127.0.0.1", 0)); b.bind(("127.0.0.1", 0)); print(a.getsockname()[1], b.getsockname()[1])')
node server.js "${ports% *}" >server.log 2>&1 &
server=$!
until grep -q listening server.log; do kill -0 "$server" && sleep 0.1; done
venv/bin/python check.py ${ports}
