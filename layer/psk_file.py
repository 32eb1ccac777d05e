"""The form of a file of pre-shared keys, ``identity:hexkey`` a line. Reads octets: no file, no cryptography here."""

from __future__ import annotations

from typing import Final

from layer.errors import CredentialError

#: OpenSSL refuses 256 octets and cuts an identity at NUL; RFC 4279 5.3 asks for 128 at least.
MAX_PSK_IDENTITY: Final = 255
#: 128 bits at least (RFC 9257 6), 64 octets as RFC 4279 5.3 asks for at least.
MIN_PSK_KEY: Final = 16
MAX_PSK_KEY: Final = 64
#: Bad lines of a file that are reported at once.
MAX_TOLD: Final = 20


def psk_problem(identity: bytes, key: bytes) -> str | None:
    """Why this identity and key can't be used, or None. The text names no key octets."""
    if not 1 <= len(identity) <= MAX_PSK_IDENTITY:
        return f"a PSK identity has 1 to {MAX_PSK_IDENTITY} octets, not {len(identity)}"
    if 0 in identity:
        return "a PSK identity holds no NUL octet (OpenSSL cuts it there)"
    if not MIN_PSK_KEY <= len(key) <= MAX_PSK_KEY:
        return f"a PSK has {MIN_PSK_KEY} to {MAX_PSK_KEY} octets, not {len(key)}"
    return None


def parse(content: bytes, name: str) -> dict[bytes, tuple[int, bytes]]:
    """Line number (from 0) and key of each identity, in the order of the lines; ``#`` starts a comment line.

    The last colon divides, so an identity may hold colons. Raises ``CredentialError`` with ``name`` and what is wrong
    with each line, up to ``MAX_TOLD``.
    """
    table: dict[bytes, tuple[int, bytes]] = {}
    wrong: list[str] = []
    for at, line in enumerate(content.split(b"\n")):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        identity, colon, digits = line.rpartition(b":")
        key, problem = _key(identity, digits) if colon else (b"", "expected identity:hexkey")
        if not problem and identity in table:
            problem = f"this identity appeared before, on line {table[identity][0] + 1}"
        if problem:
            wrong.append(f"line {at + 1}: {problem}")
        else:
            table[identity] = at, key
    if wrong:
        more = f"; and {len(wrong) - MAX_TOLD} more" if len(wrong) > MAX_TOLD else ""
        raise CredentialError(name, "; ".join(wrong[:MAX_TOLD]) + more)
    return table


def _key(identity: bytes, digits: bytes) -> tuple[bytes, str]:
    """The key, and what is wrong with the line, if anything is."""
    try:
        key = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b"", "the key is not hexadecimal"
    return key, psk_problem(identity, key) or ""
