#!/bin/sh
# libcoap's example server carries out a PUT whose If-Match or If-None-Match doesn't hold.
#
# Software:     libcoap3-bin and libcoap3 4.3.1-1 (Debian 12): `coap-server -d 10`, which makes resources by PUT; Python
#               3.
# Expected:     4.12 Precondition Failed, or, from a server that doesn't do conditions, 4.02 Bad Option: both options
#               are critical (RFC 7252, 5.4.1 and 5.10.8).
# Happens:      PUT with If-None-Match onto a resource that exists is 2.04 and overwrites it; so does PUT with an
#               If-Match that names no ETag of it. The library counts both options as known and leaves them to the
#               handlers, which don't read them. An option that the library doesn't know is refused with 4.02.
# Who meets it: who checks a gateway's "create, don't overwrite" or "change only what I saw" against this server, as its
#               tests or demonstrations do: the condition looks sent and honoured, and never is. Servers that were made
#               from it too.
# What to do:   test conditions against another server; in a libcoap server of one's own read both options in every PUT
#               and DELETE handler.
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

cat >check.py <<'PY'
import socket
import sys
import time

PORT = int(sys.argv[1])
GET, PUT = 1, 3
IF_MATCH, IF_NONE_MATCH, URI_PATH = 1, 5, 11
UNKNOWN = 29  # critical (odd) and unassigned


def options(*pairs):
    """(number, value) pairs in order, as octets; deltas and lengths below 13 + 256."""
    octets, before = b"", 0
    for number, value in pairs:
        delta, before = number - before, number
        octets += bytes([min(delta, 13) << 4 | len(value)]) + (bytes([delta - 13]) if delta >= 13 else b"") + value
    return octets


def ask(code, *pairs, payload=b""):
    ask.number += 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect(("127.0.0.1", PORT))
        message = bytes([0x41, code, 0x20, ask.number]) + b"t" + options(*pairs)
        sock.send(message + (b"\xff" + payload if payload else b""))
        answer = sock.recv(2048)
    return f"{answer[1] >> 5}.{answer[1] & 31:02d}", answer.partition(b"\xff")[2].decode(errors="replace")


ask.number = 0
path = (URI_PATH, b"lamp")
for _ in range(50):
    try:
        ask(GET)
        break
    except (ConnectionRefusedError, TimeoutError):
        time.sleep(0.1)
seen = {
    "PUT 'first'": ask(PUT, path, payload=b"first")[0],
    "PUT 'second', If-None-Match": ask(PUT, (IF_NONE_MATCH, b""), path, payload=b"second")[0],
    "then GET": ask(GET, path)[1],
    "PUT 'third', If-Match abcd": ask(PUT, (IF_MATCH, b"\xab\xcd"), path, payload=b"third")[0],
    "and GET": ask(GET, path)[1],
    "PUT 'fourth', unknown critical option": ask(PUT, path, (UNKNOWN, b"x"), payload=b"fourth")[0],
    "at last GET": ask(GET, path)[1],
}
stated = {
    "PUT 'first'": "2.01",
    "PUT 'second', If-None-Match": "2.04",
    "then GET": "second",
    "PUT 'third', If-Match abcd": "2.04",
    "and GET": "third",
    "PUT 'fourth', unknown critical option": "4.02",
    "at last GET": "third",
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

port=$(python3 -c 'import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
LD_LIBRARY_PATH=$(dirname "$(find root -name 'libcoap-3-notls.so.3')")
export LD_LIBRARY_PATH
root/usr/bin/coap-server-notls -v 4 -d 10 -A 127.0.0.1 -p "$port" >server.log 2>&1 &
server=$!
python3 check.py "$port"
