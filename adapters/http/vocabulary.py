"""The HTTP adapter's vocabulary: the claims that its clients and services prove, their protocols, its content kinds.

A policy is read by these words whether the adapter is configured or not, so this file imports no library.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.api.vocabulary import SAN, SHARED_KINDS, SPKI, TLS_LINKS, Claim, Vocabulary

MAX_URL: Final = 512
"""Characters of a service's url."""

_NAME = re.compile("[A-Za-z0-9._-]{1,64}")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_URL = "expected https://HOST/PATH or http://HOST/PATH, without user, query and fragment"


def token_name(value: Any) -> Any:
    """The name of a bearer token. ValueError: it can't be one."""
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise ValueError("expected the name of a token: 1 to 64 of A-Z a-z 0-9 . _ -")
    return value


def service_url(value: Any) -> Any:
    """One spelling of a service's url: scheme and host in lower case, no port that the scheme implies, a path.

    ValueError: it names no service.
    """
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise ValueError(_URL) from None
    if (
        scheme not in _DEFAULT_PORTS
        or not host
        or parts.username is not None
        or parts.query
        or "#" in value
        or len(value) > MAX_URL
        or not value.strip().isascii()
        or not value.strip().isprintable()
        or " " in value.strip()
    ):
        raise ValueError(_URL)
    place = f"[{host}]" if ":" in host else host.lower()
    return f"{scheme}://{place}{'' if port in (None, _DEFAULT_PORTS[scheme]) else f':{port}'}{parts.path or '/'}"


VOCABULARY: Final = Vocabulary(
    claims=(
        SPKI,
        SAN,
        Claim(
            key="bearer",
            prefix="bearer",
            description="The name of its token in adapters.http.tokens_file.",
            normalise=token_name,
            pattern="^[A-Za-z0-9._-]{1,64}$",
            examples=("dashboard",),
        ),
        Claim(
            key="url",
            prefix="url",
            description="A service that the gateway calls, such as https://cloud.example/.well-known/atls.",
            normalise=service_url,
            pattern="^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@ ]+(/[^?# ]*)?$",
            examples=("https://cloud.example/.well-known/atls",),
            no_devices="a service never calls the gateway; a client has spki_sha256, san or bearer",
        ),
    ),
    links=TLS_LINKS,
    kinds=SHARED_KINDS,
    usual_link="tls1.3",
    best_link="tls1.3",
)
