"""A forward proxy that is asked by CONNECT (RFC 9110, section 9.3.6): its URL, a login for it, what its refusals mean.

For both clients over https, the gateway towards services and ``endpoint``. Values only.
"""

from __future__ import annotations

import re
from base64 import b64encode
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import urlsplit

_URL: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?/?")
LOGIN: Final = re.compile(rb"[^:\x00-\x1f\x7f]{1,256}:[^\x00-\x1f\x7f]{0,256}")
"""``USER:PASSWORD`` (RFC 7617, section 2)."""
_MEANS: Final = {
    403: "forbids it",
    407: "wants a login, or another one than it got",
    502: "can't reach the service",
    503: "can't reach the service",
    504: "can't reach the service",
}


def proxy_url(text: str) -> str:
    """In lower case and without a path. ValueError: it is none."""
    found = _URL.fullmatch(text.lower())
    if not found or (found[2] and not 0 < int(found[2][1:]) < 65536):
        raise ValueError("expected http://HOST:PORT or https://HOST:PORT, without user and path")
    if found[1].startswith("["):
        IPv6Address(found[1][1:-1])
    return text.lower().rstrip("/")


def is_at(proxy: str, host: str, port: int | None) -> bool:
    """Whether that is the proxy with this URL, and not a place behind it."""
    url = urlsplit(proxy)
    return (url.hostname, url.port or (443 if url.scheme == "https" else 80)) == (host.lower(), port)


def login_field(user: str, password: str) -> dict[str, str]:
    """The header field for the proxy, and for nobody else (RFC 7617; its charset is UTF-8)."""
    return {"Proxy-Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def refusal(status: int) -> str:
    """What a status other than 200 to CONNECT means, in words."""
    means = _MEANS.get(status)
    return f"the proxy says {status}: it {means}" if means else f"the proxy says {status}"


def may_change(status: int) -> bool:
    """Whether the same CONNECT may succeed soon."""
    return status >= 500
