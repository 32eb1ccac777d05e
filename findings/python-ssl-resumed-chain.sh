#!/bin/sh
# A TLS server in Python has the client's certificate after a resumption, but no chain of it.
#
# Software:     CPython 3.13 (ssl.SSLSocket.get_unverified_chain and get_verified_chain are new there), with the
#               OpenSSL that it is linked to; the openssl command.
# Expected:     what getpeercert() knows of a resumed session, the chain knows too: the client's certificate at least.
# Happens:      TLS 1.2 and 1.3 alike: getpeercert(True) returns the certificate in both connections, and both chains
#               are empty lists in the resumed one. OpenSSL keeps a session's leaf
#               on a server, and no more.
# Who meets it: servers that let clients in by who issued their certificate, or by the key of an intermediate: the
#               first connection of a client works, each later one, resumed by a ticket, looks as if it had shown no
#               chain, so it is refused, or its issuer is unknown.
# What to do:   judge the leaf; or set num_tickets = 0 and OP_NO_TICKET on the server; or keep the verdict by the leaf's
#               digest.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no Python 3.13, no openssl).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python=python3
for each in python3 python3.13 python3.14 "$HOME"/.pyenv/versions/3.13*/bin/python3; do
    if "$each" -c 'import ssl; ssl.SSLSocket.get_unverified_chain' 2>/dev/null; then python=$each; fi
done
"$python" -c 'import ssl; ssl.SSLSocket.get_unverified_chain' 2>/dev/null || { echo "no Python 3.13"; exit 77; }
command -v openssl >/dev/null || { echo "no openssl"; exit 77; }

new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
$new -x509 -keyout ca.key -out ca.pem -days 2 -subj /CN=ca -addext basicConstraints=critical,CA:TRUE 2>/dev/null
printf 'subjectAltName=DNS:localhost\n' >names
for name in server client; do
    $new -keyout $name.key -out $name.csr -subj /CN=$name 2>/dev/null
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out $name.pem -extfile names \
        2>/dev/null
done

cat >check.py <<'PY'
import socket
import ssl
import sys
import threading


def context(name, protocol, version):
    made = ssl.SSLContext(protocol)
    made.load_cert_chain(f"{name}.pem", f"{name}.key")
    made.load_verify_locations("ca.pem")
    made.verify_mode = ssl.CERT_REQUIRED
    made.maximum_version = version
    return made


def serve(context, end, seen):
    with context.wrap_socket(end, server_side=True) as link:
        leaf = link.getpeercert(True) is not None
        seen.append((link.session_reused, leaf, len(link.get_verified_chain()), len(link.get_unverified_chain())))
        link.sendall(b"x")
        link.recv(1)


def two_connections(version):
    server = context("server", ssl.PROTOCOL_TLS_SERVER, version)
    client = context("client", ssl.PROTOCOL_TLS_CLIENT, version)
    seen, session = [], None
    for _ in range(2):
        ours, theirs = socket.socketpair()
        serving = threading.Thread(target=serve, args=(server, theirs, seen))
        serving.start()
        with client.wrap_socket(ours, server_hostname="localhost", session=session) as link:
            link.recv(1)
            session = link.session
            link.sendall(b"y")
        serving.join()
    return seen


found = {name: two_connections(ssl.TLSVersion[name]) for name in ("TLSv1_2", "TLSv1_3")}
print(f"CPython {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}: resumed, leaf known, verified chain, sent chain")
for name, seen in found.items():
    print(f"{name}: {seen}")
sys.exit(any(seen != [(False, True, 2, 2), (True, True, 0, 0)] for seen in found.values()))
PY
"$python" check.py
