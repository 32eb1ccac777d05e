#!/bin/sh
# An aiocoap server sends an observed resource of 3,000 octets in one datagram; libcoap's client drops it.
#
# Software:     aiocoap 0.4.17 as the server; libcoap3-bin and libcoap3 4.3.1-1 (Debian 12) as the client; Python 3.
# Expected:     notifications are block-wise as plain answers are (RFC 7959, 2.6): 1,024 octets with a Block2 option,
#               and the client gets the rest; a Block2 option in the registration (here for 256 octets) sets the size.
# Happens:      a plain GET is answered in blocks. With Observe, first answer and notifications come whole in one
#               datagram of about 3,008 octets without Block2, even if the client asked for blocks of 256. aiocoap's
#               client reads that; libcoap's has no room for it ("pdu too big"), sends Reset, and never shows a value.
# Who meets it: whoever lets devices observe something that grows: a list of devices, a SenML pack, a log. It works
#               until the pack outgrows one datagram, and between two ends of aiocoap for longer.
# What to do:   keep observed representations below 1,024 octets (one resource for each device); for larger ones notify
#               a version and let the client GET.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no Python).

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
chmod 755 "$tmp"
apt-get download libcoap3-bin=4.3.1-1 libcoap3=4.3.1-1 >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv && venv/bin/pip install --quiet aiocoap==0.4.17 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >server.py <<'PY'
import asyncio
import sys

import aiocoap
import aiocoap.resource


class Large(aiocoap.resource.ObservableResource):
    async def render_get(self, request):
        return aiocoap.Message(payload=b"x" * 3000)


async def main():
    site = aiocoap.resource.Site()
    large = Large()
    site.add_resource(["large"], large)
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", int(sys.argv[1])))
    print("listening", flush=True)
    while True:
        await asyncio.sleep(0.5)
        large.updated_state()


asyncio.run(main())
PY

cat >check.py <<'PY'
import pathlib
import socket
import subprocess
import sys

PORT = int(sys.argv[1])
URI = f"coap://127.0.0.1:{PORT}/large"
SOCKETS = []  # open to the end: a closed one would answer late notifications with an ICMP error


def sizes(options, answers):
    """Sends a GET with these options; returns the sizes of that many datagrams that come back."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    SOCKETS.append(sock)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", PORT))
    sock.send(b"\x41\x01\x12\x34t" + options)
    found = []
    while len(found) < answers:
        datagram = sock.recv(65535)
        found.append(len(datagram))
        if datagram[0] >> 4 & 3 == 0:  # a confirmable one: Reset, which also ends the observation
            sock.send(b"\x70\x00" + datagram[2:4])
    return found


def libcoap(*options):
    """Runs coap-client; returns the octets that it shows and whether it complains of a size."""
    client = next(pathlib.Path("root/usr/bin").glob("coap-client-notls"))
    library = str(next(pathlib.Path("root/usr/lib").glob("*/libcoap-3-notls.so*")).parent)
    run = subprocess.run([client, *options, URI], capture_output=True, timeout=60, env={"LD_LIBRARY_PATH": library})
    text = run.stdout + run.stderr
    return run.stdout.count(b"x"), b"pdu too big" in text


plain, observe, block_256 = b"\xb5large", b"\x60\x55large", b"\xc1\x04"
seen = {
    "plain GET": [size < 1100 for size in sizes(plain, 1)],
    "GET, Block2 of 256": [size < 300 for size in sizes(plain + block_256, 1)],
    "observe, in one datagram": [size > 3000 for size in sizes(observe, 2)],
    "observe, Block2 of 256, in one datagram": [size > 3000 for size in sizes(observe + block_256, 2)],
    "coap-client, plain": libcoap("-v", "4", "-B", "5"),
    "coap-client, observing 2 s": libcoap("-v", "4", "-s", "2", "-B", "4"),
}
stated = {
    "plain GET": [True],
    "GET, Block2 of 256": [True],
    "observe, in one datagram": [True, True],
    "observe, Block2 of 256, in one datagram": [True, True],
    "coap-client, plain": (3000, False),
    "coap-client, observing 2 s": (0, True),
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

port=$(python3 -c 'import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
venv/bin/python server.py "$port" >server.log 2>&1 &
server=$!
until grep -q listening server.log; do kill -0 "$server" && sleep 0.1; done
venv/bin/python check.py "$port"
