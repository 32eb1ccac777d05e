"""`openssl s_client` or `s_server` as the program behind a relay.

Arguments: client or server, atls (TLS 1.3 over TCP) or adtls (DTLS 1.2 over UDP), our certificate, its key, the
certificate that the other end's must come from, the other end's name in its certificate, what to say; more is for
openssl. The client closes after an answer.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

role, kind, certificate, key, trust, peer, text, *more = sys.argv[1:]
stream = kind == "atls"
transport = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM


def listening() -> socket.socket:
    found = socket.socket(socket.AF_INET, transport)
    found.bind(("127.0.0.1", 0))
    return found


def start(*options: str) -> subprocess.Popen:
    version = ["-tls1_3"] if stream else ["-dtls1_2", "-mtu", "1152"]  # the gateway's limit
    ours, theirs = ["-cert", certificate, "-key", key], ["-CAfile", trust, "-verify_hostname", peer]
    command = ["openssl", *options, *version, *ours, *theirs, "-verify_return_error", "-brief", *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def speak(openssl: subprocess.Popen) -> None:
    """A line into openssl, and the other end's lines out of it; they end with the session."""
    openssl.stdin.write(text.encode() + b"\n")
    openssl.stdin.flush()
    for line in openssl.stdout:
        print("heard: " + line.decode(), end="", file=sys.stderr, flush=True)
        if role == "client":
            openssl.stdin.close()  # openssl sends close_notify and ends


def connect() -> tuple[socket.socket, subprocess.Popen]:
    """A socket whose other end is openssl's."""
    with listening() as ours:
        port = str(ours.getsockname()[1])
        if role == "client":
            if stream:
                ours.listen()
            openssl = start("s_client", "-connect", f"127.0.0.1:{port}", "-no_ign_eof")
            if stream:
                return ours.accept()[0], openssl
            address = ours.recvfrom(1, socket.MSG_PEEK)[1]
            ours.connect(address)
            return ours.dup(), openssl
    openssl = start("s_server", "-accept", f"127.0.0.1:{port}", "-naccept", "1", "-Verify", "1")
    while True:
        link = socket.socket(socket.AF_INET, transport)
        try:
            link.connect(("127.0.0.1", int(port)))
            if not stream:  # too short for DTLS, which drops it; but without a listener the next call fails
                link.send(b"?")
                time.sleep(0.05)
                link.send(b"?")
            return link, openssl
        except ConnectionRefusedError:
            time.sleep(0.05)  # openssl doesn't listen yet


def hear(link: socket.socket) -> None:
    """Units of the other end, on their way into openssl."""
    while size := int.from_bytes(sys.stdin.buffer.read(4), "big"):
        unit = sys.stdin.buffer.read(size)
        if openssl.poll() is None:
            link.sendall(unit)
    if stream:
        link.shutdown(socket.SHUT_WR)
    else:
        try:
            openssl.wait(2)  # until it has read what came last, close_notify too
        except subprocess.TimeoutExpired:
            openssl.terminate()  # UDP has no end


link, openssl = connect()
threads = [threading.Thread(target=hear, args=(link,)), threading.Thread(target=speak, args=(openssl,))]
for thread in threads:
    thread.start()


def say(unit: bytes) -> None:
    sys.stdout.buffer.write(len(unit).to_bytes(4, "big") + unit)
    sys.stdout.buffer.flush()


if stream:
    while unit := link.recv(4096):
        say(unit)
else:
    link.settimeout(0.2)
    while True:
        try:
            say(link.recv(65536))
        except ConnectionRefusedError:
            pass  # openssl has ended; what it said before may still wait here
        except TimeoutError:
            if openssl.poll() is not None:
                break
say(b"")
for thread in threads:
    thread.join()  # standard input ends, too
print(f"ended: {openssl.wait()}", file=sys.stderr)
