"""A filter before OpenSSL in a half-open DTLS server: only what a client may send in its handshake passes.

Nothing before the Finished is authenticated, and OpenSSL ends a handshake over the first record that it does not
expect. RFC 6347 4.1.2.7 lets such records be dropped instead; then a faked one costs nothing. It also bounds what
OpenSSL buffers for a peer that has not proved anything: lengths that are claimed, messages that are ahead.

What is left: a faked message of a type that the client is about to send still ends a handshake, or is taken for the
client's own, because nothing distinguishes the two.
"""

from __future__ import annotations

from typing import Final

from layer.records import ALERT, CHANGE_CIPHER_SPEC, CLIENT_HELLO, HANDSHAKE

#: Octets of a protected record: there is only the Finished before the handshake is over.
MAX_PROTECTED: Final = 256
#: Handshake type -> the longest message: ClientHello, Certificate, CertificateVerify, ClientKeyExchange.
LONGEST: Final = {CLIENT_HELLO: 8192, 11: 16_384, 15: 2048, 16: 2048}


def sift(datagram: bytes, hello_seq: int) -> tuple[bytes, int | None]:
    """The records to feed, and the description of an alert (RFC 5246 7.2) in clear that came with them.

    ``hello_seq`` is the message_seq of the handshake's ClientHello; the client's last message before its Finished is
    at most three behind it. Reads as far as the datagram makes sense; never raises.
    """
    kept, alert = [], None
    at, size = 0, len(datagram)
    while at + 13 <= size:
        body = at + 13
        end = body + (datagram[body - 2] << 8 | datagram[body - 1])
        if end > size:
            break
        kind = datagram[at]
        if datagram[at + 3] or datagram[at + 4]:
            keep = end - body <= MAX_PROTECTED
        elif kind == HANDSHAKE:
            keep = _expected(datagram, body, end, hello_seq)
        else:
            keep = kind == CHANGE_CIPHER_SPEC and datagram[body:end] == b"\x01"
            if kind == ALERT and end == body + 2:
                alert = datagram[body + 1]
        if keep:
            kept.append(datagram[at:end])
        at = end
    return b"".join(kept), alert


def _expected(datagram: bytes, at: int, end: int, hello_seq: int) -> bool:
    """Whether a record of epoch 0 holds nothing but (fragments of) messages that a client sends."""
    if at == end:
        return False
    while at < end:
        if at + 12 > end:
            return False
        kind = datagram[at]
        ahead = (datagram[at + 4] << 8 | datagram[at + 5]) - hello_seq
        length = int.from_bytes(datagram[at + 1 : at + 4], "big")
        if length > LONGEST.get(kind, -1) or not (ahead == 0 if kind == CLIENT_HELLO else 1 <= ahead <= 3):
            return False
        at += 12 + int.from_bytes(datagram[at + 9 : at + 12], "big")
    return at == end
