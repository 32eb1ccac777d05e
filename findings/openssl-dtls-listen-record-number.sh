#!/bin/sh
# After DTLSv1_listen OpenSSL's first flight starts at record number 1; a client that had to ask twice drops its start.
#
# Software:     OpenSSL 4.0.3 as in cryptography 50.0.2, with pyOpenSSL 26.4.0, at both ends; Python 3.11 or later.
# Expected:     the ServerHello has the record number of the ClientHello that showed the cookie (RFC 6347, 4.2.1), so
#               that the client doesn't take it for a replay: a handshake whose first hello was repeated goes on too.
# Happens:      a HelloVerifyRequest has the number of its ClientHello, but the flight starts at 1 whatever the number
#               was. If the first hello was repeated once, the client has already seen a record with number 1: it drops
#               the ServerHello as a replay, keeps the rest for later, and waits; if it was repeated twice, it drops the
#               Certificate too. The handshake goes on when a timer runs out, a second later.
# Who meets it: servers and gateways with many DTLS peers, which use DTLSv1_listen to stay without state until the
#               cookie comes. On slow links (a sleepy radio, a mobile network), where a client repeats its hello as a
#               matter of course, each handshake takes one more second and one more flight; a trace on the server shows
#               nothing lost.
# What to do:   reckon with it in time limits and tests; a client's timer for the first hello should be longer than the
#               round trip; or check cookies outside OpenSSL and set the record number, if the binding lets you.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -m venv venv
venv/bin/pip install --quiet cryptography==50.0.2 pyOpenSSL==26.4.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import datetime
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

HANDSHAKE = 22
NAMES = {1: "ClientHello", 2: "ServerHello", 3: "HelloVerifyRequest", 11: "Certificate"}
NAMES |= {12: "ServerKeyExchange", 14: "ServerHelloDone", 16: "ClientKeyExchange"}
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
CERTIFICATE = x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1, NOW - DAY, NOW + DAY).sign(KEY, hashes.SHA256())


def end(method):
    context = SSL.Context(method)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    context.set_verify(SSL.VERIFY_NONE)
    if method == SSL.DTLS_SERVER_METHOD:
        context.use_certificate(CERTIFICATE)
        context.use_privatekey(KEY)
        context.set_cookie_generate_callback(lambda connection: b"cookie")
        context.set_cookie_verify_callback(lambda connection, cookie: cookie == b"cookie")
    connection = SSL.Connection(context, None)
    connection.set_ciphertext_mtu(1200)
    (connection.set_accept_state if method == SSL.DTLS_SERVER_METHOD else connection.set_connect_state)()
    return connection


def attempt(function):
    """Whether it came to its end."""
    try:
        function()
        return True
    except SSL.WantReadError:
        return False


def sent(connection):
    """What the connection sends now, as one datagram."""
    try:
        return connection.bio_read(65535)
    except SSL.WantReadError:
        return b""


def records(datagram):
    """(record number, message) of each plain handshake record."""
    found = []
    while datagram:
        epoch, number = int.from_bytes(datagram[3:5], "big"), int.from_bytes(datagram[5:11], "big")
        if datagram[0] == HANDSHAKE and not epoch:
            found.append((number, NAMES[datagram[13]]))
        datagram = datagram[13 + int.from_bytes(datagram[11:13], "big") :]
    return found


def handshake(repeats):
    client, server = end(SSL.DTLS_CLIENT_METHOD), end(SSL.DTLS_SERVER_METHOD)
    attempt(client.do_handshake)
    hellos = [sent(client)]
    for _ in range(repeats):  # nothing has come back yet
        time.sleep(client.DTLSv1_get_timeout() + 0.05)
        client.DTLSv1_handle_timeout()
        hellos.append(sent(client))
    asked = []
    for hello in hellos:
        server.bio_write(hello)
        assert not attempt(server.DTLSv1_listen)
        asked.append(sent(server))
    with_cookie = b""
    for datagram in asked:
        client.bio_write(datagram)
        attempt(client.do_handshake)
        with_cookie += sent(client)
    server.bio_write(with_cookie)
    assert attempt(server.DTLSv1_listen)
    attempt(server.do_handshake)
    flight = sent(server)
    client.bio_write(flight)
    attempt(client.do_handshake)
    answer = sent(client)
    seen = {
        "hellos": [records(hello) for hello in hellos],
        "asked": [records(datagram) for datagram in asked],
        "with cookie": records(with_cookie),
        "flight": records(flight)[:2],
        "answered at once": bool(answer),
    }
    timers = 0
    while not answer:
        time.sleep(max(client.DTLSv1_get_timeout(), server.DTLSv1_get_timeout()) + 0.05)
        timers += 1
        server.DTLSv1_handle_timeout()
        client.bio_write(sent(server))
        attempt(client.do_handshake)
        answer = sent(client)
    server.bio_write(answer)
    done = attempt(server.do_handshake)
    client.bio_write(sent(server))
    return seen | {"timers that ran out": timers, "done": done and attempt(client.do_handshake)}


def stated(repeats):
    numbers = range(repeats + 1)
    return {
        "hellos": [[(number, "ClientHello")] for number in numbers],
        "asked": [[(number, "HelloVerifyRequest")] for number in numbers],
        "with cookie": [(repeats + 1, "ClientHello")],
        "flight": [(1, "ServerHello"), (2, "Certificate")],
        "answered at once": repeats == 0,
        "timers that ran out": 1 if repeats else 0,
        "done": True,
    }


version = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
print(version)
right = version.startswith("OpenSSL 4.0.3 ")
for repeats in (0, 1, 2):
    seen = handshake(repeats)
    print(f"first hello repeated {repeats} times: {seen}")
    right &= seen == stated(repeats)
sys.exit(0 if right else 1)
PY
venv/bin/python check.py
