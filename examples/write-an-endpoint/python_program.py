"""An endpoint on OpenSSL by pyOpenSSL (pip install pyOpenSSL): TLS 1.3 or DTLS 1.2, behind a relay.

Arguments: client or server, atls (TLS) or adtls (DTLS), our certificate, its key, the certificate that the other end's
must come from, the other end's name in its certificate, what to say. The client closes after an answer.
"""

from __future__ import annotations

import queue
import sys
import threading

from cryptography.x509 import DNSName, SubjectAlternativeName
from OpenSSL import SSL

role, kind, certificate, key, trust, peer, text = sys.argv[1:]
stream = kind == "atls"
context = SSL.Context(SSL.TLS_METHOD if stream else SSL.DTLS_METHOD)
context.set_min_proto_version(SSL.TLS1_3_VERSION if stream else 0xFEFD)
context.use_certificate_chain_file(certificate)
context.use_privatekey_file(key)
context.load_verify_locations(trust)
context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
context.set_options(SSL.OP_NO_QUERY_MTU)
tls = SSL.Connection(context)  # without a socket it reads and writes memory
if not stream:
    tls.set_ciphertext_mtu(1152)
(tls.set_connect_state if role == "client" else tls.set_accept_state)()

came: queue.Queue[bytes] = queue.Queue()


def read() -> None:
    while size := int.from_bytes(sys.stdin.buffer.read(4), "big"):
        came.put(sys.stdin.buffer.read(size))
    came.put(b"")


def flush() -> None:
    """Write what OpenSSL has for the other end. Its memory joins datagrams, so DTLS is cut between records again."""
    try:
        octets = tls.bio_read(1 << 20)
    except SSL.WantReadError:
        return
    while octets:
        size = len(octets) if stream else 13 + int.from_bytes(octets[11:13], "big")
        unit, octets = octets[:size], octets[size:]
        sys.stdout.buffer.write(len(unit).to_bytes(4, "big") + unit)
    sys.stdout.buffer.flush()


def next_unit() -> bytes:
    """The other end's next unit, or b"" at the end of the session."""
    while True:
        flush()
        try:
            return came.get(timeout=None if stream else tls.DTLSv1_get_timeout())
        except queue.Empty:
            tls.DTLSv1_handle_timeout()  # makes the last flight again


def until_done(step, *arguments):
    """Its result, after as many units of the other end as it takes."""
    while True:
        try:
            return step(*arguments)
        except SSL.WantReadError:
            unit = next_unit()
            if not unit:
                sys.exit("cut off without close_notify")
            tls.bio_write(unit)


threading.Thread(target=read, daemon=False).start()
until_done(tls.do_handshake)
names = tls.get_peer_certificate(as_cryptography=True).extensions.get_extension_for_class(SubjectAlternativeName)
if peer not in names.value.get_values_for_type(DNSName):
    sys.exit(f"the other end is {names.value}")
print(f"established: {tls.get_protocol_version_name()}", file=sys.stderr)
tls.sendall(text.encode() + b"\n")
heard = b""
try:
    while True:
        heard += until_done(tls.recv, 65536)
        if b"\n" in heard:
            line, _, heard = heard.partition(b"\n")
            print(f"heard: {line.decode()}", file=sys.stderr, flush=True)
            if role == "client":
                break
except SSL.ZeroReturnError:
    pass  # close_notify
tls.shutdown()
flush()
sys.stdout.buffer.write(bytes(4))
sys.stdout.buffer.flush()
print("ended", file=sys.stderr)
