#!/bin/sh
# libcoap's command line client exits with 0 whatever became of the request.
#
# Software:     libcoap3-bin and libcoap3 4.3.1-1 (Debian 12): coap-client-openssl against coap-server-openssl; Python
#               3.
# Expected:     as with other clients, 0 after an answer, another code if nobody answers or the DTLS handshake fails
#               (and 0 with 4.04, as curl does).
# Happens:      0 each time: with 2.05, with 4.04, with a wrong pre-shared key, and with a port where nobody listens.
#               Nor can the output tell: 4.04 is on standard error, but that the key was wrong or nobody listens is a
#               line of the log, on standard output, where the payload would be.
# Who meets it: who checks a gateway or a device by a shell script, `coap-client-openssl ... && echo fine`, or by a
#               health check of a container or unit: it's fine for ever, also after a key was changed.
# What to do:   write to a new file (`-o FILE`), which is only made for a success with a payload; or use
#               aiocoap-client, whose code is 1 unless the response is 2.xx.
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

cat >check.py <<'PY'
import os
import subprocess
import sys
import time

PORT = int(sys.argv[1])
NOBODY = int(sys.argv[2])
PLAIN, SECURE = f"coap://127.0.0.1:{PORT}", f"coaps://127.0.0.1:{PORT + 1}"
LIBCOAP = ["root/usr/bin/coap-client-openssl", "-B", "4"]
AIOCOAP = ["venv/bin/aiocoap-client", "--quiet"]


def run(client, *words):
    environment = dict(os.environ) if client is LIBCOAP else {k: v for k, v in os.environ.items() if k[:3] != "LD_"}
    return subprocess.run([*client, *words], capture_output=True, timeout=60, env=environment)


def libcoap(*words):
    """The exit code, where something was printed, and whether a file of `-o` was made."""
    done = run(LIBCOAP, *words)
    places = [name for name in ("stdout", "stderr") if getattr(done, name).strip()]
    run(LIBCOAP, "-o", "payload", *words)
    made = os.path.exists("payload")
    if made:
        os.unlink("payload")
    return done.returncode, *places, made


for _ in range(50):
    if libcoap(f"{PLAIN}/time")[-1]:
        break
    time.sleep(0.1)
seen = {
    "2.05": libcoap(f"{PLAIN}/time"),
    "4.04": libcoap(f"{PLAIN}/none"),
    "right key": libcoap("-u", "meter", "-k", "secret", f"{SECURE}/time"),
    "wrong key": libcoap("-u", "meter", "-k", "another", f"{SECURE}/time"),
    "nobody listens": libcoap(f"coap://127.0.0.1:{NOBODY}/time"),
    "2.05, aiocoap-client": run(AIOCOAP, f"{PLAIN}/time").returncode,
    "4.04, aiocoap-client": run(AIOCOAP, f"{PLAIN}/none").returncode,
    "nobody listens, aiocoap-client": run(AIOCOAP, f"coap://127.0.0.1:{NOBODY}/time").returncode,
}
stated = {
    "2.05": (0, "stdout", True),
    "4.04": (0, "stderr", False),
    "right key": (0, "stdout", True),
    "wrong key": (0, "stdout", False),
    "nobody listens": (0, "stdout", False),
    "2.05, aiocoap-client": 0,
    "4.04, aiocoap-client": 1,
    "nobody listens, aiocoap-client": 1,
}
for name, result in seen.items():
    print(f"{name}: {result}")
sys.exit(0 if seen == stated else 1)
PY

ports=$(python3 -c 'import socket
while True:
    one, two, three = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
    try:
        two.bind(("127.0.0.1", port + 1))
    except OSError:
        continue
    three.bind(("127.0.0.1", 0))
    print(port, three.getsockname()[1])
    break')
LD_LIBRARY_PATH=$(dirname "$(find root -name 'libcoap-3-openssl.so.3')")
export LD_LIBRARY_PATH
root/usr/bin/coap-server-openssl -v 3 -A 127.0.0.1 -p "${ports% *}" -k secret -h hint >server.log 2>&1 &
server=$!
python3 check.py $ports
