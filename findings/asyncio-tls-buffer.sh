#!/bin/sh
# Each TLS connection of asyncio holds 256 KiB, from its first to its last moment, idle or not.
#
# Software:     CPython 3.11 or later (seen with 3.11.7 and 3.13.0), asyncio's own TLS; the openssl command.
# Expected:     an idle TLS connection costs its OpenSSL object and its transports, some tens of KiB, as with the
#               blocking ssl module.
# Happens:      SSLProtocol makes a bytearray of 256 KiB for what it reads, which is all resident since a bytearray is
#               zeroed: 200 idle connections of a server take 50 MiB and more, 200 sockets of the ssl module some 10. The
#               size is SSLProtocol.max_size; no argument of create_server, start_server or open_connection sets it.
# Who meets it: hubs and gateways with long polls, WebSockets or server-sent events over HTTPS in aiohttp, or any other
#               asyncio server: 1,000 clients that wait are 285 MiB before the application does anything.
# What to do:   end TLS in front (nginx, HAProxy) if there are many clients, bound the number of connections, and count
#               256 KiB for each in the memory limit of the service.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no Python 3.11, no openssl).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "no Python 3.11"; exit 77; }
command -v openssl >/dev/null || { echo "no openssl"; exit 77; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 \
    -subj /CN=localhost 2>/dev/null

cat >check.py <<'PY'
import asyncio
import socket
import ssl
import sys
import threading
from asyncio.sslproto import SSLProtocol

COUNT = 200


def resident():
    """KiB of this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def context(protocol):
    made = ssl.SSLContext(protocol)
    if protocol is ssl.PROTOCOL_TLS_SERVER:
        made.load_cert_chain("cert.pem", "key.pem")
    else:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def clients(port):
    """In another process: that many idle clients, until standard input ends."""
    ours = context(ssl.PROTOCOL_TLS_CLIENT)
    kept = [ours.wrap_socket(socket.create_connection(("127.0.0.1", port))) for _ in range(COUNT)]
    print("connected", flush=True)
    sys.stdin.read()
    del kept


async def with_asyncio():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context(ssl.PROTOCOL_TLS_SERVER))
    before = resident()
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(server.sockets[0].getsockname()[1]), stdin=-1, stdout=-1
    )
    await process.stdout.readline()
    await asyncio.sleep(0.5)
    after = resident()
    process.stdin.close()
    await process.wait()
    server.close()
    return after - before


def with_ssl():
    listener = socket.create_server(("127.0.0.1", 0), backlog=COUNT)
    ours, kept = context(ssl.PROTOCOL_TLS_SERVER), []

    def accept():
        for _ in range(COUNT):
            kept.append(ours.wrap_socket(listener.accept()[0], server_side=True))

    before = resident()
    accepting = threading.Thread(target=accept)
    accepting.start()
    theirs = context(ssl.PROTOCOL_TLS_CLIENT)
    others = [theirs.wrap_socket(socket.create_connection(listener.getsockname())) for _ in range(COUNT)]
    accepting.join()
    taken = resident() - before  # of both ends
    del others
    return taken


if len(sys.argv) > 1:
    clients(int(sys.argv[1]))
    sys.exit(0)
plain = with_ssl() / COUNT
held = asyncio.run(with_asyncio()) / COUNT
print(f"CPython {sys.version.split()[0]}: max_size {SSLProtocol.max_size}; KiB a connection: asyncio's server "
      f"{held:.0f}, both ends of the ssl module {plain:.0f}")
sys.exit(not (SSLProtocol.max_size == 256 * 1024 and held > 256 and plain < 128))
PY
python3 check.py
