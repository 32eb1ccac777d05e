"""TLS and DTLS records and handshake messages, built octet by octet."""

from __future__ import annotations

import struct

RANDOM = bytes(range(32))


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def client_hello(*, dtls: bool, versions: tuple[int, ...], early: bool = False, padding: int = 0) -> bytes:
    """RFC 8446 4.1.2: legacy version, random, session id, (cookie,) suites, compression, extensions."""
    listed = struct.pack(f"!{len(versions)}H", *versions)
    extensions = extension(43, bytes([len(listed)]) + listed) + extension(21, bytes(padding))
    if early:
        extensions += extension(42, b"")
    body = struct.pack("!H", 0xFEFD if dtls else 0x0303) + RANDOM + b"\x00"
    if dtls:
        body += b"\x00"
    return body + b"\x00\x02\x13\x01\x01\x00" + struct.pack("!H", len(extensions)) + extensions


def server_hello(version: int) -> bytes:
    chosen = extension(43, struct.pack("!H", version))
    return b"\x03\x03" + RANDOM + b"\x00\x13\x01\x00" + struct.pack("!H", len(chosen)) + chosen


def tls_record(kind: int, payload: bytes) -> bytes:
    return struct.pack("!BHH", kind, 0x0303, len(payload)) + payload


def tls_message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def dtls_record(kind: int, payload: bytes, epoch: int = 0, sequence: int = 0) -> bytes:
    head = struct.pack("!BHH", kind, 0xFEFD, epoch)
    return head + sequence.to_bytes(6, "big") + struct.pack("!H", len(payload)) + payload


def dtls_fragment(kind: int, body: bytes, start: int, end: int, message_seq: int = 0) -> bytes:
    head = bytes([kind]) + len(body).to_bytes(3, "big") + struct.pack("!H", message_seq)
    return head + start.to_bytes(3, "big") + (end - start).to_bytes(3, "big") + body[start:end]
