#!/bin/sh
# A TLS client of asyncio that doesn't trust the server's certificate hangs up without an alert.
#
# Software:     CPython 3.11 or later (seen with 3.11.7 and 3.13.0), asyncio's own TLS; the openssl command as server.
# Expected:     RFC 8446, section 6.2: who rejects a certificate sends an alert (unknown_ca), as the blocking ssl module
#               does with the same context and the same OpenSSL.
# Happens:      with the ssl module the server's log has "alert unknown ca". With asyncio the connection just ends:
#               "unexpected eof while reading". The alert stays in the memory BIO; asyncio closes without writing it.
# Who meets it: whoever looks at the server's side for why clients of a hub or of aiohttp don't get in: brokers, nginx
#               and mitmproxy report that the client went away, not that it lacks an authority.
# What to do:   look for the reason in the client's log; in a server of your own name "the client may not trust our
#               certificate" beside an end in the handshake.
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
    -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null

cat >check.py <<'PY'
import asyncio
import socket
import ssl
import subprocess
import sys
import time


def by_ssl(port):
    with socket.create_connection(("127.0.0.1", port)) as plain:
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def by_asyncio(port):
    context = ssl.create_default_context()
    asyncio.run(asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost"))


def seen(connect):
    """What the server logs of a client that does not trust it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["openssl", "s_server", "-accept", str(port), "-cert", "cert.pem", "-key", "key.pem", "-naccept", "1"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "ACCEPT" in "".join(iter(server.stdout.readline, "ACCEPT\n")) + "ACCEPT"
    time.sleep(0.2)
    try:
        connect(port)
    except ssl.SSLCertVerificationError:
        pass
    log = server.communicate(timeout=10)[0].lower()
    return ["alert unknown ca" in log, "unexpected eof" in log]


found = {"ssl": seen(by_ssl), "asyncio": seen(by_asyncio)}
print(f"CPython {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}: the server saw [an alert, an end without one]: {found}")
sys.exit(found != {"ssl": [True, False], "asyncio": [False, True]})
PY
python3 check.py
