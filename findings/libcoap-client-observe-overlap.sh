#!/bin/sh
# libcoap's client shows none of the next bodies if a notification comes while it fetches the blocks of the one before.
#
# Software:     libcoap3-bin and libcoap3 4.3.1-1 (Debian 12): `coap-client -s 6 -L 3`, which observes and shows whole
#               bodies; Python 3, whose server here has a body of 256 octets in four blocks, with an ETag for each
#               version.
# Expected:     the client drops the old body and shows the newer one when its blocks are there (RFC 7959, 2.6).
# Happens:      if B is notified before block 1 of A has been answered, all of B's blocks are asked for, some twice, and
#               nothing is shown. The next version, C, is notified and fetched after that, undisturbed, and isn't shown
#               either. D is. Where each change comes after the transfer before it, all four are shown.
# Who meets it: whoever observes large resources that change often, or over a slow link, with this client or what was
#               made from it: two values are lost, and the last one of a series may never be seen.
# What to do:   keep observed representations below one block (or notify a version, and let the client GET); don't take
#               this client for the proof that a server's notifications were lost.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
chmod 755 "$tmp"
apt-get download libcoap3-bin=4.3.1-1 libcoap3=4.3.1-1 >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done

cat >check.py <<'PY'
import pathlib
import re
import socket
import subprocess
import sys
import time

OBSERVE, ETAG, BLOCK2 = 6, 4, 23
SIZE, BLOCKS = 64, 4
CLIENT = next(pathlib.Path("root/usr/bin").glob("coap-client-notls"))
LIBRARY = str(next(pathlib.Path("root/usr/lib").glob("*/libcoap-3-notls.so*")).parent)


def written(pairs):
    """Options as octets; deltas below 13 + 256, lengths below 13."""
    octets, before = b"", 0
    for number, value in sorted(pairs):
        delta, before = number - before, number
        octets += bytes([min(delta, 13) << 4 | len(value)]) + (bytes([delta - 13]) if delta >= 13 else b"") + value
    return octets


def read(message):
    """(code, token, {option: value}) of a request."""
    at = 4 + (message[0] & 15)
    token, number, options = message[4:at], 0, {}
    while at < len(message) and message[at] != 0xFF:
        delta, length = message[at] >> 4, message[at] & 15
        at += 1
        if delta == 13:
            delta, at = 13 + message[at], at + 1
        number += delta
        options[number] = message[at : at + length]
        at += length
    return message[1], token, options


class Server:
    """An observable resource of 256 octets in blocks of 64; each version has its own ETag."""

    def __init__(self):
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.1)
        self.version, self.token, self.peer, self.number, self.asked = 1, None, None, 1000, []

    def send(self, head, token, block, observe):
        body = bytes([0x40 + self.version]) * (SIZE * BLOCKS)  # AAA..., BBB..., ...
        options = [(ETAG, bytes([self.version])), (BLOCK2, bytes([block << 4 | (block < BLOCKS - 1) << 3 | 2]))]
        options += [(OBSERVE, bytes([self.version]))] if observe else []
        message = bytes([head[0] | len(token)]) + head[1:] + token + written(options)
        self.sock.sendto(message + b"\xff" + body[block * SIZE : (block + 1) * SIZE], self.peer)

    def change(self):
        """A new version, and a notification (non-confirmable 2.05) of its first block."""
        self.version += 1
        self.number += 1
        self.asked.append("notified " + chr(0x40 + self.version))
        self.send(b"\x50\x45" + self.number.to_bytes(2, "big"), self.token, 0, True)

    def serve(self, change_at, seconds):
        """Answers each request with the version of now; a change comes before block ``change_at`` is answered."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                message, self.peer = self.sock.recvfrom(2048)
            except TimeoutError:
                continue
            code, token, options = read(message)
            if code == 0:
                continue
            block = options.get(BLOCK2, b"")
            block = block[0] >> 4 if block else 0
            registers = options.get(OBSERVE) == b""
            if registers:
                self.token = token
            elif block == change_at:
                change_at = None
                self.change()
            self.asked.append(block)
            self.send(b"\x60\x45" + message[2:4], token, block, registers)


def run(change_at):
    server = Server()
    uri = f"coap://127.0.0.1:{server.sock.getsockname()[1]}/big"
    client = subprocess.Popen(
        [CLIENT, "-v", "3", "-L", "3", "-s", "6", "-B", "8", uri],  # whole bodies; observe for 6 s
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"LD_LIBRARY_PATH": LIBRARY},
    )
    server.serve(change_at, 2)
    while server.version < 4:
        server.change()
        server.serve(None, 1)
    server.serve(None, 3)
    shown = client.communicate(timeout=20)[0].decode()
    return [(match[1], len(match[0])) for match in re.finditer(r"([A-Z])\1*", shown)], server.asked


stated = {
    "changes between transfers": [("A", 256), ("B", 256), ("C", 256), ("D", 256)],
    "B during the transfer of A": [("D", 256)],
}
right = True
for name, change_at in (("changes between transfers", None), ("B during the transfer of A", 1)):
    shown, asked = run(change_at)
    print(f"{name}: blocks asked for {asked}; shown {shown}")
    for version in "BCD":
        asked = asked[asked.index(f"notified {version}") + 1 :]
        right &= {1, 2, 3} <= set(asked[: asked.index("notified " + chr(ord(version) + 1))] if version < "D" else asked)
    right &= shown == stated[name]
sys.exit(0 if right else 1)
PY
python3 check.py
