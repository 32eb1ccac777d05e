"""The forward proxy before the first hop: how it is named, and who it is.

It is a hop by itself: its certificate always has to verify, whatever the policy says of the first hop behind it, and
its login goes to it alone, by CONNECT.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from carriage.http.connect_proxy import LOGIN, login_field, proxy_url
from layer.errors import CredentialError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardProxy:
    """``url``: http or https, HOST:PORT. ``ca_file``: whom to trust as an https proxy; None: the system's
    authorities."""

    url: str
    user: str | None = None
    password: str = field(default="", repr=False)
    ca_file: Path | None = None

    def fields(self) -> dict[str, str]:
        """Header fields of CONNECT."""
        return login_field(self.user, self.password) if self.user is not None else {}

    def context(self) -> ssl.SSLContext | None:
        """Of the connection to an https proxy. CredentialError: ``ca_file`` can't be used."""
        if not self.url.startswith("https:"):
            return None
        return trusting(self.ca_file)


def proxy_of(text: str, password: bytes | None, ca_file: Path | None) -> ForwardProxy:
    """What ``[USER@]`` in a proxy's URL and the options beside it say. ``password``: of its file, None: there is none.

    UsageError: that does not go together. CredentialError: ``password`` can't be one.
    """
    scheme, separator, rest = text.partition("://")
    before, at, place = rest.rpartition("@")
    if ":" in before:
        raise UsageError("--proxy: no password in the URL, where everybody on this machine can read it: give USER@ "
                         "and --proxy-password-file")  # fmt: skip
    try:
        url = proxy_url(scheme + separator + place)
    except ValueError:
        raise UsageError("--proxy: expected http://[USER@]HOST:PORT or https://[USER@]HOST:PORT") from None
    if bool(before) != (password is not None) or bool(at) != bool(before):
        raise UsageError("--proxy-password-file and USER@ in the URL of --proxy go together")
    if ca_file is not None and not url.startswith("https:"):
        raise UsageError("--proxy-ca-file goes with an https proxy")
    login = before.encode(errors="replace") + b":" + (password or b"")
    if password is not None and not LOGIN.fullmatch(login):
        raise UsageError("--proxy: expected a user and a password of at most 256 printable characters")
    user = before if password is not None else None
    return ForwardProxy(url=url, user=user, password=(password or b"").decode(), ca_file=ca_file)


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Of a client that trusts these authorities, or the system's. CredentialError."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except (OSError, ssl.SSLError):
        raise CredentialError(str(ca_file), "holds no certificate in PEM that can be read") from None
