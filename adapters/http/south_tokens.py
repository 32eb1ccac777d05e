"""Clients' bearer tokens (RFC 6750): the file with their SHA-256, and which of them a request brings.

A token itself is nowhere here but in the request, and shows in no error and no log.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Final

from adapters.http.vocabulary import token_name
from layer.errors import CredentialError
from layer.secret_file import read_secret

MAX_TOKENS: Final = 4096
MAX_TOKEN: Final = 1024
"""Octets of a token."""

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""``b64token`` of RFC 6750, section 2.1."""

EMPTY: Final = hashlib.sha256(b"").hexdigest()
"""What a script writes whose token is missing."""


def load(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """Digest by name, from a secret file. CredentialError with the number of the line that is wrong.

    A line is ``NAME:SHA-256 in hex``; blank lines and those that begin with ``#`` don't count. A file of comments alone
    will do: so it is left where the last client was revoked.
    """
    name = os.fspath(path)
    content = read_secret(name)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise CredentialError(name, "is no UTF-8 text") from None
    found: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        who, colon, digest = (each.strip() for each in text.partition(":"))
        try:
            token_name(who)
        except ValueError as error:
            raise CredentialError(name, f"line {number}: {error}") from None
        if not colon or not _DIGEST.fullmatch(digest.lower()):
            raise CredentialError(name, f"line {number}: expected NAME:SHA-256, the token's SHA-256 in hex")
        if digest.lower() == EMPTY:
            raise CredentialError(name, f"line {number}: this is the SHA-256 of nothing, not of a token")
        octets = bytes.fromhex(digest)
        if who in found or octets in found.values():
            raise CredentialError(name, f"line {number}: its name or its token is there already")
        if len(found) >= MAX_TOKENS:
            raise CredentialError(name, f"line {number}: expected {MAX_TOKENS} tokens at most")
        found[who] = octets
    if not found and not content.strip():
        raise CredentialError(name, "holds no token; expected lines of NAME:SHA-256")
    return found


def bearer(value: str) -> str | None:
    """The token in the value of an Authorization header field; None: there is none in it."""
    scheme, _, token = value.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        return None
    return token


def holder(tokens: Mapping[str, bytes], token: str) -> str | None:
    """Whose token this is; None: it is not known. Takes the same time whichever it is."""
    digest = hashlib.sha256(token.encode()).digest()
    found = None
    for name, known in tokens.items():
        if hmac.compare_digest(known, digest):
            found = name
    return found
